"""Scans of the index, a little at a time, whatever the number of files.

The `Scanner` goes through all files. On its way it counts what may go from flash (`Census`), and
what is not where it belongs. `ScanCursor` remembers where a scan is. `Exposure` looks for the
oldest file that only flash has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from tierfs.metadata.inodes import Inode
from tierfs.tiering.context import MOST_CANDIDATES, Context
from tierfs.tiering.explain import misplaced, waiting
from tierfs.tiering.jobs import MOST_JOBS
from tierfs.tiering.ports import CatalogReader
from tierfs.tiering.selection import Resident
from tierfs.tiering.state import Tally
from tierfs.tiering.watermarks import Moment

ROWS: Final = 128
"""Rows fetched at a time, about: what a time limit may be overrun by."""

LEAST_SPAN: Final = 64
MOST_SPAN: Final = 16_384
"""Inode numbers asked for at a time: where most are gone it takes many to find a few."""

BUDGET_S: Final = 0.02
"""Of a tick: a fiftieth of a processor, whatever the number of files."""

REST_S: Final = 60.0
EXPOSURE_REST_S: Final = 30.0
"""A scan begins so long after the last one began, at the earliest."""

EXPOSURE_SPAN: Final = 16_384
"""Inode numbers in a tick: 5 ms, if the index is in memory."""


class Scanner:
    """Lets every file come up now and then, for what is due without anybody asking.

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
        """The policy changed: begin anew."""
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
            why = waiting(context, inode, target, None, moment.now) if what else None
            tally = self.pins if target.pinned else self.others
            tally.count(min(inode.size, target.prefix), why, what.bytes if what else 0)

    def _has_room(self) -> bool:
        """Whether all that the next rows may call for can be taken up."""
        context = self._context
        candidates = MOST_CANDIDATES - len(context.candidates)
        room = min(candidates, context.mover.queue.room("demote"))
        return room >= min(ROWS, MOST_JOBS // 2) and not context.mirroring.is_full


class ScanCursor:
    """Goes through the files of the index in the order of numbers, round and round.

    ``scans`` counts how often it came to the end of the table.
    """

    def __init__(self, files: CatalogReader, *, on_flash: bool) -> None:
        self._files = files
        self._on_flash = on_flash
        self._span = ROWS
        self.after = 0
        self.scans = 0

    def rows(self) -> list[Inode]:
        """The next few files, perhaps none."""
        rows, self.after = self._files.files(self.after, self._span, on_flash=self._on_flash)
        self.scans += self.after == 0
        if len(rows) < ROWS // 4:
            self._span = min(2 * self._span, MOST_SPAN)
        elif len(rows) > 2 * ROWS:
            self._span = max(self._span * ROWS // len(rows), LEAST_SPAN)
        return rows

    def restart(self) -> None:
        """Begin a scan anew."""
        self.after = 0

    @property
    def progress(self) -> float:
        """How much of the present scan is done, 0 to 1, by inode numbers."""
        return min(1.0, self.after / max(1, self._files.last_inode()))


class Evictable(NamedTuple):
    """What may go from flash: bytes, and inodes of it."""

    bytes: int
    files: int


class Census:
    """What may go, by class, as the last whole scan found it.

    ``found_at`` is when that scan ended, in nanoseconds since the epoch, and ``began_at`` a time
    before it began; None: not yet, or not known.
    """

    def __init__(self) -> None:
        self._counting: dict[int, Evictable] = {}
        self._found: dict[int, Evictable] = {}
        self.found_at: int | None = None
        self.began_at: int | None = None

    def count(self, residents: Iterable[Resident]) -> None:
        """Met in this scan."""
        for resident in residents:
            _add(self._counting, resident.item.rank, resident.here, 1)

    def end_scan(self, now: int) -> None:
        """The scan is complete."""
        self._found, self._counting = self._counting, {}
        self.began_at, self.found_at = self.found_at, now

    def gone(self, resident: Resident) -> None:
        """It was evicted; whether this scan had counted it is not known: rather too little."""
        for sums in (self._found, self._counting):
            if resident.item.rank in sums:
                _add(sums, resident.item.rank, -resident.item.size, -resident.files)

    @property
    def evictable(self) -> Evictable:
        """What was found by the last whole scan, or by now in this one, whichever is more."""
        found, counting = (list(sums.values()) for sums in (self._found, self._counting))
        return Evictable(
            max(sum(one.bytes for one in found), sum(one.bytes for one in counting)),
            max(sum(one.files for one in found), sum(one.files for one in counting)),
        )

    def highest_rank(self, needed: int, files: int = 0) -> int | None:
        """The highest class that must give something for ``needed`` bytes and ``files`` inodes.

        None: not known yet.
        """
        if self.found_at is None:
            return None
        for rank in sorted(self._found):
            needed -= max(0, self._found[rank].bytes)
            files -= max(0, self._found[rank].files)
            if needed <= 0 and files <= 0:
                return rank
        return max(self._found, default=0)

    def clear(self) -> None:
        """The policy changed: its classes mean something else."""
        self._counting, self._found, self.found_at, self.began_at = {}, {}, None, None


def _add(sums: dict[int, Evictable], rank: int, size: int, files: int) -> None:
    before = sums.get(rank, Evictable(0, 0))
    sums[rank] = Evictable(before.bytes + size, before.files + files)


class Exposure:
    """Since when the oldest file has been on flash alone: what a dead flash device would cost.

    How many files and bytes that are is counted as they change (`tierfs.metadata.usage`); the
    oldest of them is looked for round and round, a range of inode numbers at a time.
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
