"""What flash keeps: whether a file may come in, and which files go for it.

Every file on flash has a **worth**: the disk's time that keeping it saves, for each second and each
byte. A file that was just read comes in when there is room, or when it is worth clearly more than
the files that would have to go (`MARGIN`). So equal files never push one another out: that is
what makes a cyclic scan hit in proportion, an epoch harmless, and moves rare.

A file that was just written is on flash already: keeping it costs no move. So it may push out any
file that never came back, and among such files the one idle for the longest time goes first: what
is ingested passes through the part of flash that nobody uses again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from tierfs.common.units import KIB, SECOND
from tierfs.tiering.heat import PATIENCE, Heat, candidate_interval, resident_interval

Evict: TypeAlias = Literal["heat", "lru", "never"]
"""How a file is chosen; the values of `tierfs.policy.model.Evict`."""

MARGIN: Final = 1.5
"""A file that asks to come in must be worth what goes for it times this factor.

Less makes files with nearly equal intervals take turns, more delays what is rightly hotter.
"""

SEEK: Final = 128 * KIB
"""What a read that flash answers saves beside the bytes of the file, as bytes.

A disk could read 1.5 MiB in the time in which it seeks (8.5 ms at 180 MB/s), but with that nearly
all of flash goes to the smallest files. 128 KiB cost a hundredth or two of the hits by reads, and
keep hits by bytes within a twentieth of the best as well; docs/explanation/heat.md has figures.
"""

LEAST_SHARE: Final = 1 / 16
"""Of a file that goes, at least this part of what it saves is lost, however few bytes are needed.

The rest of its room serves other files, but a file of gigabytes is not to go for a small one.
"""


class Item(NamedTuple):
    """A file, or its head: ``size`` bytes on flash, which came there at ``since`` (nanoseconds).

    Classes with a lower ``rank`` are evicted before those with a higher one.
    """

    ino: int
    size: int
    since: int
    evict: Evict = "heat"
    rank: int = 0


class Worth(NamedTuple):
    """``density``: bytes that the disk need not read or seek for, for each second and byte kept.

    ``used`` is when the file was visited, or came, in seconds since the epoch; ``returned`` says
    whether it was visited again, ever; ``expected`` whether it is, and not overdue.
    """

    rank: int
    density: float
    used: float
    returned: bool
    expected: bool

    @property
    def order(self) -> tuple[int, bool, float, float]:
        """The least goes first: lower classes, files of which nothing is expected, cold ones.

        Among those of which nothing is expected only recency counts.
        """
        return self.rank, self.expected, self.density if self.expected else 0.0, self.used


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a file comes in, and which go first."""

    admit: bool
    evict: tuple[Item, ...] = ()


REFUSED: Final = Admission(admit=False)


def resident_worth(heat: Heat, item: Item, now: int) -> Worth:
    """What it is worth to keep a file on flash."""
    typical, visits = heat.typical, heat.visits(item.ino, now)
    if visits is None:  # never read: hoped for as a file that asks to come in, and no longer
        used = min(item.since, now) / SECOND
        interval = max(candidate_interval(0, 0.0, typical), now / SECOND - used)
        density = _density(interval, item.size)
        return Worth(item.rank, density, used, returned=False, expected=False)
    intervals, mean, age = visits
    interval = age if item.evict == "lru" else resident_interval(intervals, mean, age, typical)
    returned = intervals > 0
    expected = returned and age <= PATIENCE * candidate_interval(intervals, mean, typical)
    density = _density(interval, item.size)
    return Worth(item.rank, density, now / SECOND - age, returned, expected)


def candidate_worth(heat: Heat, item: Item, now: int) -> Worth:
    """What it would be worth to have a file on flash that was just read, or written."""
    intervals, mean, age = heat.visits(item.ino, now) or (0, 0.0, 0.0)
    density = _density(candidate_interval(intervals, mean, heat.typical), item.size)
    returned = intervals > 0
    return Worth(item.rank, density, now / SECOND - age, returned, expected=returned)


def enough(coldest: Iterable[Item], size: int) -> tuple[Item, ...]:
    """As many of the first as free ``size`` bytes or more; all, if they are less than that."""
    chosen = []
    for item in coldest:
        if size <= 0:
            break
        chosen.append(item)
        size -= item.size
    return tuple(chosen)


def admit(
    heat: Heat, item: Item, room: int, coldest: Sequence[Item], now: int, *, written: bool = False
) -> Admission:
    """Whether a file that was just read, or ``written``, is kept on flash with ``room`` bytes free.

    ``coldest`` is what may go for it, the first one first.
    """
    needed = item.size - room
    if needed <= 0:
        return Admission(admit=True)
    going = enough(coldest, needed)
    freed = sum(one.size for one in going)
    if freed < needed:
        return REFUSED
    theirs = [resident_worth(heat, one, now) for one in going]
    mine = candidate_worth(heat, item, now)
    if any(worth.rank > mine.rank for worth in theirs):
        return REFUSED
    lost = sum(
        worth.density * one.size
        for one, worth in zip(going, theirs, strict=True)
        # Others go without being weighed: only recency tells the two apart.
        if worth.rank == mine.rank
        and not (written and not worth.returned)
        and not one.evict == item.evict == "lru"
    )
    share = max(item.size / freed, LEAST_SHARE)
    enough_gained = mine.density * item.size > MARGIN * share * lost
    return Admission(admit=True, evict=going) if enough_gained else REFUSED


def _density(interval: float, size: int) -> float:
    seconds = max(interval, 1 / SECOND)
    return (SEEK + size) / (max(size, 1) * seconds)
