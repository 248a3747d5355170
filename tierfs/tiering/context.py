"""What the planners share: the filesystem, what is known of it, the mover, and what is put off.

`Context.consider` does for one file what is due whether or not it is read; every planner that
looks at files calls it. Files that cannot be moved at once are kept here until they can: those just
changed in `Debounce`, those whose move failed in `Backoff`, those that ask for flash in
``candidates``, and in ``demands`` those for which others go piece by piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tierfs.common.units import DAY, MIB, SECOND
from tierfs.metadata.inodes import Inode
from tierfs.metadata.pins_and_requests import Request
from tierfs.tiering.heat import Heat
from tierfs.tiering.model import (
    DEBOUNCE,
    Due,
    Evaluated,
    Job,
    Misplaced,
    Step,
    Target,
    Waiting,
    WaitReason,
    due,
    is_quiet,
    misplaced,
    missing,
    on_flash,
    wants_mirror,
)
from tierfs.tiering.mover import Mover
from tierfs.tiering.ports import Ports
from tierfs.tiering.selection import Candidate, EvictionPool, Resident, candidate_of, resident_of
from tierfs.tiering.target import PolicyEvaluator
from tierfs.tiering.watermarks import Moment

FIRST_REST: Final = 60 * SECOND
LONGEST_REST: Final = DAY
"""How long a file is not tried again after a move that failed, at first and at most."""

SHORT_REST: Final = 5 * SECOND
"""The same after a turn without a result: other files took the room, or were in use."""

REFUSED_REST: Final = 60 * SECOND
"""The same when there is no room."""

REMEMBERED: Final = 65_536
"""Files in each list of those that are put off, at most."""

HELD: Final = 10 * SECOND
"""How long room is made for a file that is not read again."""

BACKLOG: Final = 65_536
"""Files that wait to be mirrored, at most."""

BATCH_FILES: Final = 256
BATCH_BYTES: Final = 32 * MIB
"""Of a batch of heads to mirror: one sync and one commit serve all of it."""

MOST_CANDIDATES: Final = 2048
"""Files that wait for a decision; those beyond come again with the next scan or read."""


class Backoff:
    """Files that are not tried for a while, since moving them failed.

    By inode number; of more files than it remembers the oldest is tried again.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._held: dict[int, tuple[int, int, Waiting]] = {}

    def holds(self, ino: int, now: int) -> bool:
        """Whether the file is not tried at ``now``; a clock that was set back may prolong this."""
        return self.why(ino, now) is not None

    def why(self, ino: int, now: int) -> Waiting | None:
        """Why it is not tried; None: it is. For any thread."""
        held = self._held.get(ino)
        return held[2] if held is not None and now < held[0] <= now + LONGEST_REST else None

    def failed(self, ino: int, now: int) -> bool:
        """Whether it is not tried because a move failed, and not because it was too early."""
        return self.holds(ino, now) and self._held[ino][1] > 0

    def fail(self, ino: int, now: int, reason: WaitReason = "error") -> None:
        """A move failed: with each failure in a row the wait doubles, up to a day."""
        rest = self._held[ino][1] if ino in self._held else 0
        rest = min(2 * rest, LONGEST_REST) or FIRST_REST
        self._hold(ino, now + rest, rest, Waiting(reason))

    def later(self, ino: int, until: int, waiting: Waiting) -> None:
        """It is too early for a move; nothing failed."""
        self._hold(ino, until, 0, waiting)

    def clear(self, ino: int) -> None:
        """A move succeeded."""
        self._held.pop(ino, None)

    def _hold(self, ino: int, until: int, rest: int, waiting: Waiting) -> None:
        self._held.pop(ino, None)
        if len(self._held) >= self._remembered:
            self._held.pop(next(iter(self._held)), None)  # another thread may have cleared it
        self._held[ino] = until, rest, waiting


