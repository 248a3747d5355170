"""What would be moved now: `tierfs policy plan`. Looks at every file once, and moves none.

The index can be gone through in parts, by several processes: `gather` looks at one, `total` puts
what they found together. `forecast_apart` does so beside the daemon.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar

from tierfs.common.errors import NotMounted
from tierfs.common.priority import StarvationGuard, die_with_parent
from tierfs.metadata.inodes import Inode
from tierfs.metadata.reader import SnapshotReader
from tierfs.policy.model import Policy
from tierfs.tiering.heat import Heat
from tierfs.tiering.heat_file import unpack_heat
from tierfs.tiering.model import (
    Evaluated,
    Kind,
    Reason,
    Target,
    due,
    missing,
    on_flash,
    wants_mirror,
)
from tierfs.tiering.ports import CatalogReader
from tierfs.tiering.selection import Order, order_of, resident_of
from tierfs.tiering.target import PolicyEvaluator
from tierfs.tiering.watermarks import Moment

PAGE: Final = 1024
BLOCK: Final = 64 * PAGE
"""Inode numbers that one process goes through before the next ones are another's."""

MOST_LEAVING: Final = 262_144
"""Files that may go, at most: of more the coldest, so that memory stays bounded."""

MOST_PROCESSES: Final = 4
"""So many go through the index at most: idle cores are taken, not all of a large machine."""

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


class MoveSums:
    """Files and bytes by kind of move, rule and reason."""

    def __init__(self) -> None:
        self.sums: dict[Key, tuple[int, int]] = {}

    def add(self, key: Key, size: int, files: int = 1) -> None:
        """Count ``files`` files, which have ``size`` bytes together."""
        counted, total = self.sums.get(key, (0, 0))
        self.sums[key] = counted + files, total + size

    def lines(self) -> tuple[Line, ...]:
        """The largest first."""
        lines = (Line(*key, *sums) for key, sums in self.sums.items())
        return tuple(sorted(lines, key=lambda line: (-line.bytes, line.move, line.rule or "")))


class Leaving(NamedTuple):
    """A file that may go: its place in the order, the bytes that it frees, and its rule."""

    order: Order
    size: int
    rule: str | None


