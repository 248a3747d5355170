"""Which file is read ahead next, and for whom: a pure choice.

A *rank* announces files in the order in which it reads them, a few thousand at a time. They are
looked up in that order, and read in *windows*: the next files in the order, as many as half of the
rank's share of the memory holds, are read in the order of inode numbers, in which their objects
lie on disk. While one window is used the next one is read; a third one has to wait until there is
room, so what was read ahead is still in memory when its turn comes. The first windows are small,
so that a job begins soon.

Files that are not longer than a head need no disk, as a rule. To have read them ahead saves the job
waits, but processor time is only moved from the job to the daemon. So they are left to the job
while threads wait for a core half as long as they run: then the job waits for cores as well.

Windows of several ranks are read in one sweep over the disk. A job that got more than its part
waits with its next window until the others have caught up. Users have equal shares, of memory and
of the disk, the jobs of a user equal parts of it, and the ranks of a job equal parts of that.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from tierfs.announcements.protocol import AHEAD, CHARACTERS, SLACK, ProtocolError

PIECE: Final = 64
"""Files that are looked up together."""

RAMP: Final = 3
"""The first window is 4**RAMP times smaller than the later ones; each is 4 times the last."""

LEAST_WINDOW: Final = 1024 * 1024
"""Bytes of a window, however many share the memory."""

TOGETHER: Final = 8
"""Files that are read by one thread in a row, if they are not longer than a head.

No disk is needed for them, as a rule, so they cost more in taking turns than in waiting.
"""

FURTHER_EVERY: Final = 8
"""Turns, of which one looks further ahead than windows need: for what flash is to keep."""

MOST_LEFT: Final = 16
"""Pieces that are left to the job before one is looked up again."""

LOOKED_BACK: Final = 15 / 16
"""How much a look at the cores counts when the next one comes."""

CHECK_EVERY: Final = 64
"""Files of a rank, after which the next one is checked: is all of it still in memory?

It is among those that were read first of what is not used, and the kernel takes these back first.
"""

SHRINK: Final = 0.7
GROW: Final = 1 / 256
LEAST_FACTOR: Final = 1 / 16
"""How the memory in use follows from the checks."""


class State(enum.Enum):
    """What has become of a file that was announced."""

    TOLD = enum.auto()
    LOOKING = enum.auto()
    FOUND = enum.auto()
    QUEUED = enum.auto()
    READING = enum.auto()
    READY = enum.auto()
    LEFT = enum.auto()
    """To the job."""
    FAILED = enum.auto()


_DONE: Final = frozenset({State.READY, State.LEFT, State.FAILED})


@dataclass(slots=True, eq=False)
class Job:
    """The ranks of one user's job."""

    user: int
    name: str
    served: float = 0.0
    """Bytes of its windows so far, as if the disk were shared out to users first."""
    ranks: list[Rank] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class File:
    """A file that was announced, with its number in the order."""

    rank: Rank
    number: int
    path: str
    state: State = State.TOLD
    ino: int = 0
    size: int = 0
    """Bytes that are to be read."""
    whole: int = 0
    """Its length."""


