"""What users ordered by hand: requests to move files, and pins that keep files on flash.

Both are noted in the index by `tierfs pin`, `promote` and `demote`, or by virtual attributes, and
work without a policy as well.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from typing import Final, TypeAlias

from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import DAY
from tierfs.metadata.inodes import Inode
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.tiering.context import REFUSED_REST, REMEMBERED, SHORT_REST, Backoff, Context
from tierfs.tiering.model import (
    UNPLACEABLE,
    Bringing,
    Done,
    Job,
    Kind,
    Step,
    Target,
    Waiting,
    misplaced,
    missing,
    on_flash,
)
from tierfs.tiering.selection import Candidate, candidate_of
from tierfs.tiering.state import Tally
from tierfs.tiering.watermarks import Moment

log = logging.getLogger(__name__)

PAGE: Final = 256
BUDGET_S: Final = 0.02
"""Of a tick, for requests and for pins each."""

KEPT: Final = DAY
"""How long a file stays that a user promoted, though the policy has no place for it."""

REST_S: Final = 5.0
"""A walk through pinned directories begins so long after the last one began, at the earliest."""


Force: TypeAlias = Callable[[Candidate, Moment, Kind, Request], Bringing]


class ManualPlanner:
    """Carries out requests and pins in the order of inode numbers, cyclically, a few at a time.

    Finished ones are removed from the index at the end of a tick.
    """

    def __init__(self, context: Context, force: Force) -> None:
        """``force`` brings a file to flash that must come: `PromotionPlanner.force`."""
        self._context = context
        self._force = force
        self._request = 0
        self._pin = 0
        self._settled: list[Request] = []
        self.pins = Tally()
        self.pinned_below = Tally()
        """Files that a directory pins."""
        self._walk: list[tuple[int, int]] = []
        """Directories to go through, and the place in each to continue behind."""
        self._walked = float("-inf")
        self.requests = Tally()

    def tick(self, moment: Moment) -> None:
        """Start what was requested, and record what is finished."""
        context, start = self._context, self._context.monotonic()
        while context.mover.queue.room("hand") >= PAGE:
            page = context.ports.catalog.requests(self._request, PAGE)
            self._request = page[-1].ino if len(page) == PAGE else 0
            self._begin(page, moment)
            if not self._request:
                self.requests.complete()
            if not self._request or context.monotonic() - start > BUDGET_S:
                break
        ended = self._look_at_pins(moment)
        self._look_below(moment)
        if self._settled or ended:
            context.ports.catalog.settle(self._settled, ended)
            self._settled.clear()

    def done(self, done: Done, now: int) -> None:
        """A step of a job that a user asked for has ended."""
        request = done.job.request
        if request is None or not done.ends_job:
            return
        if done.outcome == "changed":
            self._context.later.later(request.ino, now + SHORT_REST, Waiting("backoff"))
            return
        if done.outcome == "no-room":
            log.warning("inode %d does not come to flash: there is no room", request.ino)
            self._context.refused.later(request.ino, now + REFUSED_REST, Waiting("room"))
        elif done.outcome == "error":
            self._context.refused.later(request.ino, now + REFUSED_REST, Waiting("error"))
        self._settle(request, now)

    def _settle(self, request: Request, now: int) -> None:
        self._settled.append(request)
        context = self._context
        context.kept_until.pop(request.ino, None)
        if request.prefix == 0:
            context.heat.forget(request.ino)  # it comes back when it is read again
        else:
            if len(context.kept_until) >= REMEMBERED:
                del context.kept_until[next(iter(context.kept_until))]
            context.kept_until[request.ino] = now + KEPT

    def _begin(self, page: list[Request], moment: Moment) -> None:
        context = self._context
        settled = set(self._settled)  # the index has them until the end of the tick
        left = [one for one in page if one not in settled]
        wanted = {one.ino: one for one in left}
        for inode, target in context.evaluated(list(wanted), moment.now):
            request = wanted.pop(inode.ino)
            if not self._waits(inode.ino, moment, context.later):
                context.refused.clear(inode.ino)
                self._begin_one(request, inode, target, moment)
            what = misplaced(inode, target, request)
            if what is not None:
                why = context.waiting(inode, target, request, moment.now)
                self.requests.count(0, why, what.bytes)
        self._settled.extend(wanted.values())  # there is no such file any longer

    def _begin_one(self, request: Request, inode: Inode, target: Target, moment: Moment) -> None:
        size = missing(inode, request.prefix)
        less = max(0, on_flash(inode) - request.prefix)
        if inode.prefix == request.prefix or (less and target.pinned):
            self._settle(request, moment.now)
        elif size:
            candidate = candidate_of(inode, request.prefix, target, "by hand")
            coming = self._force(candidate, moment, "hand", request)
            if coming in UNPLACEABLE:
                why = UNPLACEABLE[coming]
                self._context.refused.later(inode.ino, moment.now + REFUSED_REST, why)
                what = "room" if why.reason == "room" else "inode"
                log.warning("inode %d does not come to flash: there is no %s", inode.ino, what)
                self._settle(request, moment.now)
        else:
            files = int(less > 0 and request.prefix == 0)
            step = Step(
                "hand", inode.ino, request.prefix, less, target.mirror, lowers=True, files=files
            )
            self._context.mover.add(Job("hand", (step,), request))

    def _waits(self, ino: int, moment: Moment, backoff: Backoff) -> bool:
        return self._context.mover.queue.is_busy(ino) or backoff.holds(ino, moment.now)

    def _look_at_pins(self, moment: Moment) -> list[Pin]:
        """Queue what pinned files lack on flash; returns pins that have ended."""
        context, start = self._context, self._context.monotonic()
        ended: list[Pin] = []
        while True:
            page = context.ports.catalog.pins(self._pin, PAGE)
            self._pin = page[-1].ino if len(page) == PAGE else 0
            over = [pin for pin in page if not pin.holds(moment.now)]
            ended += over
            holding = [pin.ino for pin in page if pin not in over]
            self._ask_for(context.ports.catalog.some(holding), self.pins, moment)
            if not self._pin:
                self.pins.complete()
            if not self._pin or context.monotonic() - start > BUDGET_S:
                return ended

    def _look_below(self, moment: Moment) -> None:
        """Queue what files lack that a directory pins: some of them, cyclically.

        What is made or changed there is looked at as every file is that was changed; so this finds
        what was moved there, and what was there when the directory was pinned.
        """
        context = self._context
        start = context.monotonic()
        if not self._walk:
            if start - self._walked < REST_S:
                return
            self._walked = start
            self._walk = [(ino, 0) for ino in context.ports.catalog.pinned_directories(moment.now)]
        while self._walk and context.monotonic() - start < BUDGET_S:
            directory, after = self._walk.pop()
            page = context.ports.catalog.below(directory, after, PAGE)
            if len(page) == PAGE:
                self._walk.append((directory, page[-1][0]))
            self._walk += [(ino, 0) for _, ino, mode in page if stat.S_ISDIR(mode)]
            files = [ino for _, ino, mode in page if stat.S_ISREG(mode)]
            rows = context.ports.catalog.some(files)
            pinned = context.ports.catalog.pinned(rows, moment.now)
            # Not those with a pin of their own, or whose last link is elsewhere.
            rows = [row for row in rows if pinned.get(row.ino, row.ino) != row.ino]
            self._ask_for(rows, self.pinned_below, moment)
        if not self._walk:
            self.pinned_below.complete()

    def _ask_for(self, rows: list[Inode], tally: Tally, moment: Moment) -> None:
        """Queue what pinned files lack on flash."""
        context = self._context
        left = []
        for inode in rows:
            if missing(inode, WHOLE_FILE):
                left.append(inode)
            else:
                tally.count(inode.size, None, 0)
        for inode, target in context.evaluator.evaluate(left, moment.now):
            if not self._waits(inode.ino, moment, context.backoff):
                context.consider(inode, target, moment)
            why = context.waiting(inode, target, None, moment.now)
            tally.count(inode.size, why, missing(inode, target.prefix))
