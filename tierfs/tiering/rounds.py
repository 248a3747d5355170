"""The survey: every file comes up now and then, for what is due without anybody asking."""

from __future__ import annotations

from typing import Final

from tierfs.index.inodes import Inode
from tierfs.tiering.context import MOST_ASKS, Context, Moment
from tierfs.tiering.eviction import Census
from tierfs.tiering.job_queue import MOST
from tierfs.tiering.sweep import ROWS, Sweep
from tierfs.tiering.waits import Tally, misplaced
from tierfs.tiering.wish import Wish

BUDGET_S: Final = 0.02
"""Of a tick: a fiftieth of a processor, whatever the number of files."""

REST_S: Final = 60.0
"""A round begins so long after the last one began, at the earliest."""


class Rounds:
    """Goes through the whole index, as fast as the mover follows."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sweep = Sweep(context.ports.catalog, on_flash=False)
        self._began = float("-inf")
        self.census = Census()
        self.pins = Tally()
        """Files that a rule pins."""
        self.others = Tally()
        """Files that are to be moved for other reasons."""

    @property
    def completed(self) -> int:
        """Rounds since the engine was started."""
        return self._sweep.rounds

    @property
    def progress(self) -> float:
        """How much of the present round is done, 0 to 1; 0 between two."""
        return self._sweep.progress

    def hurry(self) -> None:
        """Something was missed: begin the next round without a rest."""
        self._began = float("-inf")

    def reset(self) -> None:
        """The policy changed: begin anew."""
        for one in (self.census, self.pins, self.others):
            one.clear()
        self._sweep.restart()
        self.hurry()

    def tick(self, moment: Moment) -> None:
        """Look at some more files."""
        start = self._context.monotonic()
        if self._sweep.after == 0:
            if start - self._began < REST_S:
                return
            self._began = start
        while self._has_room() and self._context.monotonic() - start < BUDGET_S:
            self._meet(moment)
            if self._sweep.after == 0:
                self.census.end_round(moment.now)
                self.pins.end_round()
                self.others.end_round()
                return

    def _meet(self, moment: Moment) -> None:
        context = self._context
        for inode, wish in context.judge.judged(self._sweep.rows(), moment.now):
            resident = context.consider(inode, wish, moment)
            if resident is not None:
                self.census.count([resident])
            if wish.reason != "pin by hand":
                self._tally(inode, wish, moment.now)

    def _tally(self, inode: Inode, wish: Wish, now: int) -> None:
        what = misplaced(inode, wish, None)
        if what is None and not wish.pinned:
            return
        waiting = self._context.waiting(inode, wish, None, now) if what else None
        tally = self.pins if wish.pinned else self.others
        tally.count(min(inode.size, wish.prefix), waiting, what.bytes if what else 0)

    def _has_room(self) -> bool:
        """Whether all that the next rows may call for can be taken up."""
        context = self._context
        asks, demotions = MOST_ASKS - len(context.asks), context.mover.queue.room("demote")
        return min(asks, demotions) >= min(ROWS, MOST // 2) and not context.mirroring.is_full
