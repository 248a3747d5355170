"""The survey: every file comes up now and then, for what is due without anybody asking."""

from __future__ import annotations

from typing import Final

from tierfs.tiering.context import MOST_ASKS, Context, Moment
from tierfs.tiering.eviction import Census
from tierfs.tiering.job_queue import MOST
from tierfs.tiering.sweep import ROWS, Sweep

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
        self.census.clear()
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
                return

    def _meet(self, moment: Moment) -> None:
        context = self._context
        met = [
            context.consider(inode, wish, moment)
            for inode, wish in context.judge.judged(self._sweep.rows(), moment.now)
        ]
        self.census.count(resident for resident in met if resident is not None)

    def _has_room(self) -> bool:
        """Whether all that the next rows may call for can be taken up."""
        context = self._context
        asks, demotions = MOST_ASKS - len(context.asks), context.mover.queue.room("demote")
        return min(asks, demotions) >= min(ROWS, MOST // 2) and not context.mirroring.is_full
