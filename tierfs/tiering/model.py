"""What the planners share: steps and jobs, targets, what follows from them, why files wait.

Values and pure functions over a row of the index and its target, without state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import SECOND
from tierfs.metadata.inodes import Inode
from tierfs.metadata.pins_and_requests import Request
from tierfs.tiering.replacement import Evict

# ------------------------------------------------------------------ what the mover is given to do

Kind = Literal["evict", "hand", "mirror", "promote", "demote"]

KINDS: Final[tuple[Kind, ...]] = ("evict", "hand", "mirror", "promote", "demote")
"""In the order in which they are done."""

Result: TypeAlias = Literal["moved", "changed", "gone", "no-room", "nothing", "error"]
"""As `tierfs.fs.migration_plan.Outcome`; ``error``: it failed, and the log says why."""

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

    Of kind ``mirror`` the steps are one batch. ``request`` is what a user requested by hand.
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


# ------------------------------------------------------------------ where a file belongs

DEBOUNCE: Final = 5 * SECOND
"""Nanoseconds. A file that was changed more recently is not moved: it may soon change again."""

Reason = Literal["by hand", "pin by hand", "pin", "promote", "head", "head: none", "full", "mirror"]
"""Why a file is moved, as reports and metrics call it."""


@dataclass(frozen=True, slots=True)
class Target:
    """``prefix`` is the P that the file should have, ``head`` the least that it falls back to.

    ``most`` is the largest P that the policy may ever want for it; ``reason`` says why
    ``prefix`` is what it is.
    """

    rule: str | None
    prefix: int
    head: int
    most: int
    pinned: bool
    mirror: bool
    evict: Evict
    rank: int
    reason: Reason
    at_sync: bool = False
    """Whether what was synced must be on disk as well."""


LEFT_ALONE: Final = Target(None, 0, 0, WHOLE_FILE, False, False, "never", 0, "head")  # noqa: FBT003
"""The target without a policy: nothing moves by itself."""


Evaluated: TypeAlias = tuple[Inode, Target]
"""A file, and where the policy wants it."""


class Due(NamedTuple):
    """A move that is called for whether or not anybody reads the file."""

    prefix: int
    reason: Reason


def pinned_by_hand(target: Target) -> Target:
    """The target for a file that a user pinned: all of it."""
    return Target(
        target.rule,
        WHOLE_FILE,
        WHOLE_FILE,
        WHOLE_FILE,
        pinned=True,
        mirror=target.mirror,
        evict=target.evict,
        rank=target.rank,
        reason="pin by hand",
        at_sync=target.at_sync,
    )


def on_flash(inode: Inode) -> int:
    """Bytes of the file that are on flash."""
    return min(inode.size, inode.prefix)


def missing(inode: Inode, prefix: int) -> int:
    """Bytes that must come to flash for this prefix."""
    return max(0, min(inode.size, prefix) - on_flash(inode))


def is_quiet(inode: Inode, now: int) -> bool:
    """Whether the file was left alone for a while; a change time in the future says nothing."""
    return not 0 <= now - inode.ctime < DEBOUNCE


def due(inode: Inode, target: Target) -> Due | None:
    """The move that the target calls for without a read: a pin, or ``head: none``."""
    if target.pinned and missing(inode, target.head):
        return Due(target.head, target.reason)
    if target.prefix == 0 and target.reason == "head: none" and on_flash(inode):
        return Due(0, "head: none")
    return None


def wants_mirror(inode: Inode, target: Target) -> bool:
    """Whether the file's head is to be copied to disk."""
    return target.mirror and not inode.mirrored and on_flash(inode) > 0


# ------------------------------------------------------------------ what is not there, and why

WaitReason: TypeAlias = Literal["room", "inodes", "window", "rate", "backoff", "closed", "error"]
"""``room``, ``inodes``: flash has no bytes, or no inodes, to spare. ``window``: ``mover.window`` is
closed. ``rate``: it is queued or under way, and the mover does as much at a time as it may.
``backoff``: it was changed recently, or while it was moved. ``closed``: nothing is moved, since
the mount is read-only or too many moves failed. ``error``: moving it failed, which the log tells.
"""

REASONS: Final[tuple[WaitReason, ...]] = get_args(WaitReason)


class Waiting(NamedTuple):
    """Why one file waits. ``stuck``: not until something else changes, as when pins exceed flash.

    Then all that may leave flash does not make enough room, or the file is larger than flash.
    """

    reason: WaitReason
    stuck: bool = False


Bringing: TypeAlias = Literal["begun", "making room", "no room", "no inodes"]
"""What becomes of a file that must come to flash."""

UNPLACEABLE: Final[Mapping[Bringing, Waiting]] = {
    "no room": Waiting("room", stuck=True),
    "no inodes": Waiting("inodes", stuck=True),
}
"""Why it does not come, where all that may go is not enough."""


class Misplaced(NamedTuple):
    """A file of which ``bytes`` are on the wrong tier; ``urgent`` ones wait for no window."""

    bytes: int
    files: int
    """1: it needs an inode of flash."""
    urgent: bool
    debounced: bool
    """Whether it is first left alone for a while."""
    weighed: bool = False
    """Whether it comes only in the place of files that are worth less."""


def misplaced(inode: Inode, target: Target, request: Request | None) -> Misplaced | None:
    """What of a file is to be moved though nobody reads it; None: it is where it belongs.

    Files that come when they are read next are where they belong; so are heads that are to be
    mirrored.
    """
    here = on_flash(inode)
    if request is not None and request.prefix != inode.prefix:
        size = missing(inode, request.prefix) or max(0, here - request.prefix)
        return Misplaced(size, int(not here), urgent=True, debounced=False) if size else None
    move = due(inode, target)
    if move is None and target.reason != "promote":
        return None
    prefix = target.prefix if move is None else move.prefix
    size = missing(inode, prefix)
    if move is None and not size:
        return None
    by_hand = target.reason == "pin by hand"
    files = int(size > 0 and not here)
    return Misplaced(size or here, files, urgent=by_hand, debounced=True, weighed=move is None)
