"""The write-ahead log: its durability, and the checkpoints that copy it into the database file.

In WAL mode a commit is a write to the log without a sync: a killed process loses nothing, and
`Wal.sync` is what makes it safe from a power cut (https://www.sqlite.org/wal.html,
https://www.sqlite.org/pragma.html#pragma_synchronous).

SQLite writes the database file in a checkpoint only. So after one that copied the whole log the
file is one consistent state, which another process may read without locks (``immutable``,
https://www.sqlite.org/uri.html). Two counters in shared memory, a sequence lock, tell that process
whether a checkpoint began while it read, so that it must read again. The daemon never waits for
such a reader, and its own locks stay in its memory.

Every transaction writes to the log, a removal too. So that files can be removed on a full
filesystem, blocks are preallocated past the ends of the log and of the database (fallocate(2) with
FALLOC_FL_KEEP_SIZE): neither another file nor another program can take them. If no more can be
allocated, nothing new is created (``Preallocation.may_grow``), and the preallocated blocks of the
log serve removals. A filesystem that cannot preallocate (EOPNOTSUPP) has no such reserve.
"""

from __future__ import annotations

import errno
import mmap
import os
import sqlite3
import struct
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tierfs.common.errors import IndexFailed, errno_of
from tierfs.common.extents import SECTOR
from tierfs.common.osio import Os
from tierfs.common.ranges import KEEP_SIZE, fallocate
from tierfs.common.sync import GroupSync, is_in_memory, sync_data, sync_file

if TYPE_CHECKING:  # it loads an HTTP server, which a worker process never needs
    from tierfs.common.metrics import Metrics

CHECKPOINT_TIMEOUT_MS: Final = 100
"""How long a checkpoint waits for readers of the log, while all writers wait for it."""

TRIES: Final = 20
PAUSE_S: Final = 0.005
"""Between two tries to copy the whole log, for readers of an older state to come to their end."""

NO_LIMIT: Final = 2**63

REWRITE_BYTES: Final = 1024 * 1024
"""Bytes of the log that are read and written again by one call."""

KIB: Final = 1024
LOG_FRACTION: Final = 16
"""Of the filesystem, which may be a small one of its own, is what the log may grow to."""
FRACTION: Final = 128
LEAST_UNIT: Final = 128 * KIB
MOST_UNIT: Final = 1024 * KIB
LOG_UNITS: Final = 4
"""Preallocated for the log: more than is written between two calls of `ensure_log`."""
DATABASE_UNITS: Final = 4
"""What is allocated behind the database at a time; half of it is kept back for removals."""

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_COUNTERS: Final = struct.Struct("=QQ")


class CheckpointSeqlock:
    """The daemon's side of the sequence lock; for one thread at a time.

    A checkpoint that a reader of an older state kept from copying every frame leaves pages of two
    states behind: SQLite finds the others in the log, who reads the file alone does not. Then it
    ends with a later one.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("tierfs-checkpoints", os.MFD_CLOEXEC)
        """For another process's `CheckpointSeqlockReader`."""
        os.ftruncate(self.descriptor, _COUNTERS.size)
        self._memory = mmap.mmap(self.descriptor, _COUNTERS.size)
        self._begun = self._ended = 0

    @property
    def is_settled(self) -> bool:
        """Whether the file is in one state."""
        return self._begun == self._ended

    def begin(self) -> None:
        """The file is about to be changed."""
        self._begun += 1
        self._publish()

    def settle(self) -> None:
        """The file is in one state again."""
        self._ended = self._begun
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
        """How many checkpoints there were; None while one is under way, or copied a part only."""
        begun, ended = _COUNTERS.unpack_from(self._memory)
        return int(begun) if begun == ended else None

    def close(self) -> None:
        """Unmap the memory."""
        self._memory.close()


def settled_counters() -> int:
    """A descriptor for a `CheckpointSeqlockReader` of a file that nobody changes; to be closed."""
    descriptor = os.memfd_create("tierfs-settled", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _COUNTERS.size)
    return descriptor


def _fallocate(fd: int, offset: int, length: int) -> None:
    """Allocate the blocks of a range, which may lie behind the file's end; its length stays."""
    fallocate(fd, KEEP_SIZE, offset, length)


