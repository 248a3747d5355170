"""What is on flash: sizes by file, with a sample in constant time."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random


class Shelf:
    """``flash`` bytes, and the files on them."""

    def __init__(self, flash: int) -> None:
        self.used = 0
        self.flash = flash
        self.sizes: dict[int, int] = {}
        self._order: list[int] = []
        self._place: dict[int, int] = {}

    @property
    def room(self) -> int:
        """Bytes that are free."""
        return self.flash - self.used

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __contains__(self, ino: int) -> bool:
        return ino in self.sizes

    def add(self, ino: int, size: int) -> None:
        """Put a file on flash, which is not there yet."""
        self.sizes[ino] = size
        self.used += size
        self._place[ino] = len(self._order)
        self._order.append(ino)

    def remove(self, ino: int) -> None:
        """Take a file off."""
        self.used -= self.sizes.pop(ino)
        place, last = self._place.pop(ino), self._order.pop()
        if last != ino:
            self._order[place] = last
            self._place[last] = place

    def sample(self, count: int, random: Random) -> list[int]:
        """``count`` files by chance, some perhaps more than once; all while there are few."""
        if len(self._order) <= count:
            return list(self._order)
        return [self._order[int(random.random() * len(self._order))] for _ in range(count)]
