"""Flash is too full: the planner that finds who goes."""

from __future__ import annotations

from typing import Final

from tierfs.tiering.context import Context, Moment
from tierfs.tiering.eviction import REMEMBERED, Census, Resident, victims
from tierfs.tiering.jobs import Job, eviction
from tierfs.tiering.sweep import Sweep

BUDGET_S: Final = 0.1
"""Looking for candidates in a tick: while flash is too full that is what matters most."""

SAMPLE: Final = 4
"""So many bytes are looked at for each that is to be freed, and the coldest of them go.

Redis looks at 5 keys for each one that it evicts, and comes close to exact LRU (its documentation,
"Key eviction").
"""

MOST: Final = 1000
"""Files that a tick sends off flash."""


class Pressure:
    """Plans evictions. A round goes on where the last one stopped."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sweep = Sweep(context.ports.catalog, on_flash=True)
        self._census = Census()
        self._began: int | None = None
        self._whole = False

    def tick(self, moment: Moment, surveyed: Census) -> list[Resident]:
        """Send off what must go, as far as it is known; returns it."""
        queue = self._context.mover.queue
        needed = moment.levels.excess(moment.used)
        if not needed:
            self._began = None
            return []
        needed += queue.growth
        if needed <= 0:
            return []
        self.look(needed, moment)
        known = self._census.highest_rank(needed)
        rank = surveyed.highest_rank(needed) if known is None else known
        chosen = self._chosen(needed, min(MOST, queue.room("evict")), rank or 0)
        going = self._context.confirmed(chosen, moment)
        for resident in going:
            self._context.mover.add(Job("evict", (eviction(resident),)))
            self._context.pool.forget(resident.item.ino)
            self._census.gone(resident)
            surveyed.gone(resident)
        return going

    def look(self, needed: int, moment: Moment) -> None:
        """Meet more candidates until there are enough to choose from for ``needed`` bytes."""
        context, sweep = self._context, self._sweep
        if self._began is None:  # a round that is half done finds only a part
            self._began, self._whole = sweep.rounds + (sweep.after > 0), False
        pool, start = context.pool, context.monotonic()
        while context.monotonic() - start < BUDGET_S:
            if len(pool) >= REMEMBERED or pool.size >= SAMPLE * needed:
                break
            rounds = sweep.rounds
            self._meet(moment)
            if sweep.rounds > rounds:
                self._census.end_round()
                self._whole = sweep.rounds > self._began
                break

    def reset(self) -> None:
        """The policy changed."""
        self._census.clear()
        self._sweep.restart()
        self._began = None

    def _chosen(self, needed: int, most: int, rank: int) -> list[Resident]:
        """The coldest: a part of those that are known, or all when there are no others."""
        pool = self._context.pool
        coldest = pool.coldest()
        if not self._whole and pool.size < SAMPLE * needed:
            needed = max(pool.size // SAMPLE, 1)
        return victims(coldest, needed, most, rank)

    def _meet(self, moment: Moment) -> None:
        context = self._context
        met = [
            context.consider(inode, wish, moment)
            for inode, wish in context.judge.judged(self._sweep.rows(), moment.now)
        ]
        self._census.count(resident for resident in met if resident is not None)
