"""How full flash may be: the arithmetic of watermarks and reserve, in bytes and inodes in use."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final, NamedTuple

from tierfs.policy.model import Flash
from tierfs.storage.objects import Space

MOST_RESERVED: Final = 2
"""A reserve is at most this part of the capacity: one for a larger device must not empty flash."""


class Levels(NamedTuple):
    """Above ``high`` files are evicted until no more than ``low`` bytes are in use."""

    high: int
    low: int

    def excess(self, used: int) -> int:
        """Bytes to free now."""
        return used - self.low if used > self.high else 0

    def falls(self, used: int, *, falling: bool) -> bool:
        """Whether files are evicted; ``falling``: whether they were until now."""
        return used > self.high or (falling and used > self.low)

    def room(self, used: int) -> int:
        """Bytes that may come to flash without anything going."""
        return max(0, self.low - used)

    def headroom(self, used: int) -> int:
        """Bytes that may come to flash because a user asked for them."""
        return max(0, self.high - used)


UNLIMITED: Final = Levels(sys.maxsize, sys.maxsize)
"""Of inodes, on a filesystem that makes them as they are needed and counts none, as btrfs."""


def inode_levels(levels: Levels, capacity: int, files: int) -> Levels:
    """The marks of ``files`` inodes: the same parts of them as ``levels`` are of ``capacity``."""
    if not files or not capacity:
        return UNLIMITED
    return Levels(round(files * levels.high / capacity), round(files * levels.low / capacity))


def levels_of(flash: Flash, capacity: int) -> Levels:
    """The marks of a policy on a filesystem of ``capacity`` bytes, or a share of one.

    Where the reserve begins below the high watermark it takes its place, and the low one keeps
    its distance: at least 1 % of the capacity, where one is a size and the other a percentage.
    """
    reserve = min(flash.reserve, capacity // MOST_RESERVED)
    wanted, low = flash.high_watermark.of(capacity), flash.low_watermark.of(capacity)
    apart = wanted - low if wanted > low else capacity // 100
    high = min(wanted, capacity - reserve)
    return Levels(high, max(0, min(low, high - apart)))


def used(space: Space) -> int:
    """Bytes in use, those included that only root may take."""
    return space.capacity - space.available


@dataclass(frozen=True, slots=True)
class Moment:
    """A tick: when it is, how full flash is, and what of the work that can wait is done now.

    ``levels``, ``used`` and ``capacity`` are in bytes, the others of the kind in inodes.
    """

    now: int
    levels: Levels
    used: int
    capacity: int
    may_work: bool
    file_levels: Levels = UNLIMITED
    files_used: int = 0
    files: int = 0

    @property
    def is_over(self) -> bool:
        """Whether flash is too full, of bytes or of inodes."""
        return bool(self.levels.excess(self.used) or self.file_levels.excess(self.files_used))
