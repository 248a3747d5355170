"""Files that were changed, until they were left alone for a while."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tierfs.tiering.wish import SETTLE

REMEMBERED: Final = 65_536


class Settling:
    """By inode number, in the order of their last change; bounded.

    Of more than it remembers the oldest are forgotten, and found by the next sweep.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._due: dict[int, int] = {}
        self.lost = False
        """Whether files were forgotten since somebody looked."""

    def __len__(self) -> int:
        return len(self._due)

    def add(self, inos: Iterable[int], now: int) -> None:
        """Files that were changed just before ``now``."""
        for ino in inos:
            self._due.pop(ino, None)
            self._due[ino] = now + SETTLE
        while len(self._due) > self._remembered:
            del self._due[next(iter(self._due))]
            self.lost = True

    def ready(self, now: int, most: int) -> list[int]:
        """Those that were left alone, ``most`` at a time; they are forgotten."""
        found: list[int] = []
        for ino, due in self._due.items():
            if len(found) == most or now < due <= now + SETTLE:  # beyond: the clock was set back
                break
            found.append(ino)
        for ino in found:
            del self._due[ino]
        return found
