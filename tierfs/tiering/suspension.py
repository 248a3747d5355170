"""When the mover stops for a while: too many of its latest moves failed."""

from __future__ import annotations

from collections import deque
from typing import Final

LATEST: Final = 20
"""Moves that are looked at."""

LEAST: Final = 5
"""Fewer than this many say nothing."""

FIRST_S: Final = 30.0
LONGEST_S: Final = 1800.0


class Suspension:
    """Outcomes of the latest moves. After each suspension in a row the next takes twice as long.

    Times are in seconds of any clock; ``limit`` is in percent, None for never.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.until = float("-inf")
        self._latest: deque[bool] = deque(maxlen=LATEST)
        self._next = FIRST_S

    def holds(self, now: float) -> bool:
        """Whether nothing may be moved at ``now``."""
        return now < self.until

    def record(self, now: float, *, failed: bool) -> bool:
        """Take note of a move; True when it is the one after which the mover stops."""
        self._latest.append(failed)
        failures = sum(self._latest)
        if len(self._latest) == LATEST and not failures:
            self._next = FIRST_S
        if self.limit is None or self.holds(now) or len(self._latest) < LEAST:
            return False
        if 100 * failures <= self.limit * len(self._latest):
            return False
        self.until = now + self._next
        self._next = min(2 * self._next, LONGEST_S)
        self._latest.clear()
        return True
