"""What the mover is given to do: steps, jobs, and the queues in which they wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final, Literal, NamedTuple, TypeAlias

from tierfs.common.units import MIB
from tierfs.metadata.pins_and_requests import Request

Kind = Literal["evict", "hand", "mirror", "promote", "demote"]

KINDS: Final[tuple[Kind, ...]] = ("evict", "hand", "mirror", "promote", "demote")
"""In the order in which they are done."""

Result: TypeAlias = Literal["moved", "changed", "gone", "no-room", "nothing", "error"]
"""As `tierfs.fs.migration_plan.Outcome`; ``error``: it failed, and the log says why."""

URGENT: Final[frozenset[Kind]] = frozenset({"evict", "hand"})
"""Kinds that do not wait for a window: flash is full, or a person waits."""

MOST_JOBS: Final = 2048
"""Jobs of a kind; planners come again when there is room."""

MOST_BATCHES: Final = 8
"""Jobs of many files each."""

BACKLOG: Final = 65_536
"""Files that wait to be mirrored, at most."""

BATCH_FILES: Final = 256
BATCH_BYTES: Final = 32 * MIB
"""Of a batch of heads to mirror: one sync and one commit serve all of it."""


class Step(NamedTuple):
    """One file gets the P ``prefix``; ``size`` bytes come to flash, or go from it.

    ``lowers`` tells the latter of a step by hand. With ``files`` 1 the file's object comes to
    flash, or goes from it, and with it an inode.
    """

    kind: Kind
    ino: int
    prefix: int
    size: int
    keep_mirror: bool = True
    lowers: bool = False
    files: int = 0


class Job(NamedTuple):
    """Steps one after the other; when one does not free what it should, the last is left out.

    Of kind ``mirror`` the steps are one batch. ``request`` is what somebody asked for by hand.
    """

    kind: Kind
    steps: tuple[Step, ...]
    request: Request | None = None

    @property
    def freeing(self) -> int:
        """Bytes that it frees of flash, less those that it brings."""
        if self.kind == "mirror":
            return 0
        return sum(-step.size if brings(step) else step.size for step in self.steps)

    @property
    def freeing_files(self) -> int:
        """Inodes of flash that it frees, less those that it takes."""
        return sum(-step.files if brings(step) else step.files for step in self.steps)


class Done(NamedTuple):
    """What became of one step."""

    job: Job
    step: Step
    outcome: Result
    copied: int = 0
    freed: int = 0

    @property
    def ends_job(self) -> bool:
        """Whether the job is over with it."""
        return self.step is self.job.steps[-1]


def brings(step: Step) -> bool:
    """Whether a step brings bytes to flash."""
    return step.kind == "promote" or (step.kind == "hand" and not step.lowers)


class JobQueue:
    """Jobs that wait, by kind; each file is in one job at a time.

    Not thread-safe: its owner holds a lock.
    """

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
        most = MOST_BATCHES if kind == "mirror" else MOST_JOBS
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


class MirrorBacklog:
    """Heads to be copied to disk, given out in batches in the order of the objects on disk.

    Bytes by inode number; bounded: what does not fit is found by the next scan.
    """

    def __init__(self, remembered: int = BACKLOG) -> None:
        self._remembered = remembered
        self._waiting: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for as many files as the scanner finds at once."""
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
            if steps and (len(steps) == BATCH_FILES or size + self._waiting[ino] > BATCH_BYTES):
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
