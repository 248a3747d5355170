"""Syncs that can be believed, and one sync for all threads that wait for one (group commit).

**XFS.** A sync that runs while XFS shuts down can return 0 for bytes that never reach the device:
`xfs_file_fsync` asks first whether the filesystem is shut down, and later whether the inode is
pinned in the log. A shutdown between the two unpins it, and the sync finds nothing to do. The
fsync of a directory does not ask at all. A filesystem shuts down when its device refuses the log,
so this happens where a sync matters most. fstat(2) fails with EIO then (`xfs_vn_getattr`), so each
sync here ends with one.

**Group commit.** Linux reports a failed write-back once for each open descriptor (errseq_t,
fsync(2)). Of several threads that sync one descriptor at the same time, one is told and the others
are not. So one thread syncs at a time, and its result is that of all who waited.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable

_LIBC = ctypes.CDLL(None, use_errno=True)
_STATFS_LONGS = 32
"""More than struct statfs has; its first is ``f_type``."""
_TMPFS_MAGIC = 0x01021994


def is_in_memory(fd: int) -> bool:
    """Whether a filesystem is tmpfs, where neither a write nor a sync waits for a device."""
    fields = (ctypes.c_long * _STATFS_LONGS)()
    return _LIBC.fstatfs(fd, fields) == 0 and fields[0] == _TMPFS_MAGIC


def sync_file(fd: int) -> os.stat_result:
    """Make a file, or the names in a directory, survive a power cut (fsync(2)).

    Returns what fstat(2) says of it then.

    Raises:
        OSError: it may not; also EIO of an XFS that has shut down.
    """
    os.fsync(fd)
    return os.fstat(fd)


def sync_data(fd: int) -> os.stat_result:
    """Make the bytes and the length of a file survive a power cut (fdatasync(2)).

    Returns what fstat(2) says of it then.

    Raises:
        OSError: they may not; also EIO of an XFS that has shut down.
    """
    os.fdatasync(fd)
    return os.fstat(fd)


def sync_filesystem(fd: int) -> None:
    """Make everything in the filesystem of a descriptor survive a power cut (syncfs(2)).

    Raises:
        OSError: it may not; also EIO of an XFS that has shut down.
    """
    if _LIBC.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    os.fstat(fd)


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
        self._next = _Round()

    def __call__(self) -> None:
        """Sync, or share the sync of another thread.

        Raises:
            OSError: the sync failed, or one that ended while this call waited for its own: that
                one may have used up the report of an error that concerns this caller.
        """
        with self._mutex:
            mine = self._next
        with self._syncing:
            if not mine.done:
                self._lead(mine)
        if mine.error is not None:
            raise OSError(*mine.error.args) from mine.error

    def _lead(self, mine: _Round) -> None:
        with self._mutex:
            self._next = _Round()  # of those who come from now on
        try:
            self._sync()
        except OSError as exc:
            with self._mutex:
                meanwhile, self._next = self._next, _Round()
            meanwhile.error = mine.error = exc
            meanwhile.done = True
        mine.done = True