def unit_of(capacity: int) -> int:
    """The step of allocations, in bytes, on a filesystem of ``capacity`` bytes."""
    return min(max(capacity // FRACTION, LEAST_UNIT), MOST_UNIT)


class Preallocation:
    """The blocks allocated ahead for a database and its log; for the thread that holds the lock.

    ``exhausted``: the filesystem has no room left but what is allocated. ``may_grow``: the database
    may become larger.

    The descriptor of the database is closed last: closing any descriptor of a file releases this
    process's locks on it (fcntl(2)).
    """

    def __init__(self, path: Path, os_: Os) -> None:
        self._database = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._log = os.open(f"{path}-wal", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except BaseException:
            os.close(self._database)
            raise
        self._fallocate = os_.bound("index.fallocate", _fallocate)
        status = os.fstatvfs(self._database)
        self.capacity = status.f_blocks * status.f_frsize
        self.unit = unit_of(self.capacity)
        self.exhausted = False
        self.may_grow = True

    @property
    def log(self) -> int:
        """A descriptor of the log."""
        return self._log

    @property
    def log_limit(self) -> int:
        """Bytes that the log may have at most, however large the tiers are."""
        return max(self.capacity // LOG_FRACTION, LOG_UNITS // 2 * self.unit)

    def prepare(self) -> None:
        """Allocate what a mount needs before its first transaction; alone, with nobody writing.

        While nobody has the index open, all of it lies behind the database's end. On a full
        filesystem it is freed there, and allocated at once for the log.
        """
        end = os.fstat(self._database).st_size
        if not self._extend_log() and self._blocks(self._database) > end:
            os.ftruncate(self._database, end)
            self._allocate_some(self._log, LOG_UNITS)
        self._allocate_some(self._database, DATABASE_UNITS)

    def ensure_log(self) -> None:
        """Allocate more for the log where little is left."""
        self.exhausted = not self._extend_log() or not self.may_grow

    def ensure_database(self, used: int) -> None:
        """Allocate more where little is left; ``used``: bytes of the database in use."""
        left = self._blocks(self._database) - used
        self.may_grow = left >= DATABASE_UNITS // 2 * self.unit or self._allocated(
            self._database, used, DATABASE_UNITS * self.unit
        )

    def after_checkpoint(self) -> None:
        """Allocate again what a checkpoint freed.

        SQLite cuts the database to the length that it has, which frees the blocks past its end.
        If others take them first, nothing new can be made, and all that was made stays.
        """
        if not self._extend_log():
            self.exhausted = True
        self._allocate_some(self._database, DATABASE_UNITS)

    def lend_to_database(self) -> None:
        """Give the database some of the log's blocks; before a transaction, with nobody writing."""
        os.ftruncate(self._log, os.fstat(self._log).st_size)  # frees those past its end
        end = os.fstat(self._database).st_size
        for part in (1, 2, 4, 8, 16):
            if self._allocated(self._database, end, self.unit // part):
                break
        self._allocate_some(self._log, LOG_UNITS)

    def may_truncate_log(self) -> bool:
        """Whether the log's blocks, once they are freed, can certainly be allocated again."""
        return self._available() > 2 * LOG_UNITS * self.unit

    def close(self) -> None:
        """Keep the log's room behind the database, now that SQLite has closed both."""
        os.close(self._log)  # with the last descriptor the blocks of the log are free
        self._fallocate = _fallocate  # not through the seam: a killed process keeps its blocks
        with suppress(OSError):  # room for the next mount, and no promise
            self._allocate_some(self._database, LOG_UNITS + DATABASE_UNITS)
        os.close(self._database)

    def _extend_log(self) -> bool:
        """Whether the log has blocks ahead of its end."""
        end = os.fstat(self._log).st_size
        if self._blocks(self._log) - end >= LOG_UNITS // 2 * self.unit:
            return True
        return self._allocated(self._log, end, LOG_UNITS * self.unit)

    def _allocate_some(self, fd: int, units: int) -> None:
        """Allocate past the end of a file as much as there is room for."""
        end = os.fstat(fd).st_size
        if self._allocated(fd, end, units * self.unit):
            return
        sync_file(fd)  # ext4 and XFS reuse freed blocks only after their log is written
        for number in range(units, 0, -1):
            if self._allocated(fd, end, number * self.unit):
                break

    def _allocated(self, fd: int, offset: int, length: int) -> bool:
        """Whether there was room; True where the filesystem cannot allocate ahead, too.

        Where the filesystem has room and cannot allocate it, a write may still find some.
        """
        try:
            self._fallocate(fd, offset, length)
        except OSError as exc:
            return exc.errno not in _NO_ROOM or (
                exc.errno == errno.ENOSPC and self._available() > 2 * length
            )
        return True

    def _available(self) -> int:
        status = os.fstatvfs(self._database)
        return status.f_bavail * status.f_frsize

    @staticmethod
    def _blocks(fd: int) -> int:
        """Bytes allocated to a file, those past its end included."""
        return os.fstat(fd).st_blocks * SECTOR


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
        alone: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """``connected``: a block with another connection, and SQLite's errors as `IndexFailed`.

        ``alone``: a block in which the writer is in no transaction.
        """
        self._path = path
        self._connected = connected
        self._alone = alone
        self._os = os_
        self._sync_log = os_.bound("index.sync", sync_data)
        self._bytes = metrics.index_wal_bytes
        self._descriptor = -1
        self.seqlock = CheckpointSeqlock()
        self._checkpointing = threading.Lock()
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
        if self._descriptor >= 0:
            return os.fstat(self._descriptor).st_size
        try:
            return self._path.with_name(f"{self._path.name}-wal").stat().st_size
        except FileNotFoundError:
            return 0

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

    def sync_at_end(self) -> None:
        """As `sync`; not through the seam: a killed process closes its files, too."""
        self._sync_log = sync_data
        self.sync()

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

    def checkpoint(self, log_limit: int, *, patient: bool = True) -> bool:
        """Copy the log into the database, on a connection of its own, beside the writer.

        Only if the log is longer than ``log_limit`` bytes even so, writers wait until it is empty.
        While somebody reads from the log for long it cannot be emptied, and stays as it is.
        ``patient``: wait for another checkpoint, and a little for such readers.

        Returns whether every commit before it is in the database now, and survives a power cut.

        Raises:
            IndexFailed: it could not be made, or the log could not be synced, now or earlier:
                what is read back from it then may be older than what was committed.
        """
        preallocation = self.preallocation
        if preallocation is None:
            return True
        if not self._checkpointing.acquire(blocking=patient):
            return False
        try:
            with self._connected() as connection:
                connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_TIMEOUT_MS}")
                # SQLite opened the log for this connection before our own sync. So a failure to
                # write it is reported to one of the two, whenever it happens.
                self.sync()
                try:
                    self.seqlock.begin()
                    complete = _copy_log(connection, TRIES if patient else 1)
                    if self.size() > log_limit and preallocation.may_truncate_log():
                        with self._alone():
                            complete = _run_checkpoint(connection, "TRUNCATE")
                    if complete:
                        self.seqlock.settle()
                except sqlite3.Error:
                    self.sync()  # it may have been the log: then no later sync succeeds
                    raise
                finally:
                    preallocation.after_checkpoint()
        finally:
            self._checkpointing.release()
        self._bytes.set(self.size())
        return complete


def _copy_log(connection: sqlite3.Connection, tries: int) -> bool:
    """Copy what can be copied while nobody waits; returns whether that was all of it."""
    while not (complete := _run_checkpoint(connection, "PASSIVE")) and (tries := tries - 1):
        time.sleep(PAUSE_S)
    return complete


def _run_checkpoint(connection: sqlite3.Connection, mode: str) -> bool:
    """Whether every frame of the log is in the database now (pragma.html#pragma_wal_checkpoint)."""
    _, frames, copied = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    return bool(frames == copied >= 0)


def create_missing_log(path: Path) -> None:
    """Create the log of a database that nobody has open, where there is none.

    XFS makes no file on a full filesystem, even if it has free inodes: what is allocated behind the
    database's end is freed for it, and allocated again by ``Preallocation.prepare``.

    Raises:
        IndexFailed: it cannot be created.
    """
    log = path.with_name(f"{path.name}-wal")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        if not path.exists() or not path.stat().st_size:
            return  # SQLite removes the log of an empty database
        mode = path.stat().st_mode & 0o777
        try:
            descriptor = os.open(log, flags, mode)
        except OSError as exc:
            if exc.errno not in _NO_ROOM:
                raise
            with path.open("r+b", buffering=0) as database:
                database.truncate(os.fstat(database.fileno()).st_size)
                sync_file(database.fileno())
            descriptor = os.open(log, flags, mode)
        os.close(descriptor)
    except OSError as exc:
        raise IndexFailed(errno_of(exc), f"metadata index: {path}-wal: {exc.strerror}") from exc
