"""The planner of promotions: who of those that ask comes to flash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tierfs.base.durations import SECOND
from tierfs.index.wishes import Request
from tierfs.tiering.context import Context, Moment
from tierfs.tiering.eviction import Resident
from tierfs.tiering.jobs import Kind, swap_job
from tierfs.tiering.pressure import Pressure
from tierfs.tiering.promotion import Ask, Swap, forced, promotions

MUST: Final = frozenset({"by hand", "pin", "pin by hand"})
"""Reasons for which whoever may go has to go."""

AGAIN: Final = 60 * SECOND
"""A pin for which there is no room is tried again so much later."""

MOST: Final = 512
"""Files decided on in a tick."""

TRIES: Final = 4
"""Who is to go is chosen so often, since some may be gone or busy by then."""

WEIGHED: Final = 1024
"""Of the candidates to go so many are weighed, the coldest ones."""


class Arrivals:
    """Decides on what waits in ``Context.asks``."""

    def __init__(self, context: Context, pressure: Pressure) -> None:
        self._context = context
        self._pressure = pressure
        self._coldest: Sequence[Resident] | None = None

    def tick(self, moment: Moment) -> None:
        """Bring up what may come; the others are forgotten until they ask again."""
        context, queue = self._context, self._context.mover.queue
        asks = [context.asks.pop(ino) for ino in list(context.asks)[: min(MOST, self._room())]]
        for ask in asks:
            if ask.reason in MUST and (moment.may_work or ask.reason == "pin by hand"):
                kind: Kind = "hand" if ask.reason == "pin by hand" else "promote"
                if not queue.is_busy(ask.ino) and not self.force(ask, moment, kind):
                    context.backoff.later(ask.ino, moment.now + AGAIN)
        if moment.may_work and not moment.levels.excess(moment.used):
            self._admit([ask for ask in asks if ask.reason not in MUST], moment)
        self._coldest = None

    def force(self, ask: Ask, moment: Moment, kind: Kind, request: Request | None = None) -> bool:
        """Bring a file up that must come; False: there is no room, and nobody may go."""
        room = moment.levels.headroom(moment.used + max(0, self._context.mover.queue.growth))
        if ask.size > room and self._coldest is None:
            self._pressure.look(ask.size - room, moment)
        for _ in range(TRIES):
            swap = forced(ask, room, () if ask.size <= room else self._weighed())
            if swap is None:
                return False
            if self._begin(swap, moment, kind, request):
                return True
            self._coldest = None  # those that cannot go any longer are forgotten by now
        return False

    def _admit(self, asks: list[Ask], moment: Moment) -> None:
        context, queue = self._context, self._context.mover.queue
        asks = [ask for ask in asks if not queue.is_busy(ask.ino)]
        if not asks:
            return
        room = moment.levels.room(moment.used + max(0, queue.growth))
        for swap in promotions(context.heat, asks, room, self._weighed(), moment.now):
            self._begin(swap, moment, "promote", None)

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
        return context.mover.add(swap_job(kind, Swap(swap.ask, going), request))

    def _weighed(self) -> Sequence[Resident]:
        """Who may go, as of the beginning of the tick, less those that have to."""
        if self._coldest is None:
            self._coldest = self._context.pool.coldest()[:WEIGHED]
        return self._coldest

    def _room(self) -> int:
        queue = self._context.mover.queue
        return min(queue.room("promote"), queue.room("hand"))
