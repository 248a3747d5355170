"""How much each file is read, of late: decayed counts and intervals, in bounded memory.

A table of arrays, `SLOT_BYTES` (29) bytes a slot, that never grows. A file's slot is in one bucket
of `WAYS` slots, by the hash of its inode number. In a full bucket a new file takes the place of one
that is overdue; while there is none it is let in only now and then, so that a scan of more files
than the table holds cannot wash out what is known, and still some of its files stay long enough to
be seen again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from tierfs.base.durations import DAY, SECOND
from tierfs.tiering.estimate import STRANGER, resident_interval
from tierfs.tiering.heat_slots import EMPTY, SLOT_BYTES, Slots

__all__ = ["SLOT_BYTES", "Heat", "Row", "Visits", "Warmth"]

Row = tuple[int, int, int]
"""(inode, reads, bytes read) since the last batch, as the fast path tells them."""

HALF_LIFE: Final = DAY
"""Nanoseconds after which a read counts half."""

VISIT: Final = SECOND
"""Reads of a file within so many nanoseconds are one visit.

A program reads a file in pieces; only the next program, or epoch, tells that it is wanted again.
(The correlated reference period of LRU-K: O'Neil and others, SIGMOD 1993.)
"""

REMEMBERED: Final = 16
"""Intervals that a file's mean is of; after so many the oldest fade."""

TYPICAL: Final = 4096
"""Intervals that the mean of all files is of."""

LET_IN: Final = 8
"""One new file in so many is let into a bucket where nobody is overdue."""


class Warmth(NamedTuple):
    """The reads of a file and their bytes, decayed."""

    reads: float
    bytes: float


class Visits(NamedTuple):
    """``intervals`` were seen between visits, of ``interval`` seconds in the mean.

    The last visit began ``age`` seconds ago.
    """

    intervals: int
    interval: float
    age: float


class Heat:
    """The table. ``capacity`` is in files; times are in nanoseconds since the epoch."""

    def __init__(self, capacity: int, half_life: int = HALF_LIFE, visit: int = VISIT) -> None:
        self.slots = Slots(capacity)
        self._half_life = half_life / SECOND
        self._visit = visit / SECOND
        self._refused = 0
        self._hand = 0
        self.since: int | None = None
        """Since when all reads were told, in nanoseconds since the epoch; None: nobody said."""

    @property
    def capacity(self) -> int:
        """Files that can be known at a time."""
        return len(self.slots)

    @property
    def memory(self) -> int:
        """Bytes that the table takes."""
        return SLOT_BYTES * len(self.slots)

    @property
    def typical(self) -> float:
        """The mean interval between two visits of a file, in seconds, weighted by visits.

        Until a file was seen twice it is the half-life.
        """
        return self.slots.typical if self.slots.seen else self._half_life

    def feed(self, batch: Iterable[Row], now: int) -> None:
        """Count the reads of a batch as done ``now``; a row without reads is ignored."""
        seconds = now / SECOND
        for ino, reads, size in batch:
            if reads <= 0 or ino <= 0:
                continue
            slot = self.slots.find(ino)
            if slot == EMPTY:
                self._meet(ino, reads, size, seconds)
            else:
                self._count(slot, reads, size, seconds)

    def look(self, ino: int, now: int) -> Warmth | None:
        """A file's reads and bytes, decayed until ``now``; None when nothing is known of it."""
        slot = self.slots.find(ino)
        if slot == EMPTY:
            return None
        age = max(0.0, now / SECOND - self.slots.last[slot])
        left = 0.5 ** (age / self._half_life)
        return Warmth(self.slots.reads[slot] * left, self.slots.bytes[slot] * left)

    def visits(self, ino: int, now: int) -> Visits | None:
        """When a file was visited; None when nothing is known of it."""
        slots = self.slots
        slot = slots.find(ino)
        if slot == EMPTY:
            return None
        age = max(0.0, now / SECOND - slots.last[slot])
        return Visits(slots.intervals[slot], slots.interval[slot], age)

    def has_room(self, ino: int) -> bool:
        """Whether there is a free slot for the file: if it is not known, it was not read."""
        return self.slots.free(ino) != EMPTY

    def forget(self, ino: int) -> None:
        """Free the slot of a file that was removed; one that is not known is no mistake."""
        slot = self.slots.find(ino)
        if slot != EMPTY:
            self.slots.clear(slot)

    def sweep(self, slots: int) -> Iterator[int]:
        """The files in the next ``slots`` slots; the next call goes on behind them.

        For whoever looks at what is known without a copy of it; the engine goes by the index.
        """
        for _ in range(min(slots, len(self.slots))):
            ino = self.slots.ino[self._hand]
            self._hand = (self._hand + 1) % len(self.slots)
            if ino:
                yield ino

    def _count(self, slot: int, reads: int, size: int, seconds: float) -> None:
        slots = self.slots
        age = seconds - slots.last[slot]
        if age < self._visit:  # the same visit; its beginning stays, or it would never end
            slots.reads[slot] += reads
            slots.bytes[slot] += size
            slots.last[slot] = min(slots.last[slot], seconds)  # the clock may have been set back
            return
        left = 0.5 ** (age / self._half_life)
        slots.reads[slot] = slots.reads[slot] * left + reads
        slots.bytes[slot] = slots.bytes[slot] * left + size
        slots.last[slot] = seconds
        seen = min(slots.intervals[slot] + 1, REMEMBERED)
        slots.intervals[slot] = seen
        slots.interval[slot] += (age - slots.interval[slot]) / seen
        slots.seen = min(slots.seen + 1, TYPICAL)
        slots.typical += (age - slots.typical) / slots.seen

    def _meet(self, ino: int, reads: int, size: int, seconds: float) -> None:
        slot = self.slots.free(ino)
        if slot == EMPTY:
            slot = self._coldest(ino, seconds)
        if slot != EMPTY:
            self.slots.put(slot, ino, reads, size, seconds)

    def _coldest(self, ino: int, seconds: float) -> int:
        """The slot that a new file may have, or ``EMPTY``."""
        typical = self.typical
        guesses = {slot: self._guess(slot, seconds, typical) for slot in self.slots.bucket(ino)}
        slot = max(guesses, key=guesses.__getitem__)
        if guesses[slot] > STRANGER * typical:
            return slot
        self._refused += 1
        return slot if self._refused % LET_IN == 0 else EMPTY

    def _guess(self, slot: int, seconds: float, typical: float) -> float:
        slots = self.slots
        age = seconds - slots.last[slot]
        return resident_interval(slots.intervals[slot], slots.interval[slot], age, typical)
