"""Where the first bytes of a new file go: to flash, or to disk when flash is short of room."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from tierfs.store.objects import ObjectStore, Space

MIB = 1024 * 1024
RESERVE_FRACTION = 20
LEAST_RESERVE = 16 * MIB
MOST_RESERVE = 1024 * MIB
INODES_FRACTION = 100
MOST_INODES = 1024
SPACE_VALID_S = 0.2
"""Seconds for which an answer of statvfs is good enough; what overshoots is spilled to disk."""


class Limits(NamedTuple):
    """What new files get, and how full they make flash at most."""

    head: int
    """P of a new file, in bytes."""
    reserve: int | None = None
    """Bytes of flash that no head takes, half of it at most; None: 5 %, within limits."""
    high_watermark: float = 100.0
    """Percent of flash's capacity; above it new files go to disk."""


def reserve(capacity: int) -> int:
    """Bytes of flash that no head takes, so that the index can grow: 5 %, within limits."""
    wanted = min(max(capacity // RESERVE_FRACTION, LEAST_RESERVE), MOST_RESERVE)
    return min(wanted, capacity // 2)


def least_available(limits: Limits, capacity: int) -> int:
    """Bytes that are to stay available on flash."""
    kept = reserve(capacity) if limits.reserve is None else min(limits.reserve, capacity // 2)
    return max(kept, capacity - int(capacity * limits.high_watermark / 100))


def least_free(limits: Limits, files: int) -> int:
    """Inodes that are to stay free on flash: 1 %, within limits, for directories and the index.

    The high watermark is one of inodes as well: a filesystem has one for so many bytes, and heads
    may be shorter.
    """
    kept = min(files // INODES_FRACTION, MOST_INODES)
    return max(kept, files - int(files * limits.high_watermark / 100))


def is_short(space: Space, limits: Limits, wanted: int = 0, *, files: int = 1) -> bool:
    """Whether flash has so little room that new files go to disk; ``wanted`` bytes each.

    ``files`` 0: it is a file that has an inode there already.
    """
    if files and space.files and space.files_free - files < least_free(limits, space.files):
        return True
    return space.available - wanted < least_available(limits, space.capacity)


class Placement:
    """Decides for new files, asking the flash filesystem a few times a second.

    Raises from every method:
        OSError: statvfs failed on the flash directory.
    """

    def __init__(
        self, head: int, flash: ObjectStore, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = Limits(head)
        self._flash = flash
        self._monotonic = monotonic
        self._checked = float("-inf")
        self._short = False

    @property
    def head(self) -> int:
        """P of a new file."""
        return self._limits.head

    def limits(self, limits: Limits) -> None:
        """Put other limits in force, for files that get their first bytes from now on."""
        self._limits = limits
        self._checked = float("-inf")

    def fit(self, prefix: int) -> int:
        """The prefix for a file that gets its first bytes: as wished, or 0 when flash is short."""
        now = self._monotonic()
        if now - self._checked > SPACE_VALID_S:
            self._short = is_short(self._flash.space(), self._limits)
            self._checked = now
        return 0 if self._short else prefix

    def has_room(self, wanted: int, *, files: int) -> bool:
        """Whether ``wanted`` bytes, and ``files`` inodes, may come to flash beside the reserve."""
        reserve_alone = self._limits._replace(high_watermark=100.0)
        return not is_short(self._flash.space(), reserve_alone, wanted, files=files)
