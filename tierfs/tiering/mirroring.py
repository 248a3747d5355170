"""Heads to be copied to disk: collected, and given out in batches in the order of disk objects."""

from __future__ import annotations

from typing import Final

from tierfs.base.units import MIB
from tierfs.tiering.jobs import Job, Step

REMEMBERED: Final = 65_536

MOST_FILES: Final = 256
MOST_BYTES: Final = 32 * MIB
"""Of a batch: one sync and one commit serve all of it."""


class Mirroring:
    """Bytes to copy by inode number; bounded, what does not fit is found by the next sweep."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._waiting: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for as many files as a sweep finds at once."""
        return len(self._waiting) > self._remembered // 2

    def add(self, ino: int, size: int) -> None:
        """A file of which ``size`` bytes on flash are on flash alone."""
        if len(self._waiting) < self._remembered:
            self._waiting[ino] = size

    def forget(self, ino: int) -> None:
        """It was changed, or is gone; one that is not known is no mistake."""
        self._waiting.pop(ino, None)

    def clear(self) -> None:
        """Forget all: the policy changed."""
        self._waiting.clear()

    def batches(self, most: int) -> list[Job]:
        """The next batches, in the order of inode numbers; their files are forgotten."""
        jobs: list[Job] = []
        steps: list[Step] = []
        size = 0
        for ino in sorted(self._waiting) if most > 0 else ():
            if steps and (len(steps) == MOST_FILES or size + self._waiting[ino] > MOST_BYTES):
                jobs.append(Job("mirror", tuple(steps)))
                steps, size = [], 0
            if len(jobs) == most:
                break
            steps.append(Step("mirror", ino, 0, self._waiting[ino]))
            size += self._waiting[ino]
        if steps and len(jobs) < most:
            jobs.append(Job("mirror", tuple(steps)))
        for job in jobs:
            for step in job.steps:
                del self._waiting[step.ino]
        return jobs
