"""One lock an inode, for as long as somebody changes its bytes.

Writes, truncations and moves of one file exclude one another; reads take no lock, they notice
a move by the inode's data version.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class WouldBlock(Exception):
    """The call must wait for the disk or for another change of the same file.

    Only raised when asked not to wait; the same call in a thread will do.
    """


class InodeLocks:
    """Locks by inode number; there are as many as are held or waited for."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._locks: dict[int, tuple[threading.Lock, int]] = {}

    @contextmanager
    def hold(self, ino: int, *, wait: bool = True) -> Iterator[None]:
        """Keep every other change of the inode's bytes out.

        Raises:
            WouldBlock: another holds the inode, and ``wait`` is False.
        """
        lock = self._enter(ino)
        try:
            if not lock.acquire(blocking=wait):
                raise WouldBlock
            try:
                yield
            finally:
                lock.release()
        finally:
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
