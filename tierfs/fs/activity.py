"""Which files were read and changed recently, for the promotion planner."""

from __future__ import annotations

import threading
from typing import Final

ACTIVE_FILES: Final = 65_536
"""Inodes remembered between two drains, of reads and of changes each: some 15 MiB at most."""


class Activity:
    """Reads and changes by inode number since the last ``drain``. Thread-safe.

    Off, it costs one look at an attribute for each read and change. On, it is bounded: of more
    files than it holds it drops the oldest.
    """

    def __init__(self, limit: int = ACTIVE_FILES) -> None:
        self.on = False
        """Whether ``drain`` is called; else nothing is kept."""
        self._limit = limit
        self._mutex = threading.Lock()
        self._reads: dict[int, tuple[int, int]] = {}
        self._changed: dict[int, None] = {}

    def read(self, ino: int, nbytes: int) -> None:
        """An application read ``nbytes`` of a file."""
        if not self.on:
            return
        with self._mutex:
            reads, total = self._reads.get(ino, (0, 0))
            if not reads and len(self._reads) >= self._limit:
                del self._reads[next(iter(self._reads))]
            self._reads[ino] = (reads + 1, total + nbytes)

    def changed(self, ino: int) -> None:
        """Bytes or size of a file changed."""
        if not self.on:
            return
        with self._mutex:
            if ino not in self._changed and len(self._changed) >= self._limit:
                del self._changed[next(iter(self._changed))]
            self._changed[ino] = None

    def drain(self) -> tuple[list[tuple[int, int, int]], set[int]]:
        """All since the last call: ``(inode, reads, bytes)`` of files read; files changed."""
        with self._mutex:
            reads, self._reads = self._reads, {}
            changed, self._changed = self._changed, {}
        return [(ino, *counts) for ino, counts in reads.items()], set(changed)
