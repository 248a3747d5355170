"""SIEVE: one queue and a hand, from the literature of 2024.

Zhang, Yang, Yue, Vigfusson and Rashmi, SIEVE is Simpler than LRU: an Efficient Turn-Key Eviction
Algorithm for Web Caches, NSDI 2024. The hand moves from the oldest file to the newest; a file that
was used since the hand came by stays where it is.
"""

from __future__ import annotations

from tierfs.tiering.simulator.access import Access

_END = 0
"""In the place of a neighbour: there is none. Inode numbers are positive."""


class Sieve:
    """Sizes are counted in bytes."""

    def __init__(self, flash: int) -> None:
        self.used = 0
        self._flash = flash
        self._sizes: dict[int, int] = {}
        self._visited: dict[int, bool] = {}
        self._newer: dict[int, int] = {_END: _END}
        self._older: dict[int, int] = {_END: _END}
        self._hand = _END

    def holds(self, ino: int) -> bool:
        """Whether a file is on flash."""
        return ino in self._sizes

    def access(self, access: Access, number: int) -> bool:  # noqa: ARG002 - the order is enough
        """Mark the file, or take it in."""
        if access.ino in self._sizes:
            self._visited[access.ino] = True
            return True
        if access.size <= self._flash:
            while self.used + access.size > self._flash:
                self._evict()
            self._sizes[access.ino] = access.size
            self.used += access.size
            self._visited[access.ino] = False
            self._link(self._older[_END], access.ino, _END)
        return False

    def _evict(self) -> None:
        hand = self._hand or self._newer[_END]
        while self._visited[hand]:
            self._visited[hand] = False
            hand = self._newer[hand] or self._newer[_END]
        self._hand = self._newer[hand]
        self._unlink(hand)
        self.used -= self._sizes.pop(hand)

    def _link(self, older: int, ino: int, newer: int) -> None:
        """The queue is a ring through ``_END``: newer than it is the oldest file."""
        self._older[ino], self._newer[ino] = older, newer
        self._newer[older] = self._older[newer] = ino

    def _unlink(self, ino: int) -> None:
        older, newer = self._older.pop(ino), self._newer.pop(ino)
        self._newer[older], self._older[newer] = newer, older
        del self._visited[ino]
