"""The promotion planner: which candidates come to flash, and which residents leave for them.

A file becomes a candidate when it is read and the policy wants more of it on flash
(`tierfs.tiering.scanner.RecentActivity`), when a rule or a user pins it
(`tierfs.tiering.context.Context.consider`), or when a user requests it (`tierfs.tiering.manual`).
Candidates that were only read are weighed against what would leave for them
(`tierfs.tiering.replacement`); those that must come take the place of anything that may leave.
Where the coldest `WEIGHED` residents are not enough for one, others leave piece by piece until
there is room: a demand, which the eviction planner works off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tierfs.common.units import SECOND
from tierfs.metadata.pins_and_requests import Request
from tierfs.tiering.context import REFUSED_REST, REMEMBERED, Context
from tierfs.tiering.eviction import EvictionPlanner
from tierfs.tiering.model import UNPLACEABLE, Bringing, Kind, WaitReason
from tierfs.tiering.replacement import admit
from tierfs.tiering.selection import Candidate, Resident, Swap, forced, promotions
from tierfs.tiering.watermarks import Moment

MUST: Final = frozenset({"by hand", "pin", "pin by hand"})
"""Reasons for which everything that may go goes, however warm."""

MOST_DECIDED: Final = 512
"""Files decided on in a tick."""

TRIES: Final = 4
"""How often residents are chosen: some may be deleted or busy meanwhile."""

WEIGHED: Final = 1024
"""How many of the residents are weighed: the coldest ones.