@dataclass(slots=True, eq=False)
class Rank:
    """One connection's announcement; numbers count its files from 0."""

    job: Job
    name: int
    share: int = 0
    """Bytes that may be ahead."""
    files: dict[int, File] = field(default_factory=dict)
    """Those that were told and not reached."""
    told: int = 0
    """Files that were announced so far."""
    looked: int = 0
    """The next number to look up."""
    leave: int = 0
    """Pieces that are left to the job when the next one needs no disk either."""
    left_to: int = 0
    """All numbers below that were not looked up are left to the job."""
    planned: int = 0
    """The next number for a window."""
    position: int = 0
    """The number of the file that the job reads, as it says."""
    ready: int = 0
    """All numbers below have been read, or cannot be."""
    found: int = 0
    """Bytes that were found and are in no window."""
    found_files: int = 0
    """The files of these bytes."""
    ahead: int = 0
    """Bytes of windows that were not reached."""
    queued: int = 0
    """Files of windows that no thread reads yet."""
    reading: int = 0
    """Files that a thread reads."""
    looking: bool = False
    """Whether a thread looks files up."""
    characters: int = 0
    """Of the paths that are kept."""
    windows: int = 0
    """How many there were."""
    last: bool = False
    """Whether no more files will be announced."""
    check_at: int = CHECK_EVERY
    """At this position, whether a file that was read ahead is still in memory."""
    waited_s: float = 0.0
    """Seconds that the job waited for files, as it says."""
    hits: int = 0
    """Files that had been read when they were reached."""
    late: int = 0
    """Files that had not."""
    left: int = 0
    """Files that were left to the job."""
    failed: int = 0
    """Files that could not be read ahead."""
    read_bytes: int = 0
    """Bytes that were read ahead."""

    @property
    def window(self) -> int:
        """Bytes of the next window."""
        full = self.share // 2
        return max(full >> (2 * max(0, RAMP - self.windows)), min(full, LEAST_WINDOW))

    @property
    def is_starving(self) -> bool:
        """Whether it waits and nothing is under way for it."""
        busy = self.queued or self.reading or self.looking
        return not busy and self.ready <= self.position

    @property
    def has_window(self) -> bool:
        """Whether as much was found as the next window takes, or all there is."""
        if not self.found_files:
            return False
        enough = self.found >= self.window or self.found_files >= AHEAD // 2
        all_found = self.last and self.looked == self.told and not self.looking
        return enough or all_found or self.is_starving

    @property
    def may_plan(self) -> bool:
        """Whether its next window may be read now."""
        if self.queued or not self.has_window:
            return False
        return self.ahead + min(self.window, self.found) <= self.share or self.is_starving


class LookUp(NamedTuple):
    """Find these files, as the user of the job."""

    files: Sequence[File]


class Read(NamedTuple):
    """Read these files, one after the other; none: some were left to jobs, which are to hear it."""

    files: Sequence[File]


class Check(NamedTuple):
    """Is all of this file, which was read, still in memory?"""

    file: File


Work: TypeAlias = LookUp | Read | Check


