"""The eviction planner: which residents leave flash when it is too full, or for other files.

While flash is above a high watermark, the coldest files go until the low one is reached. They are
found by scans of what is on flash, which look at `SAMPLE` times as much as is to be freed;
nothing is sorted but what was found (`tierfs.tiering.selection.EvictionPool`). Files
that are pinned, never evicted by the policy, in a job or changed since are no residents or are left
out by `EvictionPlanner.confirmed`, which looks once more at what was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tierfs.common.units import SECOND
from tierfs.tiering.context import Context
from tierfs.tiering.model import Job
from tierfs.tiering.ports import ScanCursor
from tierfs.tiering.selection import POOL_SIZE, Census, Resident, resident_of, to_evict
from tierfs.tiering.watermarks import Moment

BUDGET_S: Final = 0.1
"""Looking for residents in a tick: while flash is too full that is what matters most."""

SAMPLE: Final = 4
"""So many bytes are looked at for each that is to be freed, and the coldest of them go.

Redis looks at 5 keys for each one that it evicts, and comes close to exact LRU (its documentation,
"Key eviction").
"""

MOST_EVICTIONS: Final = 1000
"""Files that a tick sends off flash."""

FRESH: Final = 600 * SECOND
"""A scan of all that is on flash tells for so long how much may go in all."""


class EvictionPlanner:
    """Plans evictions: above the watermarks, and piece by piece for demands.

    A scan continues where the last one stopped.
    """

    def __init__(self, context: Context, scanned: Census) -> None:
        """``scanned`` is what the scanner counts."""
        self._context = context
        self._scanned = scanned
        self._cursor = ScanCursor(context.ports.catalog, on_flash=True)
        self._census = Census()
        self._began: int | None = None
        self._whole = False
        self._fruitless = False
        self._falling = self._files_falling = False
        """Whether flash was above a high mark, and has not come down to the low one since."""

    def tick(self, moment: Moment) -> list[Resident]:
        """Send off what must go, as far as it is known; returns it."""
        queue = self._context.mover.queue
        size, files = self._needed(moment)
        if size <= 0 and files <= 0:
            self._began, self._fruitless = None, False
            return []
        size, files = max(0, size + queue.growth), max(0, files + queue.growth_files)
        if not size and not files:
            return []
        self.look(size, files, moment)
        rank = self._latest().highest_rank(size, files) or 0
        chosen = self._chosen(size, files, min(MOST_EVICTIONS, queue.room("evict")), rank)
        self._fruitless = not chosen and len(self._context.pool) > 0 < queue.room("evict")
        going = self.confirmed(chosen, moment)
        for resident in going:
            self._context.mover.add(Job("evict", (resident.eviction,)))
            self._context.pool.forget(resident.item.ino)
            self.gone(resident)
        if not going and self._whole:
            self._falling = self._files_falling = False  # nothing else may leave
        return going

    def confirmed(self, residents: Sequence[Resident], moment: Moment) -> list[Resident]:
        """Those of the residents that may go now as well, as they are now, in their order."""
        context = self._context
        fresh = {
            row.ino: resident_of(row, target, moment.now)
            for row, target in context.evaluated([one.item.ino for one in residents], moment.now)
        }
        kept = []
        for old in residents:
            new = fresh.get(old.item.ino)
            busy = context.mover.queue.is_busy(old.item.ino)
            if new is None or busy or context.backoff.holds(old.item.ino, moment.now):
                context.pool.forget(old.item.ino)
            else:
                kept.append(new if old.prefix else new.off())
        return kept

    def look(
        self, size: int, files: int, moment: Moment, *, known_since: int | None = None
    ) -> None:
        """Meet more residents, until there are enough to choose from for so much.

        ``known_since``: at least until it is known, as of then, whether so much may go at all.
        """
        context, cursor = self._context, self._cursor
        if self._began is None:  # a scan that is half done finds only a part
            self._began, self._whole = cursor.scans + (cursor.after > 0), False
        start = context.monotonic()
        while context.monotonic() - start < BUDGET_S:
            if self._is_enough(size, files, moment, known_since):
                break
            scans = cursor.scans
            for inode, target in context.evaluator.evaluate(cursor.rows(), moment.now):
                resident = context.consider(inode, target, moment)
                if resident is not None:
                    self._census.count([resident])
            if cursor.scans > scans:
                self._census.end_scan(moment.now)
                self._whole = cursor.scans > self._began
                break

    def may_free(self, size: int, files: int, since: int, now: int) -> bool | None:
        """Whether ``size`` bytes and ``files`` inodes may go in all; None: that is not known yet.

        A scan that began before ``since`` does not say that it is too little: it may have missed
        what came meanwhile.
        """
        latest = self._latest()
        knows = (
            latest.began_at is not None
            and latest.found_at is not None
            and latest.began_at >= since
            and 0 <= now - latest.found_at < FRESH
        )
        known = [one.evictable for one in ((latest,) if knows else (self._census, self._scanned))]
        if any(one.bytes >= size and one.files >= files for one in known):
            return True
        return False if knows else None

    def gone(self, resident: Resident) -> None:
        """It is being evicted."""
        self._census.gone(resident)
        self._scanned.gone(resident)

    def reset(self) -> None:
        """The policy changed."""
        self._census.clear()
        self._cursor.restart()
        self._began = None
        self._falling = self._files_falling = False

    def _needed(self, moment: Moment) -> tuple[int, int]:
        """Bytes and inodes to free: down to the low marks, and for those that room is made for."""
        size, files = self._context.demanded(moment.now)
        levels, file_levels = moment.levels, moment.file_levels
        self._falling = levels.falls(moment.used, falling=self._falling)
        self._files_falling = file_levels.falls(moment.files_used, falling=self._files_falling)
        over = moment.used - levels.low if self._falling else 0
        files_over = moment.files_used - file_levels.low if self._files_falling else 0
        return (
            max(over, moment.used + size - levels.high if size else 0),
            max(files_over, moment.files_used + files - file_levels.high if files else 0),
        )

    def _latest(self) -> Census:
        """The census whose scan ended last."""
        return max(self._scanned, self._census, key=lambda one: one.found_at or 0)

    def _is_enough(self, size: int, files: int, moment: Moment, since: int | None) -> bool:
        pool = self._context.pool
        if since is not None and self.may_free(size, files, since, moment.now) is None:
            return False
        if pool.size >= SAMPLE * size and len(pool) >= SAMPLE * files:
            return not self._fruitless
        # A full pool of files that may not leave yet is no reason to stop: take another class.
        return len(pool) >= POOL_SIZE and not self._fruitless

    def _chosen(self, size: int, files: int, most: int, rank: int) -> list[Resident]:
        """The coldest: a part of those that are known, or all when there are no others."""
        pool = self._context.pool
        coldest = pool.coldest(self._context.upcoming)
        if not self._whole:
            if pool.size < SAMPLE * size:
                size = max(pool.size // SAMPLE, 1)
            if len(pool) < SAMPLE * files:
                files = max(len(pool) // SAMPLE, 1)
        return to_evict(coldest, size, most, rank, files=files)
