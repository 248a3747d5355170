"""Files that are left alone for a while, since moving them did not work."""

from __future__ import annotations

from typing import Final

from tierfs.base.durations import DAY, SECOND

FIRST: Final = 60 * SECOND
LONGEST: Final = DAY
REMEMBERED: Final = 65_536


class Backoff:
    """By inode number; of more files than it remembers the oldest is tried again."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._held: dict[int, tuple[int, int]] = {}

    def holds(self, ino: int, now: int) -> bool:
        """Whether the file is left alone at ``now``; for longer only if the clock was set back."""
        return ino in self._held and now < self._held[ino][0] <= now + LONGEST

    def failed(self, ino: int, now: int) -> bool:
        """Whether it is left alone since a move failed, not since it was too early for one."""
        return self.holds(ino, now) and self._held[ino][1] > 0

    def fail(self, ino: int, now: int) -> None:
        """A move failed: each time in a row the file rests twice as long, up to a day."""
        _, rest = self._held.get(ino, (0, 0))
        rest = min(2 * rest, LONGEST) or FIRST
        self._hold(ino, now + rest, rest)

    def later(self, ino: int, until: int) -> None:
        """Nothing failed, but it is too early."""
        self._hold(ino, until, 0)

    def clear(self, ino: int) -> None:
        """It worked."""
        self._held.pop(ino, None)

    def _hold(self, ino: int, until: int, rest: int) -> None:
        self._held.pop(ino, None)
        if len(self._held) >= self._remembered:
            del self._held[next(iter(self._held))]
        self._held[ino] = until, rest
