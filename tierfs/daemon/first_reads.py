"""How far into files is read first, on a mount: what requests and training jobs tell of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from tierfs.common.errors import FsError
from tierfs.common.times import system_clock
from tierfs.daemon.native import FastPath
from tierfs.daemon.worker import Passed
from tierfs.daemon.workers import run_in_worker
from tierfs.fs.volume import Volume
from tierfs.metadata.reader import IndexReader
from tierfs.policy.tier_policy import parse_policy
from tierfs.tiering.engine import Engine
from tierfs.tiering.first_reads import BadFirstReads, FirstReads, extension_of, pack, unpack
from tierfs.tiering.head_sizes import proposals
from tierfs.tiering.snapshot_file import SnapshotFile, SnapshotTooLong

log = logging.getLogger(__name__)

SUFFIX: Final = ".first-reads"
TAKEN: Final = 64
"""First reads of a second that are counted, at most: a name has to be looked up for each."""

SAVE_EVERY_S: Final = 300.0
FADE_EVERY_S: Final = 3600.0
LONGEST: Final = 4 * 1024 * 1024
REMEMBERED: Final = 65_536
"""Files that were read ahead lately, by inode number: their requests tell nothing of a program."""


class FirstReadsOfMount:
    """Counted for one mount. `observe` is for one thread at a time, all else for any."""

    def __init__(self, volume: Volume, fast_path: FastPath | None, read_ahead: int) -> None:
        """``read_ahead``: bytes that the kernel asks for at a time."""
        self._window = read_ahead
        self._fast_path = fast_path
        self._index = volume.index
        self._keeps = not volume.read_only
        self._head = volume.settings.head
        self._file = SnapshotFile(volume.index.path, SUFFIX, "first_reads")
        self._reader = IndexReader(
            volume.index.path, read_only=volume.index.read_only, flush=volume.index.flush
        )
        self._lock = threading.Lock()
        """Held for all that uses ``_table`` or ``_read_ahead``."""
        self._table = self._load()
        self._read_ahead: dict[int, None] = {}
        self._saved = self._faded = time.monotonic()

    def observe(self) -> None:
        """Count what the router saw since the last call, a second ago; in a thread."""
        rows = [] if self._fast_path is None else self._fast_path.router.first_reads(TAKEN)
        if rows:
            self._count(rows)
        now = time.monotonic()
        if now - self._faded >= FADE_EVERY_S:
            self._faded = now
            with self._lock:
                self._table.fade(system_clock())
        if now - self._saved >= SAVE_EVERY_S:
            self._saved = now
            self.save()

    def told(self, reads: Iterable[tuple[str, int, int]]) -> None:
        """A training job measured: (extension, size, reach) of files."""
        with self._lock:
            for extension, size, reach in reads:
                self._table.count("job", extension, size, reach)

    def read_ahead(self, ino: int) -> None:
        """A file is read ahead: its requests are not those of a program."""
        with self._lock:
            self._read_ahead.pop(ino, None)
            self._read_ahead[ino] = None
            if len(self._read_ahead) > REMEMBERED:
                del self._read_ahead[next(iter(self._read_ahead))]

    def show(self, engine: Engine) -> dict[str, Any]:
        """What was counted, and which heads would suit it, for JSON; in a thread.

        Raises:
            FsError: the index could not be read.
        """
        policy = engine.policy or parse_policy(self._file.path, "version: 1\n", head=self._head)
        with self._lock:
            counts = dict(self._table.counts)
        request = engine.forecast_request(self._index.path, policy)
        snapshot = self._index.checkpoint_for_snapshot()
        wanted, costs, taken = run_in_worker(
            proposals,
            request,
            counts,
            self._window,
            Passed(snapshot),
            cancelled=lambda: engine.stopping,
        )
        return {
            "extensions": [
                asdict(one)
                | {
                    "classes": [of_size._asdict() for of_size in one.classes],
                    "cost": costs[one.extension]._asdict() if one.extension in costs else None,
                    "proposed": one in taken,
                }
                for one in sorted(wanted.values(), key=lambda one: (-one.reads, one.extension))
            ],
        }

    def save(self) -> None:
        """Keep what was counted for the next mount; a failure is logged."""
        with self._lock:
            snapshot = pack(self._table) if self._table.counts else b""
        if self._keeps and snapshot:
            self._file.replace(snapshot)

    def close(self) -> None:
        """Save, and close its connection to the index."""
        self.save()
        self._reader.close()

    def _load(self) -> FirstReads:
        try:
            table = unpack(self._file.read(LONGEST))
        except FileNotFoundError:
            table = FirstReads()
        except (OSError, SnapshotTooLong, BadFirstReads) as error:
            log.warning("%s: %s; what was read first before is forgotten", self._file.path, error)
            table = FirstReads()
        table.fade(system_clock())
        return table

    def _count(self, rows: list[tuple[int, int]]) -> None:
        with self._lock:
            some = {ino: reach for ino, reach in rows if ino not in self._read_ahead}
        try:
            files = self._reader.some(list(some))
            names = self._reader.names(files)
        except FsError as error:
            log.debug("files that were read first cannot be looked up: %s", error)
            return
        with self._lock:
            for file in files:
                extension = extension_of(names.get(file.ino, b""))
                self._table.count("requests", extension, file.size, some[file.ino])
