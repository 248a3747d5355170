"""LRU and LFU. Both take in every file that is read or written."""

from __future__ import annotations

from collections import Counter, OrderedDict
from heapq import heappop, heappush

from tierfs.tiering.simulator.access import Access


class Lru:
    """The file that was not used for the longest time goes."""

    def __init__(self, flash: int) -> None:
        self.used = 0
        self._flash = flash
        self._files: OrderedDict[int, int] = OrderedDict()

    def holds(self, ino: int) -> bool:
        """Whether a file is on flash."""
        return ino in self._files

    def access(self, access: Access, number: int) -> bool:  # noqa: ARG002 - the order is enough
        """Make the file the last to go."""
        if access.ino in self._files:
            self._files.move_to_end(access.ino)
            return True
        if access.size <= self._flash:
            while self.used + access.size > self._flash:
                self.used -= self._files.popitem(last=False)[1]
            self._files[access.ino] = access.size
            self.used += access.size
        return False


class Lfu:
    """The file that was used the fewest times goes; of equals that which came to it first.

    Uses are counted for ever, also of files that are not on flash ("perfect" LFU).
    """

    def __init__(self, flash: int) -> None:
        self.used = 0
        self._flash = flash
        self._sizes: dict[int, int] = {}
        self._uses: Counter[int] = Counter()
        self._heap: list[tuple[int, int, int]] = []

    def holds(self, ino: int) -> bool:
        """Whether a file is on flash."""
        return ino in self._sizes

    def access(self, access: Access, number: int) -> bool:
        """Count the use; a file that comes in pushes out those used least."""
        ino = access.ino
        self._uses[ino] += 1
        hit = ino in self._sizes
        if not hit and access.size <= self._flash:
            while self.used + access.size > self._flash:
                self._evict()
            self._sizes[ino] = access.size
            self.used += access.size
        if ino in self._sizes:
            heappush(self._heap, (self._uses[ino], number, ino))
        return hit

    def _evict(self) -> None:
        """An entry of the heap holds if its count is still that of the file."""
        while True:
            uses, _, ino = heappop(self._heap)
            if ino in self._sizes and uses == self._uses[ino]:
                self.used -= self._sizes.pop(ino)
                return
