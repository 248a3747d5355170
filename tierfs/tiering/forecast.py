"""What would be moved now: `tierfs policy plan`. Looks at every file once, and moves none.

The index can be gone through in parts, by several processes: `gather` looks at one, `total` puts
what they found together.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar

from tierfs.base.errors import NotMounted
from tierfs.index.inodes import Inode
from tierfs.tiering.context import Moment
from tierfs.tiering.eviction import Order, order_of, resident_of
from tierfs.tiering.heat import Heat
from tierfs.tiering.jobs import Kind
from tierfs.tiering.judge import Judge, Judged
from tierfs.tiering.ports import Listed
from tierfs.tiering.wish import Reason, Wish, due, missing, on_flash, wants_mirror

PAGE: Final = 1024
BLOCK: Final = 64 * PAGE
"""Inode numbers that one process goes through before the next ones are another's."""

REMEMBERED: Final = 262_144
"""Candidates for eviction at most: of more the coldest, so that memory stays bounded."""


T = TypeVar("T")


class Steadily(Protocol):
    """Calls what reads a page of the index, again if the page was not all of one state."""

    def __call__(self, read: Callable[[], T], /) -> T:
        """What ``read`` returns."""


def _at_once(read: Callable[[], T], /) -> T:
    return read()


def _never() -> bool:
    return False


class Line(NamedTuple):
    """Files that one rule has moved for one reason; ``rule`` None: the defaults, or a person."""

    move: Kind
    rule: str | None
    reason: Reason
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Every kind of move that is called for; sizes in bytes."""

    lines: tuple[Line, ...]
    files: int
    """Files looked at."""
    flash_capacity: int
    flash_used: int
    high_watermark: int
    low_watermark: int
    to_free: int
    """What must go from flash since it is too full."""


class Part(NamedTuple):
    """Every ``of``-th block of inode numbers, from the one with this ``number`` on."""

    number: int
    of: int


ALL: Final = Part(0, 1)

Key: TypeAlias = tuple[Kind, str | None, Reason]


class Tally:
    """Files and bytes by kind of move, rule and reason."""

    def __init__(self) -> None:
        self.sums: dict[Key, tuple[int, int]] = {}

    def add(self, key: Key, size: int, files: int = 1) -> None:
        """Count files of so many bytes together."""
        counted, total = self.sums.get(key, (0, 0))
        self.sums[key] = counted + files, total + size

    def lines(self) -> tuple[Line, ...]:
        """The largest first."""
        return tuple(sorted((Line(*key, *sums) for key, sums in self.sums.items()), key=_by_size))


def _by_size(line: Line) -> tuple[int, str, str]:
    return -line.bytes, line.move, line.rule or ""


class Candidate(NamedTuple):
    """A file that may go: its place in the order, the bytes that it frees, and its rule."""

    order: Order
    size: int
    rule: str | None


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found in a part of the index."""

    sums: dict[Key, tuple[int, int]]
    files: int
    coldest: list[Candidate]
    """In their order; no more than free what is to be freed."""


def gather(
    catalog: Listed,
    judge: Judge,
    heat: Heat,
    moment: Moment,
    part: Part = ALL,
    *,
    steadily: Steadily = _at_once,
    ended: Callable[[], bool] = _never,
) -> Gathered:
    """Look at every file of a part of the index; ``steadily`` calls what reads a page of it.

    Raises:
        FsError: the index could not be read.
        NotMounted: the mount has ``ended`` meanwhile.
    """
    tally, files = Tally(), 0
    to_free = moment.levels.excess(moment.used)
    coldest: list[Candidate] = []
    last = steadily(catalog.last_inode)
    for block in range(part.number * BLOCK, last, part.of * BLOCK):
        for after in range(block, min(block + BLOCK, last), PAGE):

            def read(after: int = after) -> list[Judged]:
                rows, _ = catalog.files(after, PAGE, on_flash=False)
                return list(judge.judged(rows, moment.now))

            judged = steadily(read)
            if ended():
                raise NotMounted("the volume is being unmounted")
            files += len(judged)
            for inode, wish in judged:
                _count(inode, wish, tally)
                resident = resident_of(inode, wish, moment.now) if to_free else None
                if resident is not None:
                    order = order_of(heat, resident, moment.now)
                    coldest.append(Candidate(order, resident.item.size, wish.rule))
            if len(coldest) >= 2 * REMEMBERED:
                coldest = heapq.nsmallest(REMEMBERED, coldest)
    return Gathered(tally.sums, files, _first(sorted(coldest), to_free))


def total(
    catalog: Listed,
    moment: Moment,
    parts: Iterable[Gathered],
    *,
    steadily: Steadily = _at_once,
) -> Forecast:
    """The forecast, of all parts of the index and what is asked for by hand."""
    tally, files = Tally(), 0
    coldest: list[Candidate] = []
    for size in steadily(lambda: list(_requested(catalog))):
        tally.add(("hand", None, "by hand"), size)
    for part in parts:
        files += part.files
        coldest += part.coldest
        for key, (counted, size) in part.sums.items():
            tally.add(key, size, counted)
    to_free = moment.levels.excess(moment.used)
    for candidate in _first(sorted(coldest), to_free):
        tally.add(("evict", candidate.rule, "full"), candidate.size)
    levels = moment.levels
    return Forecast(
        tally.lines(), files, moment.capacity, moment.used, levels.high, levels.low, to_free
    )


def forecast(
    catalog: Listed, judge: Judge, heat: Heat, moment: Moment, ended: Callable[[], bool]
) -> Forecast:
    """The forecast of one moment, made here and now.

    Raises:
        As `gather`.
    """
    return total(catalog, moment, [gather(catalog, judge, heat, moment, ended=ended)])


def _count(inode: Inode, wish: Wish, tally: Tally) -> None:
    """What is due for a file: what it waits for to be read is not."""
    move = due(inode, wish)
    if move is not None:
        size = missing(inode, move.prefix)
        kind: Kind = "promote" if size else "demote"
        tally.add((kind, wish.rule, move.reason), size or on_flash(inode))
    elif wish.reason == "promote" and missing(inode, wish.prefix):
        tally.add(("promote", wish.rule, "promote"), missing(inode, wish.prefix))
    elif wants_mirror(inode, wish):
        tally.add(("mirror", wish.rule, "mirror"), on_flash(inode))


def _requested(catalog: Listed) -> Iterator[int]:
    """The bytes that each file is to be moved by that somebody asked for."""
    after, page = 0, catalog.requests(0, PAGE)
    while page:
        wanted = dict(page)
        for inode in catalog.some(list(wanted)):
            prefix = wanted[inode.ino]
            yield missing(inode, prefix) or max(0, on_flash(inode) - prefix)
        after = page[-1].ino
        page = catalog.requests(after, PAGE)


def _first(coldest: list[Candidate], needed: int) -> list[Candidate]:
    """As many as free ``needed`` bytes."""
    for count, candidate in enumerate(coldest):
        if needed <= 0:
            return coldest[:count]
        needed -= candidate.size
    return coldest
