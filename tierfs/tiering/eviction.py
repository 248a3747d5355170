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
    """A file that may go: ``item.size`` bytes are freed when its P becomes ``prefix``."""

    item: Item
    prefix: int
    settled: bool


def resident_of(inode: Inode, wish: Wish, now: int) -> Resident | None:
    """The next step down for a file: to its head, or off flash; None: it does not go."""
    here = on_flash(inode)
    if wish.pinned or wish.evict == "never" or not here:
        return None
    prefix = wish.head if here > wish.head else 0
    item = Item(inode.ino, here - prefix, inode.ctime, wish.evict, wish.rank)
    return Resident(item, prefix, is_settled(inode, now))


def order_of(heat: Heat, resident: Resident, now: int) -> Order:
    """The place of a candidate among others."""
    order = resident_worth(heat, resident.item, now).order
    return not resident.settled, order, resident.item.ino


class Pool:
    """The coldest candidates of all that were offered."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._known: dict[int, tuple[Order, Resident]] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def size(self) -> int:
        """Bytes that all of them would free."""
        return sum(resident.item.size for _, resident in self._known.values())

    def offer(self, heat: Heat, resident: Resident, now: int) -> None:
        """Remember a candidate; one that is known is replaced."""
        self._known[resident.item.ino] = order_of(heat, resident, now), resident
        if len(self._known) >= 2 * self._remembered:  # trimmed seldom: it costs as much as sorting
            kept = heapq.nsmallest(self._remembered, self._known.values())
            self._known = {one.item.ino: (order, one) for order, one in kept}

    def forget(self, ino: int) -> None:
        """It was moved, read or is gone; one that is not known is no mistake."""
        self._known.pop(ino, None)

    def clear(self) -> None:
        """Forget all: the policy changed."""
        self._known.clear()

    def coldest(self) -> list[Resident]:
        """All, the one that should go first in front."""
        return [resident for _, resident in sorted(self._known.values())]


def victims(
    coldest: Sequence[Resident], needed: int, most: int, rank: int | None = None
) -> list[Resident]:
    """As many of the first as free ``needed`` bytes, ``most`` at most.

    Those of a higher class than ``rank`` stay; None: any may go.
    """
    chosen: list[Resident] = []
    for resident in coldest:
        if needed <= 0 or len(chosen) == most:
            break
        if rank is None or resident.item.rank <= rank:
            chosen.append(resident)
            needed -= resident.item.size
    return chosen


class Census:
    """Bytes that may go, by class, as the last whole round through the index found them."""

    def __init__(self) -> None:
        self._counting: dict[int, int] = {}
        self._found: dict[int, int] | None = None

    def count(self, residents: Iterable[Resident]) -> None:
        """Met in this round."""
        for resident in residents:
            rank = resident.item.rank
            self._counting[rank] = self._counting.get(rank, 0) + resident.item.size

    def end_round(self) -> None:
        """The round is complete."""
        self._found, self._counting = self._counting, {}

    def gone(self, resident: Resident) -> None:
        """It was evicted."""
        if self._found and resident.item.rank in self._found:
            self._found[resident.item.rank] -= resident.item.size

    def highest_rank(self, needed: int) -> int | None:
        """The highest class that must give something for ``needed`` bytes; None: not known yet."""
        if self._found is None:
            return None
        for rank in sorted(self._found):
            needed -= max(0, self._found[rank])
            if needed <= 0:
                return rank
        return max(self._found, default=0)

    def clear(self) -> None:
        """The policy changed: its classes mean something else."""
        self._counting, self._found = {}, None