Where that is not enough, the coldest go piece by piece (`EvictionPlanner`) until there is room.
"""

PATIENCE: Final = 600 * SECOND
"""For how long room is made for a file that is read often, in nanoseconds."""


class PromotionPlanner:
    """Decides which of ``Context.candidates`` come."""

    def __init__(self, context: Context, eviction: EvictionPlanner) -> None:
        self._context = context
        self._eviction = eviction
        self._coldest: Sequence[Resident] | None = None
        self._looked_at = 0

    def tick(self, moment: Moment) -> None:
        """Bring up what may come; the others are forgotten until they ask again."""
        context, queue = self._context, self._context.mover.queue
        room = min(queue.room("promote"), queue.room("hand"))
        candidates = [
            context.candidates.pop(ino)
            for ino in list(context.candidates)[: min(MOST_DECIDED, room)]
        ]
        busy = [one for one in candidates if queue.is_busy(one.ino)]
        candidates = [one for one in candidates if not queue.is_busy(one.ino)]
        for candidate in candidates:
            if candidate.reason in MUST and (moment.may_work or candidate.reason == "pin by hand"):
                kind: Kind = "hand" if candidate.reason == "pin by hand" else "promote"
                coming = self.force(candidate, moment, kind)
                if coming == "making room":
                    # A pin by a rule would come up again with the next scan only.
                    context.add_candidate(candidate)
                elif coming in UNPLACEABLE:
                    until = moment.now + REFUSED_REST
                    context.backoff.later(candidate.ino, until, UNPLACEABLE[coming])
        for candidate in busy:
            # A file that is being mirrored may not be read again for long.
            context.add_candidate(candidate)
        if moment.may_work and not moment.is_over:
            self._admit([one for one in candidates if one.reason not in MUST], moment)
        self._coldest = None

    def force(
        self, candidate: Candidate, moment: Moment, kind: Kind, request: Request | None = None
    ) -> Bringing:
        """Bring a file up that must come."""
        room, files = self._headroom(moment)
        if self._coldest is None and (candidate.size > room or candidate.files > files):
            self._eviction.look(
                max(0, candidate.size - room), max(0, candidate.files - files), moment
            )
        for _ in range(TRIES):
            fits = candidate.size <= room and candidate.files <= files
            swap = forced(candidate, room, () if fits else self._weighed(), files=files)
            if swap is None:
                return self._make_room(candidate, room, files, moment)
            if self._begin(swap, moment, kind, request):
                return "begun"
            self._coldest = None  # those that cannot go any longer are forgotten by now
        return self._make_room(candidate, room, files, moment)

    def _make_room(self, candidate: Candidate, room: int, files: int, moment: Moment) -> Bringing:
        """Evict others piece by piece, if enough may leave; a file that cannot fit evicts none."""
        context = self._context
        known = context.demands.pop(candidate.ino, None)
        reason: WaitReason = "room" if candidate.size > room else "inodes"
        refused: Bringing = "no room" if reason == "room" else "no inodes"
        if not context.evaluator.evicts or candidate.size > moment.levels.high:
            return refused
        size, taken = context.demanded(moment.now)
        queue = context.mover.queue
        # What is on its way off flash is neither room yet, nor among what may still go.
        size += candidate.size - room + min(0, queue.growth)
        taken += candidate.files - files + min(0, queue.growth_files)
        if candidate.ino not in context.waiting_since and len(context.waiting_since) >= REMEMBERED:
            context.waiting_since.pop(next(iter(context.waiting_since)), None)
        since = context.waiting_since.setdefault(candidate.ino, moment.now)
        may = self._eviction.may_free(size, taken, since, moment.now)
        if may is None and self._looked_at != moment.now:
            self._looked_at = moment.now  # once a tick, whatever the number of files
            self._eviction.look(max(0, size), max(0, taken), moment, known_since=since)
            may = self._eviction.may_free(size, taken, since, moment.now)
        if may:
            context.demand(candidate, moment.now, known.since if known else moment.now, reason)
        return refused if may is False else "making room"

    def _admit(self, candidates: list[Candidate], moment: Moment) -> None:
        context = self._context
        # Those that room was made for are first, and what is made for them is free to them alone.
        since = {ino: context.demands[ino].since for ino in context.demands}
        first = [candidate for candidate in candidates if candidate.ino in since]
        for candidate in first:
            del context.demands[candidate.ino]
        for group in (first, [candidate for candidate in candidates if candidate.ino not in since]):
            if group:
                self._admit_some(group, since, moment)

    def _admit_some(
        self, candidates: list[Candidate], since: dict[int, int], moment: Moment
    ) -> None:
        context, queue = self._context, self._context.mover.queue
        size, taken = context.demanded(moment.now)
        room = moment.levels.room(moment.used + max(0, queue.growth) + size)
        files = moment.file_levels.room(moment.files_used + max(0, queue.growth_files) + taken)
        weighed = self._undeclared()
        swaps = promotions(context.heat, candidates, room, weighed, moment.now, files=files)
        admitted = {swap.candidate.ino for swap in swaps}
        for swap in swaps:
            self._begin(swap, moment, "promote", None)
        for candidate in candidates:
            if candidate.ino not in admitted:
                began = since.get(candidate.ino, moment.now)
                self._admit_by_pieces(candidate, room, began, moment)

    def _admit_by_pieces(self, candidate: Candidate, room: int, since: int, moment: Moment) -> None:
        """Make room piece by piece for a file that is worth more than all that was weighed.

        The next residents are weighed when these have left, until one is too warm.
        """
        context = self._context
        weighed = self._undeclared()
        going = [one.item for one in weighed if one.quiet and one.item.ino != candidate.ino]
        known = sum(item.size for item in going)
        if not known or candidate.size - room <= known or moment.now - since > PATIENCE:
            return
        part = candidate.item._replace(size=known)
        if not admit(context.heat, part, 0, going, moment.now).admit:
            return
        # Room between the marks is kept for writers.
        wanted = candidate._replace(size=candidate.size + moment.levels.high - moment.levels.low)
        if self._make_room(wanted, *self._headroom(moment), moment) == "making room":
            context.demand(wanted, moment.now, since, "room")
            context.add_candidate(candidate)

    def _headroom(self, moment: Moment) -> tuple[int, int]:
        """Bytes and inodes that may come because a user requested them."""
        queue = self._context.mover.queue
        return (
            moment.levels.headroom(moment.used + max(0, queue.growth)),
            moment.file_levels.headroom(moment.files_used + max(0, queue.growth_files)),
        )

    def _begin(self, swap: Swap, moment: Moment, kind: Kind, request: Request | None) -> bool:
        """Queue it, if those that are to go for it still may."""
        context = self._context
        going = tuple(self._eviction.confirmed(swap.first, moment)) if swap.first else ()
        if swap.first:
            gone = {one.item.ino for one in swap.first}
            self._coldest = [one for one in self._weighed() if one.item.ino not in gone]
        if len(going) < len(swap.first):
            return False
        for resident in going:
            context.pool.forget(resident.item.ino)
            self._eviction.gone(resident)
        begun = context.mover.add(Swap(swap.candidate, going).job(kind, request))
        if begun:
            context.demands.pop(swap.candidate.ino, None)
            context.waiting_since.pop(swap.candidate.ino, None)
        return begun

    def _weighed(self) -> Sequence[Resident]:
        """What may go, as of the beginning of the tick, less those that have to."""
        if self._coldest is None:
            self._coldest = self._context.pool.coldest(self._context.upcoming)[:WEIGHED]
        return self._coldest

    def _undeclared(self) -> list[Resident]:
        """Those of them of which nobody has said that they will be read."""
        return [one for one in self._weighed() if one.item.ino not in self._context.upcoming]
