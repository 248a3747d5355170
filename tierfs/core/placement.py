"""Where the first bytes of a new file go: to flash, or to disk when flash is short of room."""

from __future__ import annotations

import time
from collections.abc import Callable

from tierfs.store.objects import ObjectStore, Space

MIB = 1024 * 1024
RESERVE_FRACTION = 20
LEAST_RESERVE = 16 * MIB
MOST_RESERVE = 1024 * MIB
SPACE_VALID_S = 0.2
"""Seconds for which an answer of statvfs is good enough; what overshoots is spilled to disk."""


def reserve(capacity: int) -> int:
    """Bytes of flash that no head takes, so that the index can grow: 5 %, within limits."""
    wanted = min(max(capacity // RESERVE_FRACTION, LEAST_RESERVE), MOST_RESERVE)
    return min(wanted, capacity // 2)


def is_short(space: Space) -> bool:
    """Whether flash has so little room that new files go to disk."""
    return space.available < reserve(space.capacity) or space.files_free == 0 < space.files


class Placement:
    """Decides for new files, asking the flash filesystem a few times a second."""

    def __init__(
        self, head: int, flash: ObjectStore, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.head = head
        self._flash = flash
        self._monotonic = monotonic
        self._checked = float("-inf")
        self._short = False

    def fit(self, prefix: int) -> int:
        """The prefix for a file that gets its first bytes: as wished, or 0 when flash is short.

        Raises:
            OSError: statvfs failed on the flash directory.
        """
        now = self._monotonic()
        if now - self._checked > SPACE_VALID_S:
            self._short = is_short(self._flash.space())
            self._checked = now
        return 0 if self._short else prefix
