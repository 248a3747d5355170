"""What the planners share: the filesystem, what is known of it, and the mover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tierfs.base.durations import SECOND
from tierfs.index.inodes import Inode
from tierfs.index.wishes import Request
from tierfs.tiering.backoff import Backoff
from tierfs.tiering.eviction import Pool, Resident, resident_of
from tierfs.tiering.heat import Heat
from tierfs.tiering.jobs import Job, Step
from tierfs.tiering.judge import Judge
from tierfs.tiering.levels import UNLIMITED, Levels
from tierfs.tiering.mirroring import Mirroring
from tierfs.tiering.mover import Mover
from tierfs.tiering.ports import Ports
from tierfs.tiering.promotion import Ask, ask_of
from tierfs.tiering.settling import Settling
from tierfs.tiering.waits import Misplaced, Waiting, Waits, misplaced
from tierfs.tiering.wish import Due, Wish, due, is_settled, missing, on_flash, wants_mirror

HELD: Final = 10 * SECOND
"""So long room is made for a file that does not ask again."""

MOST_ASKS = 2048
"""Files that wait for a decision; those beyond come again with the next sweep or read."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A tick: when it is, how full flash is, and what of the work that can wait is done now.

    ``levels``, ``used`` and ``capacity`` are in bytes, the others of the kind in inodes.
    """

    now: int
    levels: Levels
    used: int
    capacity: int
    may_work: bool
    file_levels: Levels = UNLIMITED
    files_used: int = 0
    files: int = 0

    @property
    def is_over(self) -> bool:
        """Whether flash is too full, of bytes or of inodes."""
        return bool(self.levels.excess(self.used) or self.file_levels.excess(self.files_used))


class Demand(NamedTuple):
    """Room that is being made for a file, in bytes and inodes, for as long as it asks."""

    bytes: int
    files: int
    until: int
    since: int
    reason: Waits
    """Which of the two is short."""


@dataclass(slots=True)
class Context:
    """Shared by the planners; used by one thread at a time."""

    ports: Ports
    heat: Heat
    judge: Judge
    mover: Mover
    monotonic: Callable[[], float]
    pool: Pool = field(default_factory=Pool)
    mirroring: Mirroring = field(default_factory=Mirroring)
    settling: Settling = field(default_factory=Settling)
    backoff: Backoff = field(default_factory=Backoff)
    asks: dict[int, Ask] = field(default_factory=dict)
    spared: dict[int, int] = field(default_factory=dict)
    """Until when a file stays that somebody brought up by hand, though it has no place on flash."""
    demands: dict[int, Demand] = field(default_factory=dict)
    """Files for which others go piece by piece, by inode number."""
    asked: dict[int, int] = field(default_factory=dict)
    """Since when files ask for room that there was not; bounded."""
    later: Backoff = field(default_factory=Backoff)
    """Requests alone wait here: who asks again does not wait for what failed before."""
    refused: Backoff = field(default_factory=Backoff)
    """What somebody asked for by hand and was given up a moment ago, by inode number."""
    closed: bool = False
    """Whether nothing is moved here: the mount is read-only."""
    moment: Moment | None = None
    """The latest tick's."""

    def consider(self, inode: Inode, wish: Wish, moment: Moment) -> Resident | None:
        """Do for a file what is due whether or not anybody reads it; tells what it would free."""
        resident = resident_of(inode, wish, moment.now)
        if resident is not None:
            self.pool.offer(self.heat, resident, moment.now)
        else:
            self.pool.forget(inode.ino)
        if self._is_at_rest(inode, moment.now):
            if (move := due(inode, wish)) is not None:
                self._begin(inode, wish, move, moment)
            elif wants_mirror(inode, wish):
                self.mirroring.add(inode.ino, on_flash(inode))
        elif wants_mirror(inode, wish) and self._waits_for_room(inode, moment.now):
            self.mirroring.add(inode.ino, on_flash(inode))  # it may wait for ever
        elif due(inode, wish) or wants_mirror(inode, wish):
            self.settling.add([inode.ino], moment.now)
        return resident

    def ask(self, ask: Ask) -> bool:
        """Let a file ask for flash; False: too many do."""
        if len(self.asks) >= MOST_ASKS and ask.ino not in self.asks:
            return False
        self.asks[ask.ino] = ask
        return True

    def demanded(self, now: int) -> tuple[int, int]:
        """Bytes and inodes of flash that are to be free for those that still ask."""
        for ino in [ino for ino, one in self.demands.items() if not now < one.until <= now + HELD]:
            del self.demands[ino]
        demands = self.demands.values()
        return sum(one.bytes for one in demands), sum(one.files for one in demands)

    def demand(self, ask: Ask, now: int, since: int, reason: Waits) -> None:
        """Let room be made for a file, or go on with it, as it was begun at ``since``."""
        self.demands[ask.ino] = Demand(ask.size, ask.files, now + HELD, since, reason)

    def waiting(
        self, inode: Inode, wish: Wish, request: Request | None, now: int
    ) -> Waiting | None:
        """Why a file is not where it belongs; None: it is. Any thread may ask."""
        what = misplaced(inode, wish, request)
        if what is None:
            return self.refused.why(inode.ino, now)
        return self._why(inode, what, now)

    def _why(self, inode: Inode, what: Misplaced, now: int) -> Waiting:
        ino, mover = inode.ino, self.mover
        if self.closed or mover.is_suspended():
            return Waiting("closed")
        if mover.queue.is_busy(ino):
            return Waiting("rate")
        held = (self.backoff if what.settles else self.later).why(ino, now)
        if held is not None:
            return held
        if (demand := self.demands.get(ino)) is not None:
            return Waiting(demand.reason)
        if not what.urgent and not mover.in_window():
            return Waiting("window")
        if what.settles and not is_settled(inode, now):
            return Waiting("backoff")
        return Waiting((self._lacks(what) if what.weighed else None) or "rate")

    def shortage(self, step: Step) -> Waits:
        """What there was too little of for a step that brings a file to flash."""
        moment = self.moment
        if moment is None or not step.files:
            return "room"
        return "room" if moment.file_levels.headroom(moment.files_used) else "inodes"

    def _lacks(self, what: Misplaced) -> Waits | None:
        """What there is not enough of for a file that comes only into free room."""
        moment = self.moment
        if moment is None:
            return None
        if what.files > moment.file_levels.room(moment.files_used):
            return "inodes"
        return "room" if what.bytes > moment.levels.room(moment.used) else None

    def confirmed(self, residents: Sequence[Resident], moment: Moment) -> list[Resident]:
        """Those of the candidates that may go now as well, as they are now, in their order."""
        rows = self.ports.catalog.some([one.item.ino for one in residents])
        fresh = {
            row.ino: resident_of(row, wish, moment.now)
            for row, wish in self.judge.judged(rows, moment.now)
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

    def _is_at_rest(self, inode: Inode, now: int) -> bool:
        return is_settled(inode, now) and not self.backoff.holds(inode.ino, now)

    def _waits_for_room(self, inode: Inode, now: int) -> bool:
        return is_settled(inode, now) and not self.backoff.failed(inode.ino, now)

    def _begin(self, inode: Inode, wish: Wish, move: Due, moment: Moment) -> None:
        size = missing(inode, move.prefix)
        if size:
            self.ask(ask_of(inode, move.prefix, wish, move.reason))
        elif moment.may_work and self.spared.get(inode.ino, 0) <= moment.now:
            here = on_flash(inode)
            step = Step("demote", inode.ino, move.prefix, here, wish.mirror, files=int(here > 0))
            self.mover.add(Job("demote", (step,)))
