"""What the planners share: the filesystem, what is known of it, the mover, and what is put off.

`Context.consider` does for one file what is due whether or not anybody reads it; every planner that
looks at files calls it. Files that cannot be moved at once are kept here until they can: those just
changed in `Debounce`, those whose move failed in `Backoff`, those that ask for flash in
``candidates``, and in ``demands`` those for which others go piece by piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
"""How long a file rests after a move that failed, at first and at most."""

SHORT_REST: Final = 5 * SECOND
"""How long one rests whose turn came to nothing, since others took the room or were in use."""

REFUSED_REST: Final = 60 * SECOND
"""How long one rests for which there is no room."""

REMEMBERED: Final = 65_536
"""Files in each list of those that are put off, at most."""

HELD: Final = 10 * SECOND
"""So long room is made for a file that does not ask again."""

BACKLOG: Final = 65_536
"""Files that wait to be mirrored, at most."""

BATCH_FILES: Final = 256
BATCH_BYTES: Final = 32 * MIB
"""Of a batch of heads to mirror: one sync and one commit serve all of it."""

MOST_CANDIDATES: Final = 2048
"""Files that wait for a decision; those beyond come again with the next scan or read."""


class Backoff:
    """Files that are left alone for a while, since moving them did not work.

    By inode number; of more files than it remembers the oldest is tried again.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._held: dict[int, tuple[int, int, Waiting]] = {}

    def holds(self, ino: int, now: int) -> bool:
        """Whether the file is left alone at ``now``; for longer only if the clock was set back."""
        return self.why(ino, now) is not None

    def why(self, ino: int, now: int) -> Waiting | None:
        """Why it is left alone; None: it is not. Any thread may ask."""
        held = self._held.get(ino)
        return held[2] if held is not None and now < held[0] <= now + LONGEST_REST else None

    def failed(self, ino: int, now: int) -> bool:
        """Whether it is left alone since a move failed, not since it was too early for one."""
        return self.holds(ino, now) and self._held[ino][1] > 0

    def fail(self, ino: int, now: int, reason: WaitReason = "error") -> None:
        """A move failed: each time in a row the file rests twice as long, up to a day."""
        rest = self._held[ino][1] if ino in self._held else 0
        rest = min(2 * rest, LONGEST_REST) or FIRST_REST
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


class Debounce:
    """Files that were changed, until they were left alone for a while.

    By inode number, in the order of their last change; bounded: of more than it remembers the
    oldest are forgotten, and found by the next scan.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._due: dict[int, int] = {}
        self.lost = False
        """Whether files were forgotten since somebody looked."""

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
        """Those that were left alone, ``most`` at a time; they are forgotten."""
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
    """Until when a file stays that somebody brought up by hand, though it has no place on flash."""
    demands: dict[int, Demand] = field(default_factory=dict)
    """Files for which others go piece by piece, by inode number."""
    waiting_since: dict[int, int] = field(default_factory=dict)
    """Since when files ask for room that there was not; bounded."""
    later: Backoff = field(default_factory=Backoff)
    """Requests alone wait here: who asks again does not wait for what failed before."""
    refused: Backoff = field(default_factory=Backoff)
    """What somebody asked for by hand and was given up a moment ago, by inode number."""
    closed: bool = False
    """Whether nothing is moved here: the mount is read-only."""
    moment: Moment | None = None
    """The latest tick's."""

    def evaluated(self, inos: Sequence[int], now: int) -> Iterator[Evaluated]:
        """Those of the inodes that are files with a name, each with its target.

        Raises:
            FsError: the index could not be read.
        """
        return self.evaluator.evaluate(self.ports.catalog.some(inos), now)

    def consider(self, inode: Inode, target: Target, moment: Moment) -> Resident | None:
        """Do for a file what is due whether or not anybody reads it; tells what it would free."""
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
            # It waits for room only, perhaps without end: that must not keep it on flash alone.
            self.mirroring.add(inode.ino, on_flash(inode))
        elif move or mirrors:
            self.debounce.add([inode.ino], moment.now)
        return resident

    def add_candidate(self, candidate: Candidate) -> bool:
        """Let a file ask for flash; False: too many do."""
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
        """Let room be made for a file, or go on with it, as it was begun at ``since``."""
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
        """What there is not enough of for a file that comes only into free room."""
        moment = self.moment
        if moment is None:
            return None
        if what.files > moment.file_levels.room(moment.files_used):
            return "inodes"
        return "room" if what.bytes > moment.levels.room(moment.used) else None

    def request_of(self, ino: int) -> Request | None:
        """What somebody asked for by hand, and was not done yet.

        Raises:
            FsError: the index could not be read.
        """
        return next(
            (one for one in self.ports.catalog.requests(ino - 1, 1) if one.ino == ino), None
        )

    def shortage(self, step: Step) -> WaitReason:
        """What there was too little of for a step that brings a file to flash."""
        moment = self.moment
        if moment is None or not step.files:
            return "room"
        return "room" if moment.file_levels.headroom(moment.files_used) else "inodes"

    def confirmed(self, residents: Sequence[Resident], moment: Moment) -> list[Resident]:
        """Those of the residents that may go now as well, as they are now, in their order."""
        fresh = {
            row.ino: resident_of(row, target, moment.now)
            for row, target in self.evaluated([one.item.ino for one in residents], moment.now)
        }
        kept = []
        for old in residents:
            new = fresh.get(old.item.ino)
            busy = self.mover.queue.is_busy(old.item.ino)
            if new is None or busy or self.backoff.holds(old.item.ino, moment.now):
                self.pool.forget(old.item.ino)
            else:
                kept.append(new if old.prefix else new.off())
        return kept

    def _begin(self, inode: Inode, target: Target, move: Due, moment: Moment) -> None:
        size = missing(inode, move.prefix)
        if size:
            self.add_candidate(candidate_of(inode, move.prefix, target, move.reason))
        elif moment.may_work and self.kept_until.get(inode.ino, 0) <= moment.now:
            here = on_flash(inode)
            step = Step("demote", inode.ino, move.prefix, here, target.mirror, files=int(here > 0))
            self.mover.add(Job("demote", (step,)))
