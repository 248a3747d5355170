"""Where the first bytes of a new file go: to flash, or to disk when flash is short of room."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from tierfs.policy.model import Mark, Policy
from tierfs.storage.objects import ObjectStore, Space

MIB = 1024 * 1024
RESERVE_FRACTION = 20
LEAST_RESERVE = 16 * MIB
MOST_RESERVE = 1024 * MIB
INODES_FRACTION = 100
MOST_INODES = 1024
SPACE_VALID_S = 0.2
"""Seconds for which a result of statvfs is used; what then has no room is spilled to disk."""


FULL: Final = Mark(percent=100.0)


class Limits(NamedTuple):
    """The head of new files, and how full they may make flash."""

    head: int
    """P of a new file, in bytes."""
    reserve: int | None = None
    """Bytes of flash that no head takes, half of it at most; None: 5 %, within limits."""
    high_watermark: Mark = FULL
    """Above it new files go to disk."""
    capacity: int | None = None
    """Bytes of flash that tierfs may fill; None: the filesystem is all its own."""


def limits_of(policy: Policy) -> Limits:
    """Where first bytes go under a policy; ``share`` of it is the room that tierfs sees."""
    flash = policy.flash
    return Limits(policy.defaults.head, flash.reserve, flash.high_watermark, flash.capacity)


def reserve(capacity: int) -> int:
    """Bytes of flash that no head takes, so that the index can grow: 5 %, within limits."""
    wanted = min(max(capacity // RESERVE_FRACTION, LEAST_RESERVE), MOST_RESERVE)
    return min(wanted, capacity // 2)


def least_available(limits: Limits, capacity: int) -> int:
    """Bytes that are to stay available on flash."""
    return max(_kept(limits, capacity), capacity - limits.high_watermark.of(capacity))


def _kept(limits: Limits, capacity: int) -> int:
    return reserve(capacity) if limits.reserve is None else min(limits.reserve, capacity // 2)


def share(space: Space, own: int, limits: Limits) -> Space:
    """The room in flash as the limits let tierfs see it, of whose files ``own`` bytes are there.

    Where it may fill a part of the filesystem only, that is the capacity, and its own bytes are
    what is in use. As more fills up when others leave no more than the reserve free: tierfs then is
    above its high watermark, whatever its own bytes.
    """
    if limits.capacity is None:
        return space
    capacity = min(limits.capacity, space.capacity)
    spare = space.available - _kept(limits, space.capacity)
    left = min(capacity - own, least_available(limits, capacity) + spare)
    available = max(0, min(left, capacity))
    return space._replace(capacity=capacity, free=available, available=available)


def least_free(limits: Limits, capacity: int, files: int) -> int:
    """Inodes that are to stay free on flash: 1 %, within limits, for directories and the index.

    The high watermark limits inodes as well, to the same part of them as of ``capacity``: a
    filesystem has a fixed number of inodes, which many short heads use up first.
    """
    kept = min(files // INODES_FRACTION, MOST_INODES)
    mark = limits.high_watermark.of(capacity) / capacity if capacity else 1.0
    return max(kept, files - int(files * mark))


def is_short(space: Space, limits: Limits, wanted: int = 0, *, files: int = 1) -> bool:
    """Whether flash has so little room that new files go to disk; ``wanted`` bytes each.

    ``files`` 0: it is a file that has an inode there already.
    """
    if (
        files
        and space.files
        and space.files_free - files < least_free(limits, space.capacity, space.files)
    ):
        return True
    return space.available - wanted < least_available(limits, space.capacity)


class Allocator:
    """Decides for new files, asking the flash filesystem a few times a second.

    Raises from every method:
        OSError: statvfs failed on the flash directory.
    """

    def __init__(
        self,
        head: int,
        flash: ObjectStore,
        monotonic: Callable[[], float] = time.monotonic,
        own: Callable[[], int] = int,
    ) -> None:
        """``own`` tells the bytes of files that are on flash."""
        self._own = own
        self._limits = Limits(head)
        self._flash = flash
        self._monotonic = monotonic
        self._checked = float("-inf")
        self._short = False
        self._bytes_left = 0
        self._files_left: float = 0

    @property
    def head(self) -> int:
        """P of a new file."""
        return self._limits.head

    def limits(self, limits: Limits) -> None:
        """Put other limits in force, for files that get their first bytes from now on."""
        self._limits = limits
        self._checked = float("-inf")

    def fit(self, prefix: int) -> int:
        """The prefix for a file that gets its first bytes: as given, or 0 when flash is short.

        What was given since flash was asked counts as taken: thousands of files a second fill the
        reserve of a small flash before it is asked again by the clock.
        """
        now = self._monotonic()
        given_away = not self._short and (self._bytes_left <= 0 or self._files_left <= 0)
        if given_away or now - self._checked > SPACE_VALID_S:
            space, limits = self.space(), self._limits
            self._short = is_short(space, limits)
            self._bytes_left = space.available - least_available(limits, space.capacity)
            self._files_left = math.inf
            if space.files:
                kept = least_free(limits, space.capacity, space.files)
                self._files_left = space.files_free - kept
            self._checked = now
        if self._short:
            return 0
        self._bytes_left -= min(prefix, self._limits.head)
        self._files_left -= 1
        return prefix

    def has_room(self, wanted: int, *, files: int) -> bool:
        """Whether ``wanted`` bytes, and ``files`` inodes, may come to flash beside the reserve."""
        reserve_alone = self._limits._replace(high_watermark=FULL)
        space = share(self._flash.space(), self._own(), reserve_alone)
        return not is_short(space, reserve_alone, wanted, files=files)

    def space(self) -> Space:
        """The room in flash, as far as it is ours."""
        return share(self._flash.space(), self._own(), self._limits)
