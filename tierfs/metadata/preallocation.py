"""Blocks that are allocated ahead for the index, so that files can be removed on a full filesystem.

Every transaction writes to SQLite's log, a removal too. So blocks are allocated behind the ends of
the log and of the database before they are needed (fallocate(2) with FALLOC_FL_KEEP_SIZE): neither
another file nor another program can take them. Where no more can be allocated, nothing new is made
(``may_grow``), and what is kept back serves removals, which need none of the database's.

A filesystem that cannot allocate ahead (EOPNOTSUPP) goes without.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from tierfs.common.extents import SECTOR
from tierfs.common.osio import Os
from tierfs.common.ranges import KEEP_SIZE, fallocate
from tierfs.common.sync import sync_file

KIB: Final = 1024
LOG_FRACTION: Final = 16
"""Of the filesystem, which may be a small one of its own, is what the log may grow to."""
FRACTION: Final = 128
LEAST_UNIT: Final = 128 * KIB
MOST_UNIT: Final = 1024 * KIB
LOG_UNITS: Final = 4
"""What the log has ahead: more than is written between two calls of `ensure_log`."""
DATABASE_UNITS: Final = 4
"""What is allocated behind the database at a time; half of it is kept back for removals."""

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def _fallocate(fd: int, offset: int, length: int) -> None:
    """Allocate the blocks of a range, which may lie behind the file's end; its length stays."""
    fallocate(fd, KEEP_SIZE, offset, length)


def unit_of(capacity: int) -> int:
    """The step of allocations, in bytes, on a filesystem of ``capacity`` bytes."""
    return min(max(capacity // FRACTION, LEAST_UNIT), MOST_UNIT)


def log_size(path: Path) -> int:
    """Bytes of the log of the database at ``path``; 0: there is none."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def create_log(path: Path) -> None:
    """Make the log of a database that nobody has open, where there is none.

    XFS makes no file on a full filesystem, even if it has free inodes: what is allocated behind the
    database's end is freed for it, and allocated again by ``Preallocation.prepare``.

    Raises:
        OSError: it cannot be made.
    """
    if not path.exists() or not path.stat().st_size:
        return  # SQLite removes the log of an empty database
    log = path.with_name(f"{path.name}-wal")
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
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
        if not self._extend_log() and self._ahead_of_database() > 0:
            os.ftruncate(self._database, os.fstat(self._database).st_size)
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

        SQLite cuts the database to the length that it has, which frees the blocks behind its end.
        If others take them first, nothing new can be made, and all that was made stays.
        """
        if not self._extend_log():
            self.exhausted = True
        self._allocate_some(self._database, DATABASE_UNITS)

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
        """Allocate behind the end of a file as much as there is room for."""
        end = os.fstat(fd).st_size
        if self._allocated(fd, end, units * self.unit):
            return
        sync_file(fd)  # ext4 and XFS reuse freed blocks only after their log is written
        for number in range(units, 0, -1):
            if self._allocated(fd, end, number * self.unit):
                break

    def _allocated(self, fd: int, offset: int, length: int) -> bool:
        """Whether there was room; True where the filesystem cannot allocate ahead, too.

        Where the filesystem has room and cannot allocate it, a write may find some all the same.
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

    def _ahead_of_database(self) -> int:
        return self._blocks(self._database) - os.fstat(self._database).st_size

    @staticmethod
    def _blocks(fd: int) -> int:
        """Bytes allocated to a file, those behind its end included."""
        return os.fstat(fd).st_blocks * SECTOR
