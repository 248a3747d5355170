"""Now and then everything becomes durable without being asked: bytes before names.

An application that needs to be sure calls fsync(2). For the others the index must not become
durable long before the bytes that it speaks of: what a power cut left would be names without
bytes. So both tiers are synced before the index's log is folded into the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tierfs.core.placement import reserve
from tierfs.index.index import Index
from tierfs.store.objects import ObjectStore

INTERVAL_S = 30.0
"""Like vm.dirty_expire_centisecs of Linux: how long unsynced data may stay in memory."""

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
    """Decides when a checkpoint is due, and makes it; for one thread."""

    def __init__(
        self,
        index: Index,
        flash: ObjectStore,
        disk: ObjectStore,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._stores = (flash, disk)
        self._monotonic = monotonic
        capacity = flash.space().capacity
        self._log_limit = log_limit(capacity)
        index.limit_log(max(self._log_limit, reserve(capacity) // HARD_LIMIT_FRACTION))
        self._made_at = monotonic()
        self._covered = index.commits

    def is_due(self) -> bool:
        """Whether something changed, and the log is long or the last checkpoint long ago."""
        if self._index.commits == self._covered:
            return False
        late = self._monotonic() - self._made_at >= INTERVAL_S
        return late or self._index.log_size() >= self._log_limit

    def make(self) -> None:
        """Sync both tiers, then the index, and shorten its log; may take seconds.

        Raises:
            FsError, OSError: a tier or the index could not be synced.
        """
        covered, started = self._index.commits, self._monotonic()
        for store in self._stores:
            store.flush()
        self._index.checkpoint(self._log_limit)
        self._covered, self._made_at = covered, started
