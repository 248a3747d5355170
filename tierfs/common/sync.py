"""Syncs that can be believed, and one sync for all threads that wait for one (group commit).

**XFS.** A sync that runs while XFS shuts down can return 0 for bytes that never reach the device:
`xfs_file_fsync` asks first whether the filesystem is shut down, and later whether the inode is
pinned in the log. A shutdown between the two unpins it, and the sync finds nothing to do. The
fsync of a directory does not ask at all. A filesystem shuts down when its device refuses the log,
so this happens where a sync matters most. fstat(2) fails with EIO then (`xfs_vn_getattr`), so each
sync here ends with one.

**ext4.** When the device refuses the journal, a sync that commits a transaction fails, and a later
one of another file in the same transaction finds nothing to wait for and returns 0
(`jbd2_complete_transaction`), until somebody begins a change. What begins one is refused with EROFS
(`ext4_journal_check_start`). Removing an extended attribute that is not there is the smallest
such change: it changes nothing. So on ext4 each sync here ends with that.

**Group commit.** Linux reports a failed write-back once for each open descriptor (errseq_t,
fsync(2)). Of several threads that sync one descriptor at the same time, one is told and the others
are not. So one thread syncs at a time, and its result is that of all who waited.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable

_LIBC = ctypes.CDLL(None, use_errno=True)
_STATFS_LONGS = 32
"""More than struct statfs has; its first is ``f_type``."""
_TMPFS_MAGIC = 0x01021994
_EXT4_MAGIC = 0xEF53

_NO_ATTRIBUTE = "user.tierfs.none"
"""Nothing has an extended attribute of this name."""
_ABORTED = frozenset({errno.EROFS, errno.EIO})

_has_journal: dict[int, bool] = {}
"""By ``f_fsid``, whether a filesystem must be asked for an aborted journal.

Not by device number: after an unmount the kernel gives that to the next filesystem. ext4 takes
``f_fsid`` from its UUID.
"""


def is_in_memory(fd: int) -> bool:
    """Whether a filesystem is tmpfs, where neither a write nor a sync waits for a device."""
    return _type_of(fd) == _TMPFS_MAGIC


def _type_of(fd: int) -> int:
    """``f_type`` of statfs(2), or 0."""
    fields = (ctypes.c_long * _STATFS_LONGS)()
    return fields[0] if _LIBC.fstatfs(fd, fields) == 0 else 0


def _ask_journal(fd: int) -> None:
    """Raise OSError if a sync that has just returned 0 means nothing on this ext4."""
    filesystem = os.fstatvfs(fd)
    has_journal = _has_journal.get(filesystem.f_fsid)
    if has_journal is None:
        if filesystem.f_flag & os.ST_RDONLY:
            return  # there is nothing to sync, and nothing may be changed
        has_journal = _has_journal[filesystem.f_fsid] = _type_of(fd) == _EXT4_MAGIC
    if not has_journal:
        return
    try:
        os.removexattr(fd, _NO_ATTRIBUTE)
    except OSError as exc:
        if exc.errno in _ABORTED:
            raise


def sync_file(fd: int) -> os.stat_result:
    """Make a file, or the names in a directory, survive a power cut (fsync(2)).

    Returns what fstat(2) says of it then.

    Raises:
        OSError: it may not; also EIO of an XFS that has shut down, EROFS of a lost journal.
    """
    os.fsync(fd)
    status = os.fstat(fd)
    _ask_journal(fd)
    return status


def sync_data(fd: int) -> os.stat_result:
    """Make the bytes and the length of a file survive a power cut (fdatasync(2)).

    Returns what fstat(2) says of it then.

    Raises:
        OSError: they may not; also as ``sync_file``.
    """
    os.fdatasync(fd)
    status = os.fstat(fd)
    _ask_journal(fd)
    return status


def sync_filesystem(fd: int) -> None:
    """Make everything in the filesystem of a descriptor survive a power cut (syncfs(2)).

    Raises:
        OSError: it may not; also as ``sync_file``.
    """
    if _LIBC.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    os.fstat(fd)  # fails on an XFS that has shut down
    _ask_journal(fd)


class _Round:
    """One sync and its result, for those who came before it began."""

    __slots__ = ("done", "error")

    def __init__(self) -> None:
        self.done = False
        self.error: OSError | None = None


class GroupSync:
    """Calls ``sync`` for many threads: seldom enough, and never with a result of one alone.

    Who calls is served by a sync that begins after the call: what was written before is covered.
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._syncing = threading.Lock()
        self._mutex = threading.Lock()
        self._waiting = 0
        """Threads that wait for ``_syncing``."""
        self._next = _Round()
        """Of those who have come since the last sync for several began; who syncs replaces it."""

    def __call__(self) -> None:
        """Sync, or share the sync of another thread.

        Raises:
            OSError: the sync failed, or one that ended while this call waited for its own: that
                one may have used up the report of an error that concerns this caller.
        """
        mine = self._next
        if not self._syncing.acquire(blocking=False):
            self._wait()
        try:
            if not mine.done:
                self._lead(mine)
        finally:
            self._syncing.release()
        if mine.error is not None:
            raise OSError(*mine.error.args) from mine.error

    def _wait(self) -> None:
        with self._mutex:
            self._waiting += 1
        self._syncing.acquire()
        with self._mutex:
            self._waiting -= 1

    def _lead(self, mine: _Round) -> None:
        """Sync for all who wait; ``mine`` is their round as well, since it is not done."""
        shared = self._waiting > 0  # else who comes from now on needs another sync all the same
        if shared:
            self._next = _Round()  # of those who come from now on
        try:
            self._sync()
        except OSError as exc:
            meanwhile, self._next = self._next, _Round()
            meanwhile.error = mine.error = exc
            meanwhile.done = mine.done = True
        if shared:
            mine.done = True
