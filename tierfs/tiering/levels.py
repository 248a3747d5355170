"""How full flash may be: the arithmetic of watermarks and reserve, in bytes in use."""

from __future__ import annotations

import sys
from typing import Final, NamedTuple

from tierfs.policy.limits import Flash
from tierfs.store.objects import Space

MOST_RESERVED = 2
"""A reserve is at most this part of the capacity: one for a larger device must not empty flash."""


class Levels(NamedTuple):
    """Above ``high`` files are evicted until no more than ``low`` bytes are in use."""

    high: int
    low: int

    def excess(self, used: int) -> int:
        """Bytes to free now."""
        return used - self.low if used > self.high else 0

    def falls(self, used: int, *, falling: bool) -> bool:
        """Whether files are evicted, as ``falling`` says they were a moment ago."""
        return used > self.high or (falling and used > self.low)

    def room(self, used: int) -> int:
        """Bytes that may come to flash without anything going."""
        return max(0, self.low - used)

    def headroom(self, used: int) -> int:
        """Bytes that may come to flash because somebody asked for them."""
        return max(0, self.high - used)


UNLIMITED: Final = Levels(sys.maxsize, sys.maxsize)
"""Of inodes, on a filesystem that makes them as they are needed and counts none, as btrfs."""


def inode_levels(levels: Levels, capacity: int, files: int) -> Levels:
    """The marks of ``files`` inodes: the same parts of them as ``levels`` are of ``capacity``."""
    if not files or not capacity:
        return UNLIMITED
    return Levels(round(files * levels.high / capacity), round(files * levels.low / capacity))


def levels_of(flash: Flash, capacity: int) -> Levels:
    """The marks of a policy on a filesystem of ``capacity`` bytes.

    Where the reserve begins below the high watermark it takes its place, and the low one keeps
    its distance.
    """
    reserve = min(flash.reserve, capacity // MOST_RESERVED)
    high = min(int(capacity * flash.high_watermark / 100), capacity - reserve)
    apart = int(capacity * (flash.high_watermark - flash.low_watermark) / 100)
    return Levels(high, max(0, min(int(capacity * flash.low_watermark / 100), high - apart)))


def used(space: Space) -> int:
    """Bytes in use, those included that only root may take."""
    return space.capacity - space.available
