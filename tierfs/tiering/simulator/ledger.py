"""What a replay counts, and how much of a read flash answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tierfs.tiering.access_lines import Use


@dataclass(slots=True)
class Ledger:
    """Bytes, but for ``reads`` and ``hits``.

    ``to_flash`` and ``to_disk`` were copied between the tiers, ``evicted`` went off flash for
    others. ``peak`` is the most that flash held, ``used`` what it holds.
    """

    reads: int = 0
    hits: int = 0
    bytes_read: int = 0
    bytes_hit: int = 0
    to_flash: int = 0
    to_disk: int = 0
    evicted: int = 0
    peak: int = 0
    used: int = 0

    @property
    def hit_rate(self) -> float:
        """The share of reads that flash answered."""
        return self.hits / self.reads if self.reads else 0.0

    @property
    def byte_hit_rate(self) -> float:
        """The share of bytes read that came from flash."""
        return self.bytes_hit / self.bytes_read if self.bytes_read else 0.0

    @property
    def moved(self) -> int:
        """Bytes copied between the tiers."""
        return self.to_flash + self.to_disk

    def grow(self, size: int) -> None:
        """Flash holds ``size`` bytes more, or less."""
        self.used += size
        self.peak = max(self.peak, self.used)

    def count(self, use: Use, answered: Answered) -> None:
        """A line of reads."""
        self.reads += use.reads
        self.hits += answered.reads
        self.bytes_read += use.size
        self.bytes_hit += answered.size


class Answered(NamedTuple):
    """So many of the reads of a line, and of their bytes, came from flash."""

    reads: int
    size: int


NOTHING = Answered(0, 0)


def answered(use: Use, size: int, prefix: int) -> Answered:
    """What flash answers of a file of ``size`` bytes that has the first ``prefix`` there.

    Where in the file the reads were is not recorded. They are taken as equal pieces, one after the
    other from the start of the file, and again from there when they are more than the file. A read
    that begins on flash is a hit: flash spares it the wait for the disk's first byte.
    """
    prefix = min(prefix, size)
    if not prefix:
        return NOTHING
    if use.size <= size:
        return Answered(-(-min(prefix, use.size) * use.reads // use.size), min(prefix, use.size))
    return Answered(-(-prefix * use.reads // size), prefix * use.size // size)
