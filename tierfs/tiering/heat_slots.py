"""The arrays of the heat table: 29 bytes a slot, slots in buckets."""

from __future__ import annotations

from array import array
from typing import Any, Final

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


class Slots:
    """One array for each column, all of one length; inode 0 marks a free slot.

    ``seen`` and ``typical`` are of all files: how many intervals, and their mean in seconds.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            message = f"a heat table has room for 1 file or more, not {capacity}"
            raise ValueError(message)
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
        start = self._start(ino)
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
        start = self._start(ino)
        try:
            return self.ino.index(wanted, start, start + WAYS)
        except ValueError:
            return EMPTY

    def _start(self, ino: int) -> int:
        spread = (ino * _GOLDEN & _WORD) >> _HASH_BITS
        return (spread * self._buckets >> _HASH_BITS) * WAYS
