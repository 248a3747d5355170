"""The coldest files that were come across, without sorting all.

As Redis does it for its approximated LRU: a few files are looked at each time, and the coldest of
all looks are remembered. A file becomes no warmer while it is not read, so that a remembered file
is still as cold as it was, or it was read, which the owner tells by `forget`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tierfs.tiering.heat import Heat
from tierfs.tiering.replacement import Item, resident_worth

REMEMBERED: Final = 64


class Coldest:
    """At most ``remembered`` files of those offered: those worth least."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._known: dict[int, tuple[tuple[float, ...], Item]] = {}

    def offer(self, heat: Heat, items: Iterable[Item], now: int) -> None:
        """Look at files that are on flash; those that are never evicted are passed by."""
        for item in items:
            if item.evict != "never":
                self._known[item.ino] = resident_worth(heat, item, now).order, item
        for _, item in sorted(self._known.values())[self._remembered :]:
            del self._known[item.ino]

    def forget(self, ino: int) -> None:
        """A file was read, or is gone; one that is not remembered is no mistake."""
        self._known.pop(ino, None)

    def first(self) -> list[Item]:
        """The remembered files, the one that should go first in front."""
        return [item for _, item in sorted(self._known.values())]