class Debounce:
    """Files that were changed, until they have not changed for a while.

    By inode number, in the order of their last change; bounded: of more than it remembers the
    oldest are forgotten, and found by the next scan.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._due: dict[int, int] = {}
        self.lost = False
        """Whether files were dropped since the last call."""

    def __len__(self) -> int:
        return len(self._due)

    def add(self, inos: Iterable[int], now: int) -> None:
        """Files that were changed just before ``now``."""
        for ino in inos:
            self._due.pop(ino, None)
            self._due[ino] = now + DEBOUNCE
        while len(self._due) > self._remembered:
            del self._due[next(iter(self._due))]
            self.lost = True

    def ready(self, now: int, most: int) -> list[int]:
        """Remove and return files that have not changed for a while, ``most`` at a time."""
        found: list[int] = []
        for ino, until in self._due.items():
            # Beyond that the clock was set back.
            if len(found) == most or now < until <= now + DEBOUNCE:
                break
            found.append(ino)
        for ino in found:
            del self._due[ino]
        return found


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
        """Drop a file that was changed or deleted; it need not be known."""
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


class Demand(NamedTuple):
    """Room that is being made for a file, in bytes and inodes, for as long as it asks."""

    bytes: int
    files: int
    until: int
    since: int
    reason: WaitReason
    """Which of the two is short."""


@dataclass(slots=True)
class Context:
    """What the planners share; used by one thread at a time."""

    ports: Ports
    heat: Heat
    evaluator: PolicyEvaluator
    mover: Mover
    monotonic: Callable[[], float]
    pool: EvictionPool = field(default_factory=EvictionPool)
    mirroring: MirrorBacklog = field(default_factory=MirrorBacklog)
    debounce: Debounce = field(default_factory=Debounce)
    backoff: Backoff = field(default_factory=Backoff)
    candidates: dict[int, Candidate] = field(default_factory=dict)
    kept_until: dict[int, int] = field(default_factory=dict)
    """Until when a file stays that a user promoted, though the policy has no place for it."""
    demands: dict[int, Demand] = field(default_factory=dict)
    """Files for which others go piece by piece, by inode number."""
    waiting_since: dict[int, int] = field(default_factory=dict)
    """Since when files wait for room on flash; bounded."""
    later: Backoff = field(default_factory=Backoff)
    """For requests alone: a request made again does not wait for an earlier failure."""
    refused: Backoff = field(default_factory=Backoff)
    """Requests that failed recently, by inode number."""
    closed: bool = False
    """Whether nothing is moved here: the mount is read-only."""
    moment: Moment | None = None
    """The latest tick's."""
    upcoming: Mapping[int, int] = field(default_factory=dict)
    """Files that will be read, each with how many come before it, by inode number."""

    def evaluated(self, inos: Sequence[int], now: int) -> Iterator[Evaluated]:
        """Those of the inodes that are files with a name, each with its target.

        Raises:
            FsError: the index could not be read.
        """
        return self.evaluator.evaluate(self.ports.catalog.some(inos), now)

    def consider(self, inode: Inode, target: Target, moment: Moment) -> Resident | None:
        """Do for a file what is due whether or not it is read; returns what it would free."""
        resident = resident_of(inode, target, moment.now)
        if resident is not None:
            self.pool.offer(self.heat, resident, moment.now)
        else:
            self.pool.forget(inode.ino)
        move, mirrors = due(inode, target), wants_mirror(inode, target)
        quiet = is_quiet(inode, moment.now)
        if quiet and not self.backoff.holds(inode.ino, moment.now):
            if move is not None:
                self._begin(inode, target, move, moment)
            elif mirrors:
                self.mirroring.add(inode.ino, on_flash(inode))
        elif mirrors and quiet and not self.backoff.failed(inode.ino, moment.now):
            # It waits for room, perhaps indefinitely: meanwhile it must not be on flash alone.
            self.mirroring.add(inode.ino, on_flash(inode))
        elif move or mirrors:
            self.debounce.add([inode.ino], moment.now)
        return resident

    def add_candidate(self, candidate: Candidate) -> bool:
        """Make a file a candidate; False: there are too many."""
        if len(self.candidates) >= MOST_CANDIDATES and candidate.ino not in self.candidates:
            return False
        self.candidates[candidate.ino] = candidate
        return True

    def demanded(self, now: int) -> tuple[int, int]:
        """Bytes and inodes of flash that are to be free for those that still ask."""
        for ino in [ino for ino, one in self.demands.items() if not now < one.until <= now + HELD]:
            del self.demands[ino]
        demands = self.demands.values()
        return sum(one.bytes for one in demands), sum(one.files for one in demands)

    def demand(self, candidate: Candidate, now: int, since: int, reason: WaitReason) -> None:
        """Make room for a file, or continue to, as it was started at ``since``."""
        self.demands[candidate.ino] = Demand(
            candidate.size, candidate.files, now + HELD, since, reason
        )

    def waiting(
        self, inode: Inode, target: Target, request: Request | None, now: int
    ) -> Waiting | None:
        """Why a file is not where it belongs; None: it is. Any thread may ask."""
        ino, mover = inode.ino, self.mover
        what = misplaced(inode, target, request)
        if what is None:
            return self.refused.why(ino, now)
        if self.closed or mover.is_suspended():
            return Waiting("closed")
        if mover.queue.is_busy(ino):
            return Waiting("rate")
        held = (self.backoff if what.debounced else self.later).why(ino, now)
        if held is not None:
            return held
        if (demand := self.demands.get(ino)) is not None:
            return Waiting(demand.reason)
        if not what.urgent and not mover.in_window():
            return Waiting("window")
        if what.debounced and not is_quiet(inode, now):
            return Waiting("backoff")
        return Waiting((self._lacking(what) if what.weighed else None) or "rate")

    def _lacking(self, what: Misplaced) -> WaitReason | None:
        """What is short for a file that may only take free room."""
        moment = self.moment
        if moment is None:
            return None
        if what.files > moment.file_levels.room(moment.files_used):
            return "inodes"
        return "room" if what.bytes > moment.levels.room(moment.used) else None

    def request_of(self, ino: int) -> Request | None:
        """Requests that are not done yet.

        Raises:
            FsError: the index could not be read.
        """
        return next(
            (one for one in self.ports.catalog.requests(ino - 1, 1) if one.ino == ino), None
        )

    def shortage(self, step: Step) -> WaitReason:
        """What was short for a step that brings a file to flash."""
        moment = self.moment
        if moment is None or not step.files:
            return "room"
        return "room" if moment.file_levels.headroom(moment.files_used) else "inodes"

    def _begin(self, inode: Inode, target: Target, move: Due, moment: Moment) -> None:
        size = missing(inode, move.prefix)
        if size:
            self.add_candidate(candidate_of(inode, move.prefix, target, move.reason))
        elif moment.may_work and self.kept_until.get(inode.ino, 0) <= moment.now:
            here = on_flash(inode)
            step = Step("demote", inode.ino, move.prefix, here, target.mirror, files=int(here > 0))
            self.mover.add(Job("demote", (step,)))
