"""How much each file was read recently, in bounded memory, and when it will be read again.

**The table** is arrays, `SLOT_BYTES` (29) bytes a slot, that never grow. A file's slot is in one
bucket of `WAYS` slots, by the hash of its inode number. In a full bucket a new file takes the place
of one that is overdue; while there is none, only one new file in `LET_IN` is let in. So a scan of
more files than the table holds cannot evict what is known, and still some of its files stay long
enough to be seen again.

**The estimate** is the one guess that every decision of tiering rests on: an interval in seconds,
the mean of the intervals between a file's visits, drawn towards the mean of all files while there
are few of them. Comparing intervals makes every file of a cyclic scan equal, wherever the scan is,
which comparing recency (LRU) or decayed counts does not. A file that stays away for longer than
expected is worth less and less: its age takes the place of the interval. The same idea as in LIRS
(Jiang and Zhang, SIGMETRICS 2002), which compares the larger of interval and recency, with a mean
instead of the last interval.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from tierfs.common.units import DAY, SECOND

Row = tuple[int, int, int]
"""(inode, reads, bytes read) since the last batch, as the fast path counts them."""

HALF_LIFE: Final = DAY
"""Nanoseconds after which a read counts half."""

VISIT: Final = SECOND
"""Reads of a file within this time, in nanoseconds, are one visit.

