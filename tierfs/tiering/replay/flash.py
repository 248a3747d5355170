"""A simulated flash: what is on it, what a mover may bring there, and what is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final, NamedTuple

from tierfs.common.units import SECOND
from tierfs.policy.model import Mover
from tierfs.tiering.access_log import Use

_MINUTE: Final = 60 * SECOND


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


def answered(use: Use, size: int, prefix: int) -> Answered:
    """What flash answers of a file of ``size`` bytes that has the first ``prefix`` there.

    Where in the file the reads were is not recorded. They are taken as equal pieces, one after the
    other from the start of the file, and again from there when they are more than the file. A read
    that begins on flash is a hit: flash spares it the wait for the disk's first byte.
    """
    prefix = min(prefix, size)
    if not prefix:
        return Answered(0, 0)
    if use.size <= size:
        return Answered(-(-min(prefix, use.size) * use.reads // use.size), min(prefix, use.size))
    return Answered(-(-prefix * use.reads // size), prefix * use.size // size)


class FilesOnFlash:
    """Sizes by file, with a sample in constant time."""

    def __init__(self) -> None:
        self.used = 0
        self.sizes: dict[int, int] = {}
        self._order: list[int] = []
        self._place: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __contains__(self, ino: int) -> bool:
        return ino in self.sizes

    def add(self, ino: int, size: int) -> None:
        """Put a file on flash, which is not there yet."""
        self.sizes[ino] = size
        self.used += size
        self._place[ino] = len(self._order)
        self._order.append(ino)

    def remove(self, ino: int) -> None:
        """Take a file off."""
        self.used -= self.sizes.pop(ino)
        place, last = self._place.pop(ino), self._order.pop()
        if last != ino:
            self._order[place] = last
            self._place[last] = place

    def sample(self, count: int, random: Random) -> list[int]:
        """``count`` files by chance, some perhaps more than once; all while there are few."""
        if len(self._order) <= count:
            return list(self._order)
        return [self._order[int(random.random() * len(self._order))] for _ in range(count)]


class Allowance:
    """What a mover may copy, on a virtual clock: its rate, its operations, its windows.

    What was not used of the last second may be used in this one; a move may overdraw it once.
    """

    def __init__(self, mover: Mover) -> None:
        self._mover = mover
        self._now = 0
        self._bytes = float(mover.rate or 0)
        self._moves = float(mover.operations or 0)
        self._minute = -1
        self._open = True

    def take(self, size: int, now: int) -> bool:
        """Whether a move of ``size`` bytes may begin ``now`` (ns since the epoch)."""
        mover = self._mover
        seconds = max(0, now - self._now) / SECOND
        self._now = max(self._now, now)
        rate, operations = mover.rate or 0, mover.operations or 0
        self._bytes = min(self._bytes + seconds * rate, rate)
        self._moves = min(self._moves + seconds * operations, operations)
        spent = (mover.rate is not None and self._bytes <= 0) or (
            mover.operations is not None and self._moves < 1
        )
        if spent or not self._in_window(now):
            return False
        self._bytes -= size
        self._moves -= 1
        return True

    def _in_window(self, now: int) -> bool:
        if not self._mover.windows:
            return True
        if now // _MINUTE != self._minute:
            self._minute = now // _MINUTE
            local = datetime.fromtimestamp(now // SECOND, tz=UTC).astimezone()
            self._open = self._mover.may_work(local)
        return self._open
