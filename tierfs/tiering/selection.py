"""Which files come to flash and which leave: pure choices among candidates and residents.

A `Candidate` is a file that asks for flash: it was read, is pinned, or a user asked for it. A
`Resident` is one that may go. Nothing is sorted but the residents in the `EvictionPool`, which
remembers a bounded number: the coldest of all that were found. A `Census` counts how much may go
in all. The order is that of
`tierfs.tiering.replacement.Worth`: lower classes first, then what nothing is expected of, then what
is read least for its size.

The planners (`tierfs.tiering.promotion`, `tierfs.tiering.eviction`) and the simulator of
`tierfs policy replay` choose by the same functions.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from tierfs.metadata.inodes import Inode
from tierfs.metadata.pins_and_requests import Request
from tierfs.tiering.heat import Heat
from tierfs.tiering.model import Job, Kind, Reason, Step, Target, is_quiet, missing, on_flash
from tierfs.tiering.replacement import Evict, Item, admit, resident_worth

POOL_SIZE: Final = 4096
"""Residents that the pool remembers."""

Order: TypeAlias = tuple[bool, tuple[int, bool, float, float], int]
"""What goes first is least; files that were just changed go last, and equal ones by number."""


class Resident(NamedTuple):
    """A file that may go: ``item.size`` bytes are freed when its P becomes ``prefix``.

    ``here`` bytes are on flash in all: what it frees when it goes off flash.
    """

    item: Item
    prefix: int
    quiet: bool
    here: int

    @property
    def files(self) -> int:
        """Inodes of flash that the step frees: an object goes only with its last byte."""
        return int(self.prefix == 0)

    @property
    def eviction(self) -> Step:
        """The step as the mover takes it."""
        item = self.item
        return Step("evict", item.ino, self.prefix, item.size, files=self.files)

    def off(self) -> Resident:
        """The step that frees the inode as well: off flash at once."""
        return self._replace(item=self.item._replace(size=self.here), prefix=0)


def resident_of(inode: Inode, target: Target, now: int) -> Resident | None:
    """The next step down for a file: to its head, or off flash; None: it does not go."""
    here = on_flash(inode)
    if target.pinned or target.evict == "never" or not here:
        return None
    prefix = target.head if here > target.head else 0
    item = Item(inode.ino, here - prefix, inode.ctime, target.evict, target.rank)
    return Resident(item, prefix, is_quiet(inode, now), here)


def order_of(heat: Heat, resident: Resident, now: int) -> Order:
    """The place of a resident among others."""
    order = resident_worth(heat, resident.item, now).order
    return not resident.quiet, order, resident.item.ino


class EvictionPool:
    """The coldest residents of all that were offered."""

    def __init__(self, remembered: int = POOL_SIZE) -> None:
        self._remembered = remembered
        self._known: dict[int, tuple[Order, Resident]] = {}
        self.size = 0
        """Bytes that all of them would free."""

    def __len__(self) -> int:
        return len(self._known)

    def offer(self, heat: Heat, resident: Resident, now: int) -> None:
        """Remember a resident; one that is known is replaced."""
        self.forget(resident.item.ino)
        self._known[resident.item.ino] = order_of(heat, resident, now), resident
        self.size += resident.item.size
        if len(self._known) >= 2 * self._remembered:  # trimmed seldom: it costs as much as sorting
            kept = heapq.nsmallest(self._remembered, self._known.values())
            self._known = {one.item.ino: (order, one) for order, one in kept}
            self.size = sum(one.item.size for _, one in kept)

    def forget(self, ino: int) -> None:
        """Drop a file that was moved, read or deleted; it need not be known."""
        known = self._known.pop(ino, None)
        if known is not None:
            self.size -= known[1].item.size

    def clear(self) -> None:
        """Forget all: the policy changed."""
        self._known.clear()
        self.size = 0

    def coldest(self, upcoming: Mapping[int, int] | None = None) -> list[Resident]:
        """All, the one that should go first in front.

        Those in ``upcoming`` go last in their class, the one with the most before it first.
        """
        known = sorted(self._known.values())
        if upcoming:
            known.sort(key=lambda one: _declared(one, upcoming))
        return [resident for _, resident in known]


def _declared(known: tuple[Order, Resident], upcoming: Mapping[int, int]) -> tuple[object, ...]:
    (is_new, (rank, *_), ino), _ = known
    before = upcoming.get(ino)
    return is_new, rank, before is not None, -(before or 0)


def to_evict(
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


class Candidate(NamedTuple):
    """A file asks for ``size`` more bytes of flash, so that its P becomes ``prefix``.

    ``files`` is 1 where it has nothing on flash: then it needs an inode there as well.
    """

    ino: int
    prefix: int
    size: int
    reason: Reason
    rule: str | None = None
    keep_mirror: bool = True
    evict: Evict = "heat"
    rank: int = 0
    files: int = 0

    @property
    def item(self) -> Item:
        """As the replacement weighs it."""
        return Item(self.ino, self.size, 0, self.evict, self.rank)


def candidate_of(inode: Inode, prefix: int, target: Target, reason: Reason) -> Candidate:
    """What a file asks for, so that its P becomes ``prefix``."""
    return Candidate(
        inode.ino,
        prefix,
        missing(inode, prefix),
        reason,
        target.rule,
        target.mirror,
        target.evict,
        target.rank,
        files=int(not on_flash(inode)),
    )


class Swap(NamedTuple):
    """A file is promoted once the others are evicted."""

    candidate: Candidate
    first: tuple[Resident, ...] = ()

    @property
    def grows(self) -> int:
        """Bytes that flash holds more afterwards."""
        return self.candidate.size - sum(resident.item.size for resident in self.first)

    @property
    def grows_files(self) -> int:
        """Inodes of flash that are taken more afterwards."""
        return self.candidate.files - sum(resident.files for resident in self.first)

    def job(self, kind: Kind, request: Request | None = None) -> Job:
        """What the mover does for it; ``request`` is what a user requested by hand."""
        file = self.candidate
        last = Step(kind, file.ino, file.prefix, file.size, file.keep_mirror, files=file.files)
        return Job(kind, (*(resident.eviction for resident in self.first), last), request)


def promotions(
    heat: Heat,
    candidates: Iterable[Candidate],
    room: int,
    coldest: Sequence[Resident],
    now: int,
    *,
    files: int = sys.maxsize,
) -> list[Swap]:
    """The files that come in: into ``room`` bytes, or for colder ones of which they take the place.

    So flash never holds more than it did and the room together; likewise ``files`` inodes.
    """
    left: Sequence[Resident] = [one for one in coldest if one.quiet]
    admitted = []
    for candidate in candidates:
        others = _without(left, candidate.ino)
        crowded = candidate.files > files
        # Where inodes are short a file goes whole: its head alone would keep the inode.
        leaving = [one.off() for one in others] if crowded else others
        admission = admit(
            heat, candidate.item, 0 if crowded else room, [one.item for one in leaving], now
        )
        if admission.admit and not (crowded and not admission.evict):
            going = len(admission.evict)  # the first of those left
            swap = Swap(candidate, tuple(leaving[:going]))
            left = others[going:]
            room -= swap.grows
            files -= swap.grows_files
            admitted.append(swap)
    return admitted


def forced(
    candidate: Candidate, room: int, coldest: Sequence[Resident], *, files: int = sys.maxsize
) -> Swap | None:
    """How a file comes in that must: what may go goes, however warm. None: it does not fit."""
    others = _without(coldest, candidate.ino)
    going = to_evict(others, candidate.size - room, len(others), files=candidate.files - files)
    swap = Swap(candidate, tuple(going))
    return swap if swap.grows <= room and swap.grows_files <= files else None


def _without(residents: Sequence[Resident], ino: int) -> Sequence[Resident]:
    """All but one."""
    if all(one.item.ino != ino for one in residents):
        return residents
    return [one for one in residents if one.item.ino != ino]
