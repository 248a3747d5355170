"""Policies of the literature: LRU, LFU, S3-FIFO, SIEVE and Belady's optimum."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Final

from tests.benchmarks.policies.simulate import Access


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

    Uses are never forgotten, also of files that are not on flash ("perfect" LFU).
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


SMALL_SHARE: Final = 10
"""The small queue has flash divided by this."""

MOST_USES: Final = 3
"""Uses are counted in two bits."""


class S3Fifo:
    """Sizes are counted in bytes; the ghosts are as many bytes as the main queue."""

    def __init__(self, flash: int) -> None:
        self._flash = flash
        self._small: OrderedDict[int, int] = OrderedDict()
        self._main: OrderedDict[int, int] = OrderedDict()
        self._ghosts: OrderedDict[int, int] = OrderedDict()
        self._uses: dict[int, int] = {}
        self._small_used = self._main_used = self._ghosts_size = 0

    @property
    def used(self) -> int:
        """Bytes on flash."""
        return self._small_used + self._main_used

    def holds(self, ino: int) -> bool:
        """Whether a file is on flash."""
        return ino in self._uses

    def access(self, access: Access, number: int) -> bool:  # noqa: ARG002 - the order is enough
        """Count a use, or take the file in."""
        if access.ino in self._uses:
            self._uses[access.ino] = min(self._uses[access.ino] + 1, MOST_USES)
            return True
        if access.size <= self._flash:
            while self.used + access.size > self._flash:
                self._evict()
            self._take_in(access.ino, access.size)
        return False

    def _take_in(self, ino: int, size: int) -> None:
        self._uses[ino] = 0
        if ino in self._ghosts:
            self._ghosts_size -= self._ghosts.pop(ino)
            self._to_main(ino, size)
        else:
            self._small[ino] = size
            self._small_used += size

    def _evict(self) -> None:
        """Free one file at least, or move one to the main queue, as the paper's algorithm 1."""
        if self._small and (self._small_used >= self._flash // SMALL_SHARE or not self._main):
            self._evict_small()
        else:
            self._evict_main()

    def _evict_small(self) -> None:
        ino, size = self._small.popitem(last=False)
        self._small_used -= size
        if self._uses[ino] > 1:
            self._uses[ino] = 0
            self._to_main(ino, size)
        else:
            del self._uses[ino]
            self._remember(ino, size)

    def _evict_main(self) -> None:
        while True:
            ino, size = self._main.popitem(last=False)
            if not self._uses[ino]:
                self._main_used -= size
                del self._uses[ino]
                return
            self._uses[ino] -= 1
            self._main[ino] = size

    def _to_main(self, ino: int, size: int) -> None:
        self._main[ino] = size
        self._main_used += size

    def _remember(self, ino: int, size: int) -> None:
        self._ghosts[ino] = size
        self._ghosts_size += size
        while self._ghosts_size > self._flash - self._flash // SMALL_SHARE:
            self._ghosts_size -= self._ghosts.popitem(last=False)[1]


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
