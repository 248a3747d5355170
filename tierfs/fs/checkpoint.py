"""Checkpoints: from time to time everything is made durable, bytes before names.

An application that needs to be sure calls fsync(2). For all others a checkpoint drains the
reclaimer, syncs both tiers, removes synced files from the dirty set, and copies the index's log
into the database. It also starts a new mount generation: an earlier copy of the index is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tierfs.fs.allocation import reserve
from tierfs.fs.reclaim import Reclaimer
from tierfs.fs.sync import Syncer
from tierfs.metadata.index import Index

INTERVAL_S = 30.0
"""Like vm.dirty_expire_centisecs of Linux: how long unsynced data may stay in memory."""

AHEAD_S = INTERVAL_S / 3

MIB = 1024 * 1024
MOST_LOG = 32 * MIB
LEAST_LOG = MIB
LOG_FRACTION = 64
HARD_LIMIT_FRACTION = 4
"""The log must never eat up the room that is kept back for the index."""


def log_limit(flash_capacity: int) -> int:
    """Bytes of the index's log at which a checkpoint is due: a small part of flash."""
    return min(max(flash_capacity // LOG_FRACTION, LEAST_LOG), MOST_LOG)


class Checkpoints:
    """Decides when a checkpoint is due, and makes it, one at a time; thread-safe."""

    def __init__(
        self,
        index: Index,
        syncer: Syncer,
        reclaimer: Reclaimer,
        capacity: int,
        renew: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``capacity``: bytes of the flash filesystem.

        ``renew`` gives the volume a new generation, and returns how many transactions that took.
        """
        self._index = index
        self._syncer = syncer
        self._dirty = syncer.dirty
        self._reclaimer = reclaimer
        self._renew = renew
        self._monotonic = monotonic
        self._log_limit = log_limit(capacity)
        index.limit_log(max(self._log_limit, reserve(capacity) // HARD_LIMIT_FRACTION))
        self._making = threading.Lock()
        self._made_at = monotonic()
        self._covered = index.commits

    def is_due(self) -> bool:
        """Whether something is not durable, and much of it or for long.

        Or whether readers kept the last one from copying all of the log: other processes wait.
        """
        if not self._index.is_settled:
            return True
        if self._index.commits == self._covered and not len(self._dirty):
            return False
        late = self._monotonic() - self._made_at >= INTERVAL_S
        return late or self._dirty.crowded or self._index.log_size() >= self._log_limit

    def make_ahead(self) -> None:
        """Make one now if one may be due within 20 seconds; each 10 seconds at most.

        Raises:
            FsError, OSError: as `make`.
        """
        if self._monotonic() - self._made_at >= AHEAD_S:
            self.make()

    def make(self) -> None:
        """Sync both tiers, then the index, and shorten its log; may take seconds.

        Raises:
            FsError, OSError: a tier or the index could not be synced.
        """
        with self._making:
            covered, started = self._index.commits, self._monotonic()
            self._made_at = started
            self._reclaimer.drain()
            self._syncer.checkpoint()
            self._index.checkpoint(self._log_limit)
            self._covered = covered
            self._covered += self._renew()
