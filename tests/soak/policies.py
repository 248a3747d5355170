"""Policies that follow one another while the mount runs; their limits are the same."""

from __future__ import annotations

import os
import signal
import threading
from itertools import cycle
from pathlib import Path
from typing import Final

HIGH, LOW = 70.0, 50.0

COMMON: Final = f"""version: 1
flash:
  high_watermark: {HIGH:g}%
  low_watermark: {LOW:g}%
  reserve: 1MiB
  evict_order: [scratch, standard]
mover: {{rate: 400MiB/s, concurrency: 3}}
"""

MISTAKE: Final = "rules: [{name: broken, match: {siez: 1}}]\n"
"""The policy before this one stays in force."""

RULES: Final = (
    "mirror: async\n",
    'mirror: never\nrules: [{name: cold, match: {path: "/writer-1/**"}, head: none}]\n',
    """promote: {reads: 2, within: 1min}
rules:
  - {name: large, match: {size: "> 200KiB"}, head: 128KiB, evict: lru, class: scratch}
  - {name: kept, match: {path: "/writer-2/file-*1"}, head: all, pin: true}
""",
    'head: 16KiB\nrules: [{name: all, match: {size: "<= 1MiB"}, head: all}]\n',
    MISTAKE,
)


class Politics(threading.Thread):
    """Writes the next policy every few seconds, by rename and by SIGHUP in turn."""

    def __init__(self, path: Path, every_s: float) -> None:
        super().__init__(daemon=True, name="politics")
        self.path = path
        self.pid = 0
        self.changes = 0
        self._every = every_s
        self._rules = cycle(RULES)
        self._over = threading.Event()
        self.write()

    def write(self) -> None:
        """The next one, whole from one moment to the next."""
        new = self.path.with_suffix(".new")
        self._present = next(self._rules)
        new.write_text(COMMON + self._present, encoding="utf-8")
        new.replace(self.path)
        self.changes += 1

    def run(self) -> None:
        """Until told to stop."""
        while not self._over.wait(self._every):
            self.write()
            if self.pid and self.changes % 2:
                os.kill(self.pid, signal.SIGHUP)

    def stop(self) -> None:
        """Leave a policy that the next mount takes."""
        self._over.set()
        self.join()
        if self._present == MISTAKE:
            self.write()
