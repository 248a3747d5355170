"""Which files the engine looks at: all of them in scans of the index, and soon those just used.

The `Scanner` goes through all files, a little at a time, whatever their number. On its way it
counts what may leave flash (`Census`) and what is misplaced. `RecentActivity` has files that were
changed or read looked at soon. `Exposure` looks for the oldest file that only flash has.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from tierfs.tiering.context import MOST_CANDIDATES, REMEMBERED, Context
from tierfs.tiering.heat import Row
from tierfs.tiering.model import misplaced, missing, on_flash
from tierfs.tiering.mover import MOST_JOBS
from tierfs.tiering.ports import ROWS, CatalogReader, ScanCursor
from tierfs.tiering.selection import Census, candidate_of
from tierfs.tiering.state import Tally
from tierfs.tiering.watermarks import Moment

PAGE: Final = 128
"""Files that were changed or read, looked at at a time."""

BUDGET_S: Final = 0.02
"""Of a tick: a fiftieth of a processor, whatever the number of files."""

REST_S: Final = 60.0
EXPOSURE_REST_S: Final = 30.0
"""A scan begins so long after the last one began, at the earliest."""

EXPOSURE_SPAN: Final = 16_384
"""Inode numbers in a tick: 5 ms, if the index is in memory."""


class Scanner:
    """Looks at every file from time to time, for moves that are due without a read or a request.

    Goes through the whole index, as fast as the mover follows.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._cursor = ScanCursor(context.ports.catalog, on_flash=False)
        self._began = float("-inf")
        self.census = Census()
        self.pins = Tally()
        """Files that a rule pins."""
        self.others = Tally()
        """Files that are to be moved for other reasons."""

    @property
    def completed(self) -> int:
        """Scans since the engine was started."""
        return self._cursor.scans

    @property
    def progress(self) -> float:
        """How much of the present scan is done, 0 to 1; 0 between two."""
        return self._cursor.progress

    def hurry(self) -> None:
        """Something was missed: begin the next scan without a rest."""
        self._began = float("-inf")

    def reset(self) -> None:
        """Start over with a changed policy."""
        for one in (self.census, self.pins, self.others):
            one.clear()
        self._cursor.restart()
        self.hurry()

    def tick(self, moment: Moment) -> None:
        """Look at some more files."""
        start = self._context.monotonic()
        if self._cursor.after == 0:
            if start - self._began < REST_S:
                return
            self._began = start
        while self._has_room() and self._context.monotonic() - start < BUDGET_S:
            self._meet(moment)
            if self._cursor.after == 0:
                self.census.end_scan(moment.now)
                self.pins.complete()
                self.others.complete()
                return

    def _meet(self, moment: Moment) -> None:
        context = self._context
        for inode, target in context.evaluator.evaluate(self._cursor.rows(), moment.now):
            resident = context.consider(inode, target, moment)
            if resident is not None:
                self.census.count([resident])
            what = misplaced(inode, target, None)
            # Pins by hand are counted by the planner of what people ask for.
            if target.reason == "pin by hand" or (what is None and not target.pinned):
                continue
            why = context.waiting(inode, target, None, moment.now) if what else None
            tally = self.pins if target.pinned else self.others
            tally.count(min(inode.size, target.prefix), why, what.bytes if what else 0)

    def _has_room(self) -> bool:
        """Whether all that the next rows may call for can be taken up."""
        context = self._context
        candidates = MOST_CANDIDATES - len(context.candidates)
        room = min(candidates, context.mover.queue.room("demote"))
        return room >= min(ROWS, MOST_JOBS // 2) and not context.mirroring.is_full


class Exposure:
    """Since when the oldest file has been on flash alone: what a dead flash device would cost.

    The number of such files and their bytes are counted as they change (`tierfs.metadata.usage`).
    To find the oldest, each call looks at a range of inode numbers, again and again.
    """

    def __init__(self, files: CatalogReader) -> None:
        self._files = files
        self._after = 0
        self._began = float("-inf")
        self._oldest: int | None = None
        self.since: int | None = None
        """Nanoseconds since the epoch; None: there is no such file, or no scan has ended."""

    def tick(self, now: float) -> None:
        """Look at the next numbers; ``now`` in seconds of any clock."""
        if self._after == 0:
            if now - self._began < EXPOSURE_REST_S:
                return
            self._began, self._oldest = now, None
        found, self._after = self._files.alone(self._after, EXPOSURE_SPAN)
        if found is not None:
            self._oldest = found if self._oldest is None else min(found, self._oldest)
        if self._after == 0:
            self.since = self._oldest


class RecentActivity:
    """Files that were changed or read recently: they are evaluated soon, one by one.

    What was read and lacks something on flash becomes a candidate. What was changed is considered
    once it was left alone for a while.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._read: dict[int, None] = {}
        self._complete: dict[int, None] = {}
        """Files that have all on flash the policy may ever want there: reads change nothing."""

    def observe(self, reads: Iterable[Row], changed: Iterable[int], now: int) -> None:
        """Take note of a batch."""
        context = self._context
        changed = list(changed)
        for ino in changed:
            self._complete.pop(ino, None)
            context.mirroring.forget(ino)
        context.debounce.add(changed, now)
        for ino, *_ in reads:
            context.pool.forget(ino)
            if ino not in self._complete:
                _bounded_add(self._read, ino)

    def tick(self, moment: Moment) -> None:
        """Look at some of them."""
        for look in (self._look_at_changed, self._look_at_read):
            start = self._context.monotonic()
            while look(moment) and self._context.monotonic() - start < BUDGET_S:
                pass

    def reset(self) -> None:
        """The policy changed: what was enough may not be any longer."""
        self._complete.clear()

    def moved(self, ino: int) -> None:
        """The file was moved."""
        self._complete.pop(ino, None)

    def _look_at_changed(self, moment: Moment) -> bool:
        """Consider a page of those that were left alone since; False: that was the last one."""
        context = self._context
        ready = context.debounce.ready(moment.now, PAGE)
        found = set()
        for inode, target in context.evaluated(ready, moment.now):
            found.add(inode.ino)
            context.consider(inode, target, moment)
        for ino in set(ready) - found:
            context.heat.forget(ino)
            context.pool.forget(ino)
        return len(ready) == PAGE

    def _look_at_read(self, moment: Moment) -> bool:
        """Let a page of files ask for what they miss; likewise."""
        context, some = self._context, list(islice(self._read, PAGE))
        for ino in some:
            del self._read[ino]
        for inode, target in context.evaluated(some, moment.now):
            if missing(inode, target.prefix):
                if not context.backoff.holds(inode.ino, moment.now):
                    context.add_candidate(candidate_of(inode, target.prefix, target, target.reason))
            elif inode.size and on_flash(inode) >= min(inode.size, target.most):
                _bounded_add(self._complete, inode.ino)
        return len(some) == PAGE


def _bounded_add(known: dict[int, None], ino: int) -> None:
    if ino not in known and len(known) >= REMEMBERED:
        del known[next(iter(known))]
    known[ino] = None