A program reads a file in pieces; only the next program, or epoch, tells that it is wanted again.
(The correlated reference period of LRU-K: O'Neil and others, SIGMOD 1993.)
"""

MOST_INTERVALS: Final = 16
"""Intervals that a file's mean is of, at most; a further one makes the oldest fade."""

TYPICAL: Final = 4096
"""Intervals that the mean of all files is of."""

LET_IN: Final = 8
"""A bucket where no file is overdue takes in one new file in this number."""

PRIOR: Final = 1.0
"""How many intervals the mean of all files counts for, beside those of the file itself."""

PATIENCE: Final = 2.0
"""How many of its intervals a file may stay away before that is held against it.

In epochs of random order two reads of a file are up to two epochs apart.
"""

STRANGER: Final = 4.0
"""In how many mean intervals a file read once is expected back, if it asks to come in.

Most files that were read once are never read again; those that are come back with an interval.
"""

WAYS: Final = 8
"""Slots of a bucket."""

EMPTY: Final = -1
"""No slot."""

SLOT_BYTES: Final = 8 + 8 + 4 + 4 + 4 + 1

_GOLDEN: Final = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio: inode numbers that follow one another land far apart.

Fibonacci hashing: Knuth, The Art of Computer Programming, volume 3, section 6.4.
"""
_WORD: Final = 2**64 - 1
_HASH_BITS: Final = 32


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


def resident_interval(intervals: int, mean: float, age: float, typical: float) -> float:
    """Seconds until a file that is on flash is read again, the most favourable guess.

    ``intervals`` were seen, of ``mean`` seconds; the last visit is ``age`` seconds ago; ``typical``
    is the mean interval of all files.
    """
    expected = (PRIOR * typical + intervals * mean) / (PRIOR + intervals)
    return max(expected, age / PATIENCE)


def candidate_interval(intervals: int, mean: float, typical: float) -> float:
    """Seconds until a file that was just read is read again; an unknown file: late."""
    if not intervals:
        return STRANGER * typical
    return (PRIOR * typical + intervals * mean) / (PRIOR + intervals)


class Heat:
    """The table. ``capacity`` is in files; times are in nanoseconds since the epoch.

    Raises:
        ValueError: the capacity is none.
    """

    def __init__(self, capacity: int, half_life: int = HALF_LIFE, visit: int = VISIT) -> None:
        self.slots = Slots(capacity)
        self._half_life = half_life / SECOND
        self._visit = visit / SECOND
        self._refused = 0
        self.since: int | None = None
        """Since when all reads were told, in nanoseconds since the epoch; None: not known."""

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
            if slot != EMPTY:
                self._count(slot, reads, size, seconds)
                continue
            slot = self.slots.free(ino)
            if slot == EMPTY:
                slot = self._coldest(ino, seconds)
            if slot != EMPTY:
                self.slots.put(slot, ino, reads, size, seconds)

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

    def last_read(self, ino: int, changed: int, now: int) -> int | None:
        """When a file was last read, at the latest; None when that is not known.

        It was ``changed`` last at that time. A file that heat would know if it had been read was
        not, for as long as heat is kept.
        """
        visits = self.visits(ino, now)
        if visits is not None:
            return now - int(visits.age * SECOND)
        if self.since is None or not self.has_room(ino):
            return None
        return min(now, max(self.since, changed))

    def has_room(self, ino: int) -> bool:
        """Whether there is a free slot for the file: if it is not known, it was not read."""
        return self.slots.free(ino) != EMPTY

    def forget(self, ino: int) -> None:
        """Free the slot of a file that was removed; it need not be known."""
        slot = self.slots.find(ino)
        if slot != EMPTY:
            self.slots.clear(slot)

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
        seen = min(slots.intervals[slot] + 1, MOST_INTERVALS)
        slots.intervals[slot] = seen
        slots.interval[slot] += (age - slots.interval[slot]) / seen
        slots.seen = min(slots.seen + 1, TYPICAL)
        slots.typical += (age - slots.typical) / slots.seen

    def _coldest(self, ino: int, seconds: float) -> int:
        """The slot of a full bucket that a new file may have, or ``EMPTY``."""
        slots, typical = self.slots, self.typical
        guesses = {
            slot: resident_interval(
                slots.intervals[slot], slots.interval[slot], seconds - slots.last[slot], typical
            )
            for slot in slots.bucket(ino)
        }
        slot = max(guesses, key=guesses.__getitem__)
        if guesses[slot] > STRANGER * typical:
            return slot
        self._refused += 1
        return slot if self._refused % LET_IN == 0 else EMPTY


class Slots:
    """One array for each column, all of one length; inode 0 marks a free slot.

    ``seen`` and ``typical`` are of all files: how many intervals, and their mean in seconds.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a heat table has room for 1 file or more, not {capacity}")
        count = -(-capacity // WAYS) * WAYS
        self.ino = array("Q", bytes(8 * count))
        self.last = array("d", bytes(8 * count))
        self.reads = array("f", bytes(4 * count))
        self.bytes = array("f", bytes(4 * count))
        self.interval = array("f", bytes(4 * count))
        self.intervals = array("B", bytes(count))
        self.seen = 0
        self.typical = 0.0
        self._buckets = count // WAYS

    def __len__(self) -> int:
        return len(self.ino)

    @property
    def columns(self) -> tuple[array[Any], ...]:
        """All arrays, in the order of a snapshot."""
        return (self.ino, self.last, self.reads, self.bytes, self.interval, self.intervals)

    def find(self, ino: int) -> int:
        """The slot of a file, or ``EMPTY``."""
        return self._search(ino, ino) if ino else EMPTY

    def free(self, ino: int) -> int:
        """A free slot where the file may be, or ``EMPTY``."""
        return self._search(ino, 0)

    def bucket(self, ino: int) -> range:
        """The slots in which the file may be."""
        spread = (ino * _GOLDEN & _WORD) >> _HASH_BITS
        start = (spread * self._buckets >> _HASH_BITS) * WAYS
        return range(start, start + WAYS)

    def put(self, slot: int, ino: int, reads: float, size: float, seconds: float) -> None:
        """Let a slot begin with a file's first visit."""
        self.ino[slot] = ino
        self.last[slot] = seconds
        self.reads[slot] = reads
        self.bytes[slot] = size
        self.interval[slot] = 0.0
        self.intervals[slot] = 0

    def clear(self, slot: int) -> None:
        """Free a slot."""
        self.put(slot, 0, 0.0, 0.0, 0.0)

    def copy(self, slot: int, source: Slots, its: int) -> None:
        """Take over slot ``its`` of another table."""
        for mine, other in zip(self.columns, source.columns, strict=True):
            mine[slot] = other[its]

    def take_over(self, source: Slots) -> None:
        """Take over all slots of a table of the same length."""
        for mine, other in zip(self.columns, source.columns, strict=True):
            mine[:] = other

    def _search(self, ino: int, wanted: int) -> int:
        bucket = self.bucket(ino)
        try:
            return self.ino.index(wanted, bucket.start, bucket.stop)
        except ValueError:
            return EMPTY
