"""How full flash is, all the time."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

EVERY_S: Final = 0.05


class Seen(NamedTuple):
    """Percent of flash in use, and seconds in a row above the high watermark; crossings of it."""

    peak: float
    longest_above: float
    crossings: int


class Watcher(threading.Thread):
    """Looks at a filesystem many times a second until told to stop."""

    def __init__(self, flash: Path, high: float) -> None:
        super().__init__(daemon=True, name="watcher")
        self.high = high
        self._flash = flash
        self._over = threading.Event()
        self._peak = self._longest = 0.0
        self._crossings = 0

    def run(self) -> None:
        """Look, and look again."""
        since: float | None = None
        while not self._over.wait(EVERY_S):
            now, percent = time.monotonic(), used_percent(self._flash)
            self._peak = max(self._peak, percent)
            if percent <= self.high:
                since = None
                continue
            if since is None:
                since = now
                self._crossings += 1
            self._longest = max(self._longest, now - since)

    def stop(self) -> Seen:
        """What was seen."""
        self._over.set()
        self.join()
        return Seen(self._peak, self._longest, self._crossings)


def used_percent(path: Path) -> float:
    """As the mover counts it: of what the filesystem can hold."""
    room = os.statvfs(path)
    return 100 * (1 - room.f_bavail / room.f_blocks)