@dataclass(frozen=True, slots=True)
class ForecastRequest:
    """All that a forecast goes by, for another process."""

    index: Path
    policy: Policy | None
    heat: bytes
    """`tierfs.tiering.heat_file.pack_heat`."""
    heat_capacity: int
    moment: Moment


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found in a part of the index."""

    sums: dict[Key, tuple[int, int]]
    files: int
    coldest: list[Leaving]
    """In their order; no more than free what is to be freed."""


def gather(
    catalog: CatalogReader,
    evaluator: PolicyEvaluator,
    heat: Heat,
    moment: Moment,
    part: Part = ALL,
    *,
    consistently: Steadily = _at_once,
    ended: Callable[[], bool] = _never,
) -> Gathered:
    """Look at every file of a part of the index; ``consistently`` calls what reads a page of it.

    Raises:
        FsError: the index could not be read.
        NotMounted: the mount has ``ended`` meanwhile.
    """
    sums, files = MoveSums(), 0
    to_free = moment.levels.excess(moment.used)
    coldest: list[Leaving] = []
    last = consistently(catalog.last_inode)
    for block in range(part.number * BLOCK, last, part.of * BLOCK):
        for after in range(block, min(block + BLOCK, last), PAGE):

            def read(after: int = after) -> list[Evaluated]:
                rows, _ = catalog.files(after, PAGE, on_flash=False)
                return list(evaluator.evaluate(rows, moment.now))

            evaluated = consistently(read)
            if ended():
                raise NotMounted("the volume is being unmounted")
            files += len(evaluated)
            for inode, target in evaluated:
                _count(inode, target, sums)
                resident = resident_of(inode, target, moment.now) if to_free else None
                if resident is not None:
                    order = order_of(heat, resident, moment.now)
                    coldest.append(Leaving(order, resident.item.size, target.rule))
            if len(coldest) >= 2 * MOST_LEAVING:
                coldest = heapq.nsmallest(MOST_LEAVING, coldest)
    return Gathered(sums.sums, files, _first(sorted(coldest), to_free))


def total(
    catalog: CatalogReader,
    moment: Moment,
    parts: Iterable[Gathered],
    *,
    consistently: Steadily = _at_once,
) -> Forecast:
    """The forecast, of all parts of the index and what is asked for by hand."""
    sums, files = MoveSums(), 0
    coldest: list[Leaving] = []
    for size in consistently(lambda: list(_requested(catalog))):
        sums.add(("hand", None, "by hand"), size)
    for part in parts:
        files += part.files
        coldest += part.coldest
        for key, (counted, size) in part.sums.items():
            sums.add(key, size, counted)
    to_free = moment.levels.excess(moment.used)
    for one in _first(sorted(coldest), to_free):
        sums.add(("evict", one.rule, "full"), one.size)
    levels = moment.levels
    return Forecast(
        sums.lines(), files, moment.capacity, moment.used, levels.high, levels.low, to_free
    )


def forecast(
    catalog: CatalogReader,
    evaluator: PolicyEvaluator,
    heat: Heat,
    moment: Moment,
    ended: Callable[[], bool],
) -> Forecast:
    """The forecast of one moment, made here and now.

    Raises:
        As `gather`.
    """
    return total(catalog, moment, [gather(catalog, evaluator, heat, moment, ended=ended)])


def forecast_apart(request: ForecastRequest, checkpoints: int) -> Forecast:
    """The forecast, made beside the daemon, by one process or, of many files, by several.

    ``checkpoints`` is the descriptor that `Index.checkpoint_for_snapshot` returned.

    Raises:
        FsError: the index could not be read.
    """
    with ExitStack() as stack:
        index = stack.enter_context(closing(SnapshotReader(request.index, checkpoints)))
        blocks = index.consistently(index.last_inode) // BLOCK + 1
        count = min(len(os.sched_getaffinity(0)), MOST_PROCESSES, blocks)
        look = partial(_gathered, request, checkpoints)
        parts: Iterable[Gathered]
        if count == 1:
            parts = [look(Part(0, 1))]
        else:
            pool = ProcessPoolExecutor(count, get_context("fork"), _begin_worker)
            parts = stack.enter_context(pool).map(look, [Part(one, count) for one in range(count)])
        return total(index, request.moment, parts, consistently=index.consistently)


def _count(inode: Inode, target: Target, sums: MoveSums) -> None:
    """Count what is due for a file; what comes only when it is read again is not."""
    move = due(inode, target)
    if move is not None:
        size = missing(inode, move.prefix)
        kind: Kind = "promote" if size else "demote"
        sums.add((kind, target.rule, move.reason), size or on_flash(inode))
    elif target.reason == "promote" and missing(inode, target.prefix):
        sums.add(("promote", target.rule, "promote"), missing(inode, target.prefix))
    elif wants_mirror(inode, target):
        sums.add(("mirror", target.rule, "mirror"), on_flash(inode))


def _requested(catalog: CatalogReader) -> Iterator[int]:
    """The bytes to be moved for each file that a user requested."""
    after, page = 0, catalog.requests(0, PAGE)
    while page:
        wanted = dict(page)
        for inode in catalog.some(list(wanted)):
            prefix = wanted[inode.ino]
            yield missing(inode, prefix) or max(0, on_flash(inode) - prefix)
        after = page[-1].ino
        page = catalog.requests(after, PAGE)


def _first(coldest: list[Leaving], needed: int) -> list[Leaving]:
    """As many as free ``needed`` bytes."""
    for count, one in enumerate(coldest):
        if needed <= 0:
            return coldest[:count]
        needed -= one.size
    return coldest


def _begin_worker() -> None:
    die_with_parent()
    StarvationGuard().watch()


def _gathered(request: ForecastRequest, checkpoints: int, part: Part) -> Gathered:
    """What is in a part; with an index of its own, as connections to SQLite survive no fork."""
    with evaluating(request, checkpoints) as (index, evaluator, heat):
        return gather(index, evaluator, heat, request.moment, part, consistently=index.consistently)


@contextmanager
def evaluating(
    request: ForecastRequest, checkpoints: int
) -> Iterator[tuple[SnapshotReader, PolicyEvaluator, Heat]]:
    """The index of a request, its policy's evaluator and its heat, in another process."""
    heat = Heat(request.heat_capacity)
    unpack_heat(heat, request.heat)
    with closing(SnapshotReader(request.index, checkpoints)) as index:
        yield index, PolicyEvaluator(index, heat, request.policy), heat
