"""Who goes when flash is full: candidates met on the way, and the choice among them.

Nothing is sorted but the candidates, of which a bounded number is remembered: the coldest of all
that were come across. The order is that of `replacement.Worth`: lower classes first, then what
nothing is expected of, then what is read least for its size.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from tierfs.index.inodes import Inode
from tierfs.tiering.heat import Heat
from tierfs.tiering.replacement import Item, resident_worth
from tierfs.tiering.wish import Wish, is_settled, on_flash

REMEMBERED: Final = 4096
"""Candidates in the pool."""

Order: TypeAlias = tuple[bool, tuple[int, bool, float, float], int]
"""What goes first is least; files that were just changed go last, and equal ones by number."""


class Resident(NamedTuple):
    """A file that may go: ``item.size`` bytes are freed when its P becomes ``prefix``.

    ``here`` bytes are on flash in all: what it frees when it goes off flash.
    """

    item: Item
    prefix: int
    settled: bool
    here: int

    @property
    def files(self) -> int:
        """Inodes of flash that the step frees: an object goes only with its last byte."""
        return int(self.prefix == 0)

    def off(self) -> Resident:
        """The step that frees the inode as well: off flash at once."""
        return self._replace(item=self.item._replace(size=self.here), prefix=0)


def resident_of(inode: Inode, wish: Wish, now: int) -> Resident | None:
    """The next step down for a file: to its head, or off flash; None: it does not go."""
    here = on_flash(inode)
    if wish.pinned or wish.evict == "never" or not here:
        return None
    prefix = wish.head if here > wish.head else 0
    item = Item(inode.ino, here - prefix, inode.ctime, wish.evict, wish.rank)
    return Resident(item, prefix, is_settled(inode, now), here)


def order_of(heat: Heat, resident: Resident, now: int) -> Order:
    """The place of a candidate among others."""
    order = resident_worth(heat, resident.item, now).order
    return not resident.settled, order, resident.item.ino


class Pool:
    """The coldest candidates of all that were offered."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._known: dict[int, tuple[Order, Resident]] = {}
        self.size = 0
        """Bytes that all of them would free."""

    def __len__(self) -> int:
        return len(self._known)

    def offer(self, heat: Heat, resident: Resident, now: int) -> None:
        """Remember a candidate; one that is known is replaced."""
        self.forget(resident.item.ino)
        self._known[resident.item.ino] = order_of(heat, resident, now), resident
        self.size += resident.item.size
        if len(self._known) >= 2 * self._remembered:  # trimmed seldom: it costs as much as sorting
            kept = heapq.nsmallest(self._remembered, self._known.values())
            self._known = {one.item.ino: (order, one) for order, one in kept}
            self.size = sum(one.item.size for _, one in kept)

    def forget(self, ino: int) -> None:
        """It was moved, read or is gone; one that is not known is no mistake."""
        known = self._known.pop(ino, None)
        if known is not None:
            self.size -= known[1].item.size

    def clear(self) -> None:
        """Forget all: the policy changed."""
        self._known.clear()
        self.size = 0

    def coldest(self) -> list[Resident]:
        """All, the one that should go first in front."""
        return [resident for _, resident in sorted(self._known.values())]


def victims(
    coldest: Sequence[Resident],
    needed: int,
    most: int,
    rank: int | None = None,
    *,
    files: int = 0,
) -> list[Resident]:
    """As many of the first as free ``needed`` bytes and ``files`` inodes, ``most`` at most.

    While inodes are needed, those chosen go off flash at once. Those of a higher class than
    ``rank`` stay; None: any may go.
    """
    chosen: list[Resident] = []
    for resident in coldest:
        if (needed <= 0 and files <= 0) or len(chosen) == most:
            break
        if rank is None or resident.item.rank <= rank:
            going = resident.off() if files > 0 else resident
            chosen.append(going)
            needed -= going.item.size
            files -= going.files
    return chosen


class Evictable(NamedTuple):
    """What may go from flash: bytes, and inodes of it."""

    bytes: int
    files: int


NOTHING: Final = Evictable(0, 0)


class Census:
    """What may go, by class, as the last whole round through the index found it.

    ``found_at`` is when that round ended, in nanoseconds since the epoch, and ``began_at`` a time
    before it began; None: not yet, or not known.
    """

    def __init__(self) -> None:
        self._counting: dict[int, Evictable] = {}
        self._found: dict[int, Evictable] = {}
        self.found_at: int | None = None
        self.began_at: int | None = None

    def count(self, residents: Iterable[Resident]) -> None:
        """Met in this round."""
        for resident in residents:
            _add(self._counting, resident.item.rank, resident.here, 1)

    def end_round(self, now: int) -> None:
        """The round is complete."""
        self._found, self._counting = self._counting, {}
        self.began_at, self.found_at = self.found_at, now

    def gone(self, resident: Resident) -> None:
        """It was evicted; whether this round had counted it is not known: rather too little."""
        for sums in (self._found, self._counting):
            if resident.item.rank in sums:
                _add(sums, resident.item.rank, -resident.item.size, -resident.files)

    @property
    def evictable(self) -> Evictable:
        """What was found by the last whole round, or by now in this one, whichever is more."""
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
    before = sums.get(rank, NOTHING)
    sums[rank] = Evictable(before.bytes + size, before.files + files)
