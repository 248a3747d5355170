"""What people asked for: files to be moved, files that stay on flash."""

from __future__ import annotations

import logging
import stat
from typing import Final

from tierfs.base.durations import DAY
from tierfs.base.extents import WHOLE_FILE
from tierfs.index.inodes import Inode
from tierfs.index.wishes import Pin, Request
from tierfs.tiering.arrivals import AGAIN, REFUSED, SOON, Arrivals
from tierfs.tiering.backoff import Backoff
from tierfs.tiering.context import Context, Moment
from tierfs.tiering.jobs import Done, Job, Step
from tierfs.tiering.promotion import ask_of
from tierfs.tiering.waits import Tally, Waiting, misplaced
from tierfs.tiering.wish import Wish, missing, on_flash

log = logging.getLogger(__name__)

PAGE: Final = 256
BUDGET_S: Final = 0.02
"""Of a tick, for requests and for pins each."""

SPARED: Final = DAY
"""So long a file stays that somebody brought up, though the policy has no place for it."""

REST_S: Final = 5.0
"""A round through pinned directories begins so long after the last one began, at the earliest."""

REMEMBERED: Final = 65_536


class ByHand:
    """Works off requests and pins in the order of inode numbers, round and round."""

    def __init__(self, context: Context, arrivals: Arrivals) -> None:
        self._context = context
        self._arrivals = arrivals
        self._request = 0
        self._pin = 0
        self._settled: list[Request] = []
        self.pins = Tally()
        self.pinned_below = Tally()
        """Files that a directory pins."""
        self._walk: list[tuple[int, int]] = []
        """Directories to go through, and the place in each to go on behind."""
        self._walked = float("-inf")
        self.requests = Tally()

    def tick(self, moment: Moment) -> None:
        """Begin what was asked for, and note what is done with."""
        context, start = self._context, self._context.monotonic()
        while context.mover.queue.room("hand") >= PAGE:
            page = context.ports.catalog.requests(self._request, PAGE)
            self._request = page[-1].ino if len(page) == PAGE else 0
            self._begin(page, moment)
            if not self._request:
                self.requests.end_round()
            if not self._request or context.monotonic() - start > BUDGET_S:
                break
        ended = self._look_at_pins(moment)
        self._look_below(moment)
        if self._settled or ended:
            context.ports.catalog.settle(self._settled, ended)
            self._settled.clear()

    def done(self, done: Done, now: int) -> None:
        """A step of a job that somebody asked for has ended."""
        request = done.job.request
        if request is None or not done.ends_job:
            return
        if done.outcome == "changed":
            self._context.later.later(request.ino, now + SOON, Waiting("backoff"))
            return
        if done.outcome == "no-room":
            log.warning("inode %d does not come to flash: there is no room", request.ino)
            self._context.refused.later(request.ino, now + AGAIN, Waiting("room"))
        elif done.outcome == "error":
            self._context.refused.later(request.ino, now + AGAIN, Waiting("error"))
        self._settle(request, now)

    def _settle(self, request: Request, now: int) -> None:
        self._settled.append(request)
        context = self._context
        context.spared.pop(request.ino, None)
        if request.prefix == 0:
            context.heat.forget(request.ino)  # it comes back when it is read again
        else:
            if len(context.spared) >= REMEMBERED:
                del context.spared[next(iter(context.spared))]
            context.spared[request.ino] = now + SPARED

    def _begin(self, page: list[Request], moment: Moment) -> None:
        context = self._context
        settled = set(self._settled)  # the index has them until the end of the tick
        left = [one for one in page if one not in settled]
        wanted = {one.ino: one for one in left}
        rows = context.ports.catalog.some(list(wanted))
        for inode, wish in context.judge.judged(rows, moment.now):
            request = wanted.pop(inode.ino)
            if not self._waits(inode.ino, moment, context.later):
                context.refused.clear(inode.ino)
                self._begin_one(request, inode, wish, moment)
            what = misplaced(inode, wish, request)
            if what is not None:
                waiting = context.waiting(inode, wish, request, moment.now)
                self.requests.count(0, waiting, what.bytes)
        self._settled.extend(wanted.values())  # there is no such file any longer

    def _begin_one(self, request: Request, inode: Inode, wish: Wish, moment: Moment) -> None:
        size = missing(inode, request.prefix)
        less = max(0, on_flash(inode) - request.prefix)
        if inode.prefix == request.prefix or (less and wish.pinned):
            self._settle(request, moment.now)
        elif size:
            ask = ask_of(inode, request.prefix, wish, "by hand")
            coming = self._arrivals.force(ask, moment, "hand", request)
            if coming in REFUSED:
                waiting = REFUSED[coming]
                context = self._context
                context.refused.later(inode.ino, moment.now + AGAIN, waiting)
                what = "room" if waiting.reason == "room" else "inode"
                log.warning("inode %d does not come to flash: there is no %s", inode.ino, what)
                self._settle(request, moment.now)
        else:
            files = int(less > 0 and request.prefix == 0)
            step = Step(
                "hand", inode.ino, request.prefix, less, wish.mirror, lowers=True, files=files
            )
            self._context.mover.add(Job("hand", (step,), request))

    def _waits(self, ino: int, moment: Moment, backoff: Backoff) -> bool:
        return self._context.mover.queue.is_busy(ino) or backoff.holds(ino, moment.now)

    def _look_at_pins(self, moment: Moment) -> list[Pin]:
        """Ask for what pinned files miss; returns pins that have ended."""
        context, start = self._context, self._context.monotonic()
        ended: list[Pin] = []
        while True:
            page = context.ports.catalog.pins(self._pin, PAGE)
            self._pin = page[-1].ino if len(page) == PAGE else 0
            over = [pin for pin in page if not pin.holds(moment.now)]
            ended += over
            self._ask_for([pin.ino for pin in page if pin not in over], moment)
            if not self._pin:
                self.pins.end_round()
            if not self._pin or context.monotonic() - start > BUDGET_S:
                return ended

    def _ask_for(self, inos: list[int], moment: Moment) -> None:
        """Ask for what files miss that have a pin of their own."""
        self._ask_for_rows(self._context.ports.catalog.some(inos), self.pins, moment)

    def _look_below(self, moment: Moment) -> None:
        """Ask for what files miss that a directory pins: some of them, round and round.

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
            self._ask_for_rows(rows, self.pinned_below, moment)
        if not self._walk:
            self.pinned_below.end_round()

    def _ask_for_rows(self, rows: list[Inode], tally: Tally, moment: Moment) -> None:
        context = self._context
        left = []
        for inode in rows:
            if missing(inode, WHOLE_FILE):
                left.append(inode)
            else:
                tally.count(inode.size, None, 0)
        for inode, wish in context.judge.judged(left, moment.now):
            if not self._waits(inode.ino, moment, context.backoff):
                context.consider(inode, wish, moment)
            waiting = context.waiting(inode, wish, None, moment.now)
            tally.count(inode.size, waiting, missing(inode, wish.prefix))
