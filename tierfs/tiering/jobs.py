"""What the mover is given to do, and what it tells of it."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from tierfs.index.wishes import Request
from tierfs.tiering.eviction import Resident
from tierfs.tiering.promotion import Ask, Swap

Kind = Literal["evict", "hand", "mirror", "promote", "demote"]

KINDS: Final[tuple[Kind, ...]] = ("evict", "hand", "mirror", "promote", "demote")
"""In the order in which they are done."""

Result: TypeAlias = Literal["moved", "changed", "gone", "no-room", "nothing", "error"]
"""As `tierfs.core.moves.Outcome`; ``error``: it failed, and the log says why."""

URGENT: Final[frozenset[Kind]] = frozenset({"evict", "hand"})
"""Kinds that do not wait for a window: flash is full, or a person waits."""


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


def eviction(resident: Resident) -> Step:
    """The step that frees what a resident holds."""
    item = resident.item
    return Step("evict", item.ino, resident.prefix, item.size, files=resident.files)


def swap_job(kind: Kind, swap: Swap, request: Request | None = None) -> Job:
    """A job for a file that comes when others have gone."""
    ask: Ask = swap.ask
    last = Step(kind, ask.ino, ask.prefix, ask.size, ask.keep_mirror, files=ask.files)
    return Job(kind, (*map(eviction, swap.first), last), request)
