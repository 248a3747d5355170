"""Files that are left alone for a while, since moving them did not work."""

from __future__ import annotations

from typing import Final

from tierfs.base.durations import DAY, SECOND
from tierfs.tiering.waits import Waiting, Waits

FIRST: Final = 60 * SECOND
LONGEST: Final = DAY
REMEMBERED: Final = 65_536


class Backoff:
    """By inode number; of more files than it remembers the oldest is tried again."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._held: dict[int, tuple[int, int, Waiting]] = {}

    def holds(self, ino: int, now: int) -> bool:
        """Whether the file is left alone at ``now``; for longer only if the clock was set back."""
        return self.why(ino, now) is not None

    def why(self, ino: int, now: int) -> Waiting | None:
        """Why it is left alone; None: it is not. Any thread may ask."""
        held = self._held.get(ino)
        return held[2] if held is not None and now < held[0] <= now + LONGEST else None

    def failed(self, ino: int, now: int) -> bool:
        """Whether it is left alone since a move failed, not since it was too early for one."""
        return self.holds(ino, now) and self._held[ino][1] > 0

    def fail(self, ino: int, now: int, reason: Waits = "error") -> None:
        """A move failed: each time in a row the file rests twice as long, up to a day."""
        rest = self._held[ino][1] if ino in self._held else 0
        rest = min(2 * rest, LONGEST) or FIRST
        self._hold(ino, now + rest, rest, Waiting(reason))

    def later(self, ino: int, until: int, waiting: Waiting) -> None:
        """Nothing failed, but it is too early."""
        self._hold(ino, until, 0, waiting)

    def clear(self, ino: int) -> None:
        """It worked."""
        self._held.pop(ino, None)

    def _hold(self, ino: int, until: int, rest: int, waiting: Waiting) -> None:
        self._held.pop(ino, None)
        if len(self._held) >= self._remembered:
            self._held.pop(next(iter(self._held)), None)  # another thread may have cleared it
        self._held[ino] = until, rest, waiting
