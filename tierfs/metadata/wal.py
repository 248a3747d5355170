"""The write-ahead log: its durability, and the checkpoints that copy it into the database file.

In WAL mode a commit is a write to the log without a sync: a killed process loses nothing, and
`Wal.sync` is what makes it safe from a power cut (https://www.sqlite.org/wal.html,
https://www.sqlite.org/pragma.html#pragma_synchronous).

SQLite writes the database file in a checkpoint only. So between two checkpoints the file is one
consistent state, that of the last of them, which another process may read without locks
(``immutable``, https://www.sqlite.org/uri.html). Two counters in shared memory, a sequence lock,
tell that process whether a checkpoint began while it read, so that it must read again. The daemon
never waits for such a reader, and its own locks stay in its memory.
"""

from __future__ import annotations

import errno
import mmap
import os
import sqlite3
import struct
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from tierfs.common.errors import IndexFailed, errno_of
from tierfs.common.metrics import Metrics
from tierfs.common.osio import Os
from tierfs.common.sync import GroupSync, is_in_memory, sync_data
from tierfs.metadata.preallocation import Preallocation, create_log, log_size

CHECKPOINT_TIMEOUT_MS: Final = 100
"""How long a checkpoint waits for others to let go of the log, with all writers behind it."""

NO_LIMIT: Final = 2**63

REWRITE_BYTES: Final = 1024 * 1024
"""Bytes of the log that are read and written again by one call."""

_COUNTERS: Final = struct.Struct("=QQ")


class CheckpointSeqlock:
    """The daemon's side of the sequence lock: a block is one checkpoint."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("tierfs-checkpoints", os.MFD_CLOEXEC)
        """For another process's `CheckpointSeqlockReader`."""
        os.ftruncate(self.descriptor, _COUNTERS.size)
        self._memory = mmap.mmap(self.descriptor, _COUNTERS.size)
        self._lock = threading.Lock()
        self._begun = self._ended = 0

    def __enter__(self) -> None:
        with self._lock:
            self._begun += 1
            self._publish()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ended += 1
            self._publish()

    def close(self) -> None:
        """No more checkpoints, and no descriptor."""
        self._memory.close()
        os.close(self.descriptor)

    def _publish(self) -> None:
        _COUNTERS.pack_into(self._memory, 0, self._begun, self._ended)


class CheckpointSeqlockReader:
    """The reader's side, on the descriptor of a `CheckpointSeqlock`."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _COUNTERS.size, prot=mmap.PROT_READ)

    @property
    def settled(self) -> int | None:
        """How many checkpoints there were; None while one is under way."""
        begun, ended = _COUNTERS.unpack_from(self._memory)
        return int(begun) if begun == ended else None

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()


class Wal:
    """The log of the index that this process has open; it exists from `open` on.

    Raises from every method:
        IndexFailed: SQLite, or a call on the log, failed.
    """

    def __init__(
        self,
        path: Path,
        os_: Os,
        metrics: Metrics,
        connected: Callable[[], AbstractContextManager[sqlite3.Connection]],
    ) -> None:
        """``connected``: a block with another connection, and SQLite's errors as `IndexFailed`."""
        self._path = path
        self._connected = connected
        self._os = os_
        self._sync_log = os_.bound("index.sync", sync_data)
        self._bytes = metrics.index_wal_bytes
        self._descriptor = -1
        self.seqlock = CheckpointSeqlock()
        self.preallocation: Preallocation | None = None
        """Of the log and the database; None: the index is read-only, or not open yet."""
        self._group_sync = GroupSync(self._sync)
        self.sync_failed = False
        """Whether a sync failed: no later one succeeds."""

    def open(self) -> None:
        """Open the log, which a connection has created, and allocate blocks for what comes."""
        self.preallocation = Preallocation(self._path, self._os)
        self._descriptor = self.preallocation.log
        self.preallocation.prepare()

    def close(self) -> None:
        """Close, after every connection."""
        self.seqlock.close()
        if self.preallocation is not None:
            self.preallocation.close()

    def size(self) -> int:
        """Length in bytes; 0: there is none."""
        return log_size(self._path) if self._descriptor < 0 else os.fstat(self._descriptor).st_size

    @property
    def in_memory(self) -> bool:
        """Whether a sync never waits for a device."""
        return self._descriptor >= 0 and is_in_memory(self._descriptor)

    def sync(self) -> None:
        """Make every commit so far survive a power cut; threads that wait share one sync.

        The log alone is synced: SQLite reads committed frames back from it. After a failure no
        later sync succeeds: the kernel drops what it could not write and reports that once only.

        Raises:
            IndexFailed: the sync failed, now or earlier.
        """
        try:
            self._group_sync()
        except OSError as exc:
            raise IndexFailed(errno_of(exc), f"metadata index: {exc.strerror}") from exc

    def _sync(self) -> None:
        """Sync the log, or fail as it once did; called by one thread at a time."""
        if self._descriptor < 0:
            return
        if self.sync_failed:
            raise OSError(
                errno.EIO, "an earlier sync of the index's log failed; mount the volume again"
            )
        try:
            self._sync_log(self._descriptor)
        except OSError:
            self.sync_failed = True
            raise

    def rewrite(self) -> None:
        """Write again every byte of the log that an unclean end left.

        Where the device refused a page, the page cache shows it as if it had been written, and no
        sync would write it: what is read from the log now would be gone after a power cut.
        """
        if not self.size():
            return
        offset, log = 0, self._descriptor
        while data := self._os.call("index.pread", os.pread, log, REWRITE_BYTES, offset):
            offset += self._os.call("index.pwrite", os.pwrite, log, data, offset)

    def checkpoint(self, log_limit: int) -> bool:
        """Copy the log into the database, on a connection of its own, beside the writer.

        Only if the log is longer than ``log_limit`` bytes even so, writers wait until it is empty.
        While somebody reads from the log for long it cannot be emptied, and stays as it is.

        Returns whether every commit before it is in the database now, and survives a power cut.

        Raises:
            IndexFailed: it could not be made, or the log could not be synced, now or earlier:
                what is read back from it then may be older than what was committed.
        """
        if self.preallocation is None:
            return True
        with self.seqlock, self._connected() as connection:
            connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_TIMEOUT_MS}")
            # SQLite opened the log for this connection before our own sync. So a failure to write
            # it is reported to one of the two, whenever it happens.
            self.sync()
            try:
                passive = connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                _, frames, copied = passive.fetchone()
                if self.size() > log_limit and self.preallocation.may_truncate_log():
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error:
                self.sync()  # it may have been the log: then no later sync succeeds
                raise
        self.preallocation.after_checkpoint()
        self._bytes.set(self.size())
        return bool(frames == copied)


def create_missing_log(path: Path) -> None:
    """Create the log of a database that nobody has open, where there is none.

    Raises:
        IndexFailed: it cannot be created.
    """
    try:
        create_log(path)
    except OSError as exc:
        raise IndexFailed(errno_of(exc), f"metadata index: {path}-wal: {exc.strerror}") from exc
