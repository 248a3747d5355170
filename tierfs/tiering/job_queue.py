"""Jobs that wait, by kind; each file is in one job at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

from tierfs.tiering.jobs import KINDS, Job, Kind

MOST: Final = 2048
"""Jobs of a kind; planners come again when there is room."""

MOST_BATCHES: Final = 8
"""Jobs of many files each."""


class JobQueue:
    """Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._waiting: dict[Kind, deque[Job]] = {kind: deque() for kind in KINDS}
        self._busy: set[int] = set()
        self.growth = 0
        """Bytes that flash will hold more when all that waits or is under way is done."""
        self.growth_files = 0
        """Inodes of flash, likewise."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def room(self, kind: Kind) -> int:
        """Jobs of the kind that can be added."""
        most = MOST_BATCHES if kind == "mirror" else MOST
        return max(0, most - len(self._waiting[kind]))

    def waiting(self) -> dict[Kind, int]:
        """Jobs that wait, by kind."""
        return {kind: len(jobs) for kind, jobs in self._waiting.items()}

    def is_busy(self, ino: int) -> bool:
        """Whether the file is in a job that waits or is under way."""
        return ino in self._busy

    def add(self, job: Job) -> bool:
        """Let a job wait; False: there is no room, or a file of it is busy."""
        numbers = {step.ino for step in job.steps}
        if not self.room(job.kind) or not self._busy.isdisjoint(numbers):
            return False
        self._busy |= numbers
        self.growth -= job.freeing
        self.growth_files -= job.freeing_files
        self._waiting[job.kind].append(job)
        return True

    def take(self, kinds: Collection[Kind] | None) -> Job | None:
        """The next job of one of the kinds, None for any; its files stay busy."""
        for kind in KINDS:
            if self._waiting[kind] and (kinds is None or kind in kinds):
                return self._waiting[kind].popleft()
        return None

    def release(self, job: Job) -> None:
        """A job is over."""
        self.growth += job.freeing
        self.growth_files += job.freeing_files
        self._busy.difference_update(step.ino for step in job.steps)

    def clear(self) -> None:
        """Let no job wait any longer."""
        for jobs in self._waiting.values():
            for job in jobs:
                self.release(job)
            jobs.clear()
