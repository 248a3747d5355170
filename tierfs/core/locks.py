"""One lock an inode, for as long as somebody changes its bytes.

Writes, truncations and moves of one file exclude one another; reads take no lock, they notice
a move by the inode's data version.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

from tierfs.core.motions import Motions


class WouldBlock(Exception):
    """The call must wait for the disk or for another change of the same file.

    Only raised when asked not to wait; the same call in a thread will do.
    """


class InodeLocks:
    """Locks by inode number; there are as many as are held or waited for."""

    def __init__(self) -> None:
        self.motions = Motions()
        """Moves hold a lock for moments only; these are under way all the same."""
        self._mutex = threading.Lock()
        self._locks: dict[int, tuple[threading.Lock, int]] = {}

    def hold(self, ino: int, *, wait: bool = True) -> AbstractContextManager[None]:
        """Keep every other change of the inode's bytes out, from the beginning of the block.

        Raises:
            WouldBlock: another holds the inode, and ``wait`` is False.
        """
        return _Held(self, ino, wait=wait)

    def acquire(self, ino: int, *, wait: bool) -> threading.Lock:
        """Hold the inode until ``release``; raises as ``hold`` does."""
        lock = self._enter(ino)
        held = False
        try:
            held = lock.acquire(blocking=wait)
        finally:
            if not held:
                self._leave(ino)
        if not held:
            raise WouldBlock
        return lock

    def release(self, ino: int, lock: threading.Lock) -> None:
        """Let others have the inode, of which ``acquire`` gave the lock."""
        lock.release()
        self._leave(ino)

    def _enter(self, ino: int) -> threading.Lock:
        with self._mutex:
            lock, users = self._locks.get(ino) or (threading.Lock(), 0)
            self._locks[ino] = (lock, users + 1)
            return lock

    def _leave(self, ino: int) -> None:
        with self._mutex:
            lock, users = self._locks[ino]
            if users == 1:
                del self._locks[ino]
            else:
                self._locks[ino] = (lock, users - 1)


class _Held:
    """A block that holds one inode; a generator would cost a microsecond more each time."""

    __slots__ = ("_ino", "_lock", "_locks", "_wait")

    def __init__(self, locks: InodeLocks, ino: int, *, wait: bool) -> None:
        self._locks = locks
        self._ino = ino
        self._wait = wait

    def __enter__(self) -> None:
        self._lock = self._locks.acquire(self._ino, wait=self._wait)

    def __exit__(self, *_: object) -> None:
        self._locks.release(self._ino, self._lock)
