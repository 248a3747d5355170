"""Belady's optimum, which knows the future: what no real policy can be better than, nearly.

Belady, A study of replacement algorithms for a virtual-storage computer, IBM Systems Journal 1966:
the file that is read again last goes. It is exact for files of equal size. For others the optimum
is NP-hard; here the file goes, of the `WIDTH` that are read again last, whose size times time until
then is the largest. A file that would go at once does not come in.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final

from tierfs.tiering.simulator.access import Access

WIDTH: Final = 32
NEVER: Final = 2**62


class Belady:
    """Made for one list of accesses, whose numbers `access` is given."""

    def __init__(self, flash: int, accesses: Sequence[Access]) -> None:
        self.used = 0
        self._flash = flash
        self._next = next_reads(accesses)
        self._due: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []

    def holds(self, ino: int) -> bool:
        """Whether a file is on flash."""
        return ino in self._sizes

    def access(self, access: Access, number: int) -> bool:
        """Take the file in, and let those go that are wanted last, perhaps the file itself."""
        ino = access.ino
        hit = ino in self._sizes
        if not hit and access.size > self._flash:
            return False
        if not hit:
            self._sizes[ino] = access.size
            self.used += access.size
        self._due[ino] = self._next[number]
        heappush(self._heap, (-self._due[ino], ino))
        while self.used > self._flash:
            self._evict(number)
        return hit

    def _evict(self, number: int) -> None:
        last = self._last()
        worst = max(last, key=lambda entry: self._cost(entry, number))
        for entry in last:
            if entry is not worst:
                heappush(self._heap, entry)
        self.used -= self._sizes.pop(worst[1])
        del self._due[worst[1]]

    def _cost(self, entry: tuple[int, int], number: int) -> int:
        due, ino = -entry[0], entry[1]
        return (due - number) * self._sizes[ino]

    def _last(self) -> list[tuple[int, int]]:
        """The entries of the heap read again last; those that are out of date are dropped."""
        found: list[tuple[int, int]] = []
        while self._heap and len(found) < WIDTH:
            entry = heappop(self._heap)
            if self._due.get(entry[1]) == -entry[0]:
                found.append(entry)
        return found


def next_reads(accesses: Sequence[Access]) -> list[int]:
    """For each access the number of the next read of the same file, or ``NEVER``."""
    following: dict[int, int] = {}
    found = [NEVER] * len(accesses)
    for number in range(len(accesses) - 1, -1, -1):
        access = accesses[number]
        found[number] = following.get(access.ino, NEVER)
        if not access.write:
            following[access.ino] = number
    return found
