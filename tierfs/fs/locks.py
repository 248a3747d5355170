"""A lock for each inode whose bytes are being changed, and the in-flight migrations.

Writes, truncations and the commits of migrations of one file exclude one another. Reads take no
lock: they notice a migration by the inode's prefix (the router: or its data version). A migration
holds no lock while it copies and syncs. So each change of a file's bytes first invalidates the
in-flight migration, under the inode's lock. The migration checks this under the lock before each
write, and gives up. The reclaimer skips the objects of such a file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager


class WouldBlock(Exception):
    """The call would wait for the disk or for another change of the same file.

    Raised only with ``wait=False``; the caller repeats the call in a thread that may wait.
    """


class InodeLocks:
    """Locks by inode number; a lock exists only while a thread holds or waits for it."""

    def __init__(self) -> None:
        self.migrations = Migrations()
        """They hold a lock for short times only."""
        self._mutex = threading.Lock()
        self._released = threading.Condition(self._mutex)
        self._held: set[int] = set()
        self._waiting = 0

    def hold(self, ino: int, *, wait: bool = True) -> AbstractContextManager[None]:
        """A block in which no other thread changes the inode's bytes.

        Raises:
            WouldBlock: another holds the inode, and ``wait`` is False.
        """
        return _Held(self, ino, wait=wait)

    def acquire(self, ino: int, *, wait: bool) -> None:
        """Hold the inode until ``release``; raises as ``hold`` does."""
        with self._mutex:
            while ino in self._held:
                if not wait:
                    raise WouldBlock
                self._wait()
            self._held.add(ino)

    def try_acquire(self, ino: int) -> bool:
        """Hold the inode until ``release``, unless another holds it."""
        with self._mutex:
            free = ino not in self._held
            if free:
                self._held.add(ino)
            return free

    def try_acquire_all(self, inos: Iterable[int]) -> set[int]:
        """Hold those of the inodes that are free, until ``release_all``; returns which."""
        with self._mutex:
            free = set(inos) - self._held
            self._held |= free
            return free

    def release_all(self, inos: set[int]) -> None:
        """Let others have the inodes, all of which the caller holds."""
        with self._mutex:
            self._held -= inos
            if self._waiting:
                self._released.notify_all()

    def release(self, ino: int) -> None:
        """Let others have the inode."""
        with self._mutex:
            self._held.remove(ino)
            if self._waiting:
                self._released.notify_all()

    def _wait(self) -> None:
        """Until any inode is released: those that wait are a few threads."""
        self._waiting += 1
        try:
            self._released.wait()
        finally:
            self._waiting -= 1


class _Held:
    """A block that holds one inode; a generator would cost a microsecond more each time."""

    __slots__ = ("_ino", "_locks", "_wait")

    def __init__(self, locks: InodeLocks, ino: int, *, wait: bool) -> None:
        self._locks = locks
        self._ino = ino
        self._wait = wait

    def __enter__(self) -> None:
        self._locks.acquire(self._ino, wait=self._wait)

    def __exit__(self, *_: object) -> None:
        self._locks.release(self._ino)


class Migrations:
    """Files with an in-flight migration: as many as threads that migrate. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._invalid: dict[int, bool] = {}

    def begin(self, ino: int) -> bool:
        """A file is going to be migrated; False: another thread does that already."""
        with self._mutex:
            if ino in self._invalid:
                return False
            self._invalid[ino] = False
            return True

    def end(self, ino: int) -> None:
        """The migration that was begun is over."""
        with self._mutex:
            del self._invalid[ino]

    @contextmanager
    def of(self, inos: Iterable[int]) -> Iterator[list[int]]:
        """A block with those of the files whose migration begins; nobody else migrates them."""
        begun = [ino for ino in inos if self.begin(ino)]
        try:
            yield begun
        finally:
            for ino in begun:
                self.end(ino)

    def invalidate(self, ino: int) -> None:
        """The file's bytes are going to change; called under the inode's lock."""
        if self._invalid:
            with self._mutex:
                if ino in self._invalid:
                    self._invalid[ino] = True

    def is_invalid(self, ino: int) -> bool:
        """Whether the file changed since its migration began; certain under the inode's lock."""
        return self._invalid.get(ino, True)

    def holds(self, ino: int) -> bool:
        """Whether the file has an in-flight migration."""
        return ino in self._invalid
