"""The planner of promotions: who of those that ask comes to flash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from tierfs.base.durations import SECOND
from tierfs.index.wishes import Request
from tierfs.tiering.context import Context, Moment
from tierfs.tiering.eviction import Resident
from tierfs.tiering.jobs import Kind, swap_job
from tierfs.tiering.pressure import Pressure
from tierfs.tiering.promotion import Ask, Swap, forced, promotions
from tierfs.tiering.replacement import admit
from tierfs.tiering.waits import Waiting, Waits

MUST: Final = frozenset({"by hand", "pin", "pin by hand"})
"""Reasons for which whoever may go has to go."""

AGAIN: Final = 60 * SECOND
"""A pin for which there is no room is tried again so much later."""

SOON: Final = 5 * SECOND
"""One whose turn came to nothing, since others took the room or were in use, so much later."""

REMEMBERED: Final = 65_536

MOST: Final = 512
"""Files decided on in a tick."""

TRIES: Final = 4
"""Who is to go is chosen so often, since some may be gone or busy by then."""

WEIGHED: Final = 1024
"""Of the candidates to go so many are weighed, the coldest ones.

Where that is not enough, the coldest go piece by piece (`Pressure`) until there is room.
"""

PATIENCE: Final = 600 * SECOND
"""So long room is made for a file that is read often."""

Coming = Literal["begun", "making room", "no room", "no inodes"]
"""What becomes of a file that must come."""

REFUSED: Final[Mapping[Coming, Waiting]] = {
    "no room": Waiting("room", stuck=True),
    "no inodes": Waiting("inodes", stuck=True),
}
"""Why it does not come, where all that may go is not enough."""


class Arrivals:
    """Decides on what waits in ``Context.asks``."""

    def __init__(self, context: Context, pressure: Pressure) -> None:
        self._context = context
        self._pressure = pressure
        self._coldest: Sequence[Resident] | None = None
        self._surveyed = 0

    def tick(self, moment: Moment) -> None:
        """Bring up what may come; the others are forgotten until they ask again."""
        context, queue = self._context, self._context.mover.queue
        asks = [context.asks.pop(ino) for ino in list(context.asks)[: min(MOST, self._room())]]
        busy = [ask for ask in asks if queue.is_busy(ask.ino)]
        asks = [ask for ask in asks if not queue.is_busy(ask.ino)]
        for ask in asks:
            if ask.reason in MUST and (moment.may_work or ask.reason == "pin by hand"):
                kind: Kind = "hand" if ask.reason == "pin by hand" else "promote"
                self._bring(ask, moment, kind)
        for ask in busy:
            context.ask(ask)  # a file that is being mirrored may not be read again for long
        if moment.may_work and not moment.is_over:
            self._admit([ask for ask in asks if ask.reason not in MUST], moment)
        self._coldest = None

    def force(self, ask: Ask, moment: Moment, kind: Kind, request: Request | None = None) -> Coming:
        """Bring a file up that must come."""
        room, files = self._headroom(moment)
        if self._coldest is None and (ask.size > room or ask.files > files):
            self._pressure.look(max(0, ask.size - room), max(0, ask.files - files), moment)
        for _ in range(TRIES):
            fits = ask.size <= room and ask.files <= files
            swap = forced(ask, room, () if fits else self._weighed(), files=files)
            if swap is None:
                return self._make_room(ask, room, files, moment)
            if self._begin(swap, moment, kind, request):
                return "begun"
            self._coldest = None  # those that cannot go any longer are forgotten by now
        return self._make_room(ask, room, files, moment)

    def _bring(self, ask: Ask, moment: Moment, kind: Kind) -> None:
        context = self._context
        coming = self.force(ask, moment, kind)
        if coming == "making room":
            context.ask(ask)  # a pin by a rule would come up again with the next round only
        elif coming in REFUSED:
            context.backoff.later(ask.ino, moment.now + AGAIN, REFUSED[coming])

    def _make_room(self, ask: Ask, room: int, files: int, moment: Moment) -> Coming:
        """Have others go piece by piece, if so much may go; what does not fit sends nobody off."""
        context = self._context
        known = context.demands.pop(ask.ino, None)
        reason: Waits = "room" if ask.size > room else "inodes"
        refused: Coming = "no room" if reason == "room" else "no inodes"
        if not context.judge.evicts or ask.size > moment.levels.high:
            return refused
        size, taken = context.demanded(moment.now)
        queue = context.mover.queue
        # What is on its way off flash is neither room yet, nor among what may still go.
        size += ask.size - room + min(0, queue.growth)
        taken += ask.files - files + min(0, queue.growth_files)
        since = self._asked_since(ask.ino, moment.now)
        may = self._pressure.may_free(size, taken, since, moment.now)
        if may is None and self._surveyed != moment.now:
            self._surveyed = moment.now  # once a tick, whatever the number of files
            self._pressure.look(max(0, size), max(0, taken), moment, survey_since=since)
            may = self._pressure.may_free(size, taken, since, moment.now)
        if may:
            context.demand(ask, moment.now, known.since if known else moment.now, reason)
        return refused if may is False else "making room"

    def _asked_since(self, ino: int, now: int) -> int:
        """When the file first asked for room that there was not."""
        asked = self._context.asked
        if ino not in asked and len(asked) >= REMEMBERED:
            asked.pop(next(iter(asked)), None)
        return asked.setdefault(ino, now)

    def _admit(self, asks: list[Ask], moment: Moment) -> None:
        context = self._context
        # Those that room was made for are first, and what is made for them is free to them alone.
        since = {ino: context.demands[ino].since for ino in context.demands}
        first = [ask for ask in asks if ask.ino in since]
        for ask in first:
            del context.demands[ask.ino]
        for group in (first, [ask for ask in asks if ask.ino not in since]):
            if group:
                self._admit_some(group, since, moment)

    def _admit_some(self, asks: list[Ask], since: dict[int, int], moment: Moment) -> None:
        context, queue = self._context, self._context.mover.queue
        size, taken = context.demanded(moment.now)
        room = moment.levels.room(moment.used + max(0, queue.growth) + size)
        files = moment.file_levels.room(moment.files_used + max(0, queue.growth_files) + taken)
        weighed = self._weighed()
        swaps = promotions(context.heat, asks, room, weighed, moment.now, files=files)
        admitted = {swap.ask.ino for swap in swaps}
        for swap in swaps:
            self._begin(swap, moment, "promote", None)
        for ask in asks:
            if ask.ino not in admitted:
                began = since.get(ask.ino, moment.now)
                self._admit_by_pieces(ask, room, began, moment)

    def _admit_by_pieces(self, ask: Ask, room: int, since: int, moment: Moment) -> None:
        """Go on for a file that is worth more than all that is weighed, which is not enough.

        The next ones are weighed when these have gone, so that it ends where they are too warm.
        """
        context = self._context
        going = [one.item for one in self._weighed() if one.settled and one.item.ino != ask.ino]
        known = sum(item.size for item in going)
        if not known or ask.size - room <= known or moment.now - since > PATIENCE:
            return
        part = ask.item._replace(size=known)
        if not admit(context.heat, part, 0, going, moment.now).admit:
            return
        # The room between the marks is the writers'.
        wanted = ask._replace(size=ask.size + moment.levels.high - moment.levels.low)
        if self._make_room(wanted, *self._headroom(moment), moment) == "making room":
            context.demand(wanted, moment.now, since, "room")
            context.ask(ask)

    def _headroom(self, moment: Moment) -> tuple[int, int]:
        """Bytes and inodes that may come because somebody asked for them."""
        queue = self._context.mover.queue
        return (
            moment.levels.headroom(moment.used + max(0, queue.growth)),
            moment.file_levels.headroom(moment.files_used + max(0, queue.growth_files)),
        )

    def _begin(self, swap: Swap, moment: Moment, kind: Kind, request: Request | None) -> bool:
        """Queue it, if those that are to go for it still may."""
        context = self._context
        going = tuple(context.confirmed(swap.first, moment)) if swap.first else ()
        if swap.first:
            gone = {one.item.ino for one in swap.first}
            self._coldest = [one for one in self._weighed() if one.item.ino not in gone]
        if len(going) < len(swap.first):
            return False
        for resident in going:
            context.pool.forget(resident.item.ino)
            self._pressure.gone(resident)
        begun = context.mover.add(swap_job(kind, Swap(swap.ask, going), request))
        if begun:
            context.demands.pop(swap.ask.ino, None)
            context.asked.pop(swap.ask.ino, None)
        return begun

    def _weighed(self) -> Sequence[Resident]:
        """Who may go, as of the beginning of the tick, less those that have to."""
        if self._coldest is None:
            self._coldest = self._context.pool.coldest()[:WEIGHED]
        return self._coldest

    def _room(self) -> int:
        queue = self._context.mover.queue
        return min(queue.room("promote"), queue.room("hand"))