class Plan:
    """All announcements of a mount. For one thread at a time."""

    def __init__(self, memory: int, head: int = 0) -> None:
        """``memory``: bytes that may be ahead, of all together. ``head``: `TOGETHER`."""
        self._head_size = head
        self._memory = memory
        self._factor = 1.0
        self.ranks: list[Rank] = []
        self._queue: list[File] = []
        """The next one last."""
        self._head = 0
        self._turn = 0
        self._checks: list[File] = []
        self._ran = 0.0
        self._waited = 0.0
        self.is_crowded = False
        """Whether threads wait for a core half as long as they run; then until it is a quarter."""
        self.dropped = 0
        """Files that were not in memory any longer when that was checked."""

    @property
    def memory(self) -> int:
        """Bytes that may be ahead by what the checks have found."""
        return int(self._memory * self._factor)

    # -------------------------------------------------------------- what ranks say

    def join(self, user: int, job: str, name: int) -> Rank:
        """A connection was made."""
        known = (rank.job for rank in self.ranks)
        found = next((one for one in known if (one.user, one.name) == (user, job)), None)
        if found is None:
            served = [rank.job.served for rank in self.ranks]
            found = Job(user, job, min(served, default=0.0))
        rank = Rank(found, name)
        found.ranks.append(rank)
        self.ranks.append(rank)
        self._share_out()
        return rank

    def leave(self, rank: Rank) -> None:
        """It has ended: nothing of it is read any longer."""
        if rank in self.ranks:
            self.ranks.remove(rank)
            rank.job.ranks.remove(rank)
            self._queue = [file for file in self._queue if file.rank is not rank]
            self._checks = [file for file in self._checks if file.rank is not rank]
            rank.files.clear()
            self._share_out()

    def tell(self, rank: Rank, paths: Iterable[str | None], *, last: bool = False) -> None:
        """These files come next.

        Raises:
            ProtocolError: they are too many.
        """
        for path in paths:
            file = File(rank, rank.told, path or "")
            if path is None:
                file.state = State.FAILED
            rank.characters += len(file.path)
            if len(rank.files) >= AHEAD or rank.characters > CHARACTERS + SLACK:
                raise ProtocolError(f"more than {AHEAD:,} files or too long paths are announced")
            rank.files[rank.told] = file
            rank.told += 1
        rank.last = last
        self._leave_out(rank)
        self._settle(rank)

    def reach(self, rank: Rank, position: int) -> None:
        """The rank has come to the file with this number.

        Raises:
            ProtocolError: it went back, or beyond what it told.
        """
        if not rank.position <= position <= rank.told:
            raise ProtocolError("the position goes on, at most to what was announced")
        for number in range(rank.position, position):
            self._reached(rank, rank.files.pop(number))
        rank.position = position
        rank.looked = max(rank.looked, position)
        rank.planned = max(rank.planned, position)
        self._settle(rank)
        if position >= rank.check_at:
            rank.check_at = position + CHECK_EVERY
            coming = rank.files.get(position)
            if coming is not None and coming.state is State.READY:
                self._checks.append(coming)

    # -------------------------------------------------------------- what is to be done

    def next(self) -> Work | None:
        """What to do now; None: nothing until somebody says more."""
        if self._checks:
            return Check(self._checks.pop())
        self._turn = (self._turn + 1) % FURTHER_EVERY
        further = self._look_up(further=True) if not self._turn else None
        return further or self._look_up() or self._read() or self._look_up(further=True)

    @property
    def has_work(self) -> bool:
        """Whether a thread would find something to do, as far as that is quickly said."""
        if self._queue or self._checks:
            return True
        return any(
            rank.may_plan or (rank.looked < rank.told and not rank.looking) for rank in self.ranks
        )

    def looked_up(self, work: LookUp, found: Sequence[tuple[int, int] | None]) -> None:
        """What `LookUp` found: inode numbers and lengths; None: it cannot be read."""
        rank = work.files[0].rank
        near = any(found) and all(one is None or one[1] <= self._head_size for one in found)
        near = near and self.is_crowded
        for file, one in zip(work.files, found, strict=True):
            if file.state is not State.LOOKING:
                continue
            if one is None:
                file.state = State.FAILED
                continue
            file.ino, file.whole = one
            file.state = State.LEFT if near else State.FOUND
            if not near:
                file.size = min(file.whole, max(1, rank.share // 4))
                rank.found += file.size
                rank.found_files += 1
        rank.looking = False
        rank.leave = min(max(1, 2 * rank.leave), MOST_LEFT) if near else 0
        rank.left_to = rank.looked + rank.leave * PIECE
        self._leave_out(rank)
        self._settle(rank)

    def ran(self, seconds: float, waited: float) -> None:
        """Take in how long a thread ran, and how long it waited for a core, in seconds."""
        self._ran = LOOKED_BACK * self._ran + seconds
        self._waited = LOOKED_BACK * self._waited + waited
        self.is_crowded = self._waited > self._ran / (4 if self.is_crowded else 2)

    def done(self, file: File, read: int | None) -> None:
        """A `Read` has ended; ``read``: the bytes that it read, None: it failed."""
        rank = file.rank
        rank.reading -= 1
        rank.read_bytes += read or 0
        if file.state is State.READING:
            file.state = State.FAILED if read is None else State.READY
        self._settle(rank)

    def checked(self, *, is_there: bool) -> None:
        """What `Check` found."""
        self.dropped += not is_there
        factor = min(1.0, self._factor + GROW) if is_there else self._factor * SHRINK
        self._factor = max(LEAST_FACTOR, factor)
        self._share_out()

    def upcoming(self, most: int) -> dict[int, int]:
        """The files to come that were looked up, each with how many come before it.

        By inode number; of each user those that come first, of ``most`` bytes together.
        """
        found: dict[int, int] = {}
        left = dict.fromkeys((rank.job.user for rank in self.ranks), most)
        known = [file for rank in self.ranks for file in rank.files.values() if file.ino]
        known.sort(key=lambda file: file.number - file.rank.position)
        for file in known:
            user = file.rank.job.user
            if left[user] >= file.whole and file.ino not in found:
                left[user] -= file.whole
                found[file.ino] = file.number - file.rank.position
        return found

    # -------------------------------------------------------------- within

    def _look_up(self, *, further: bool = False) -> LookUp | None:
        """Look up what windows need, or also ``further`` ahead."""
        for rank in self.ranks:
            enough = rank.found >= rank.window or rank.found_files >= AHEAD // 2
            spare = enough and not further and not rank.is_starving
            if rank.looking or rank.looked == rank.told or spare:
                continue
            end = min(rank.looked + PIECE, rank.told)
            some = [rank.files[number] for number in range(rank.looked, end)]
            rank.looked = end
            files = [file for file in some if file.state is State.TOLD]
            for file in files:
                file.state = State.LOOKING
            if files:
                rank.looking = True
                return LookUp(files)
        return None

    def _read(self) -> Read | None:
        self._plan()
        files: list[File] = []
        left = False
        while self._queue and len(files) < TOGETHER:
            is_near = self._queue[-1].whole <= self._head_size
            if files and not is_near:
                break
            file = self._queue.pop()
            if file.state is not State.QUEUED:
                continue
            file.rank.queued -= 1
            if is_near and self.is_crowded:
                file.state = State.LEFT
                left = True
                self._settle(file.rank)
                continue
            file.state = State.READING
            file.rank.reading += 1
            self._head = file.ino
            files.append(file)
            if not is_near:
                break
        return Read(files) if files or left else None

    def _plan(self) -> None:
        """Begin the windows that are due."""
        wanting = [rank for rank in self.ranks if rank.may_plan]
        if not wanting:
            return
        active = {rank.job for rank in self.ranks if rank.queued or rank.may_plan}
        for rank in wanting:  # one that had nothing to read does not get all of it afterwards
            others = [one.served for one in active if one is not rank.job]
            rank.job.served = max(rank.job.served, min(others, default=0.0) - rank.window)
        least = min(job.served for job in active)
        for rank in sorted(wanting, key=lambda one: one.job.served):
            if rank.job.served <= least + rank.window / 4:
                self._begin_window(rank)

    def _begin_window(self, rank: Rank) -> None:
        window: list[File] = []
        size, most = 0, rank.window
        while (file := rank.files.get(rank.planned)) and (not window or size < most):
            if len(window) == AHEAD // 2:
                break
            if file.state is State.FOUND:
                file.state = State.QUEUED
                window.append(file)
                size += file.size
            elif file.state not in _DONE:
                break  # it is still being looked up
            rank.planned += 1
        rank.windows += 1
        rank.queued += len(window)
        rank.found -= size
        rank.found_files -= len(window)
        rank.ahead += size
        users_jobs = {one.job for one in self.ranks if one.job.user == rank.job.user}
        rank.job.served += size * len(users_jobs)
        self._queue += window
        head = self._head
        self._queue.sort(key=lambda one: (one.ino < head, one.ino), reverse=True)

    def _reached(self, rank: Rank, file: File) -> None:
        rank.characters -= len(file.path)
        state = file.state
        if state is State.READY:
            rank.hits += 1
        elif state is State.LEFT:
            rank.left += 1
        elif state is State.FAILED:
            rank.failed += 1
        else:
            rank.late += 1
        if state is State.FOUND:
            rank.found -= file.size
            rank.found_files -= 1
        elif state is State.QUEUED:
            rank.queued -= 1
        if file.number < rank.planned:
            rank.ahead -= file.size
        file.state = State.FAILED  # a thread that works on it sees that it is no longer needed

    def _settle(self, rank: Rank) -> None:
        """Go on with ``ready``."""
        rank.ready = max(rank.ready, rank.position)
        while (file := rank.files.get(rank.ready)) and file.state in _DONE:
            rank.ready += 1

    def _leave_out(self, rank: Rank) -> None:
        """Leave to the job what need not be looked up."""
        while rank.looked < min(rank.left_to, rank.told):
            file = rank.files[rank.looked]
            if file.state is State.TOLD:
                file.state = State.LEFT
            rank.looked += 1

    def _share_out(self) -> None:
        jobs: dict[int, set[int]] = {}
        for rank in self.ranks:
            jobs.setdefault(rank.job.user, set()).add(id(rank.job))
        for rank in self.ranks:
            rank.share = self.memory // len(jobs) // len(jobs[rank.job.user]) // len(rank.job.ranks)


def record_of(rank: Rank) -> dict[str, Any]:
    """A rank for JSON."""
    return {
        "user": rank.job.user,
        "job": rank.job.name,
        "rank": rank.name,
        "position": rank.position,
        "announced": rank.told,
        "read_ahead": rank.ready - rank.position,
        "hits": rank.hits,
        "late": rank.late,
        "left": rank.left,
        "failed": rank.failed,
        "waited_s": rank.waited_s,
        "read_bytes": rank.read_bytes,
        "memory": rank.share,
    }
