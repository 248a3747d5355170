"""What would be moved now: `tierfs policy plan`. Looks at every file once, and moves none."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from tierfs.base.errors import NotMounted
from tierfs.index.inodes import Inode
from tierfs.tiering.context import Moment
from tierfs.tiering.eviction import Order, Resident, order_of, resident_of
from tierfs.tiering.heat import Heat
from tierfs.tiering.jobs import Kind
from tierfs.tiering.judge import Judge
from tierfs.tiering.ports import Ports
from tierfs.tiering.sweep import Sweep
from tierfs.tiering.wish import Reason, Wish, due, missing, on_flash, wants_mirror

PAGE: Final = 1024
REMEMBERED: Final = 262_144
"""Candidates for eviction at most: of more the coldest, so that memory stays bounded."""


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


class _Tally:
    def __init__(self) -> None:
        self._sums: dict[tuple[Kind, str | None, Reason], tuple[int, int]] = {}

    def add(self, move: Kind, rule: str | None, reason: Reason, size: int) -> None:
        files, total = self._sums.get((move, rule, reason), (0, 0))
        self._sums[move, rule, reason] = files + 1, total + size

    def lines(self) -> tuple[Line, ...]:
        return tuple(sorted((Line(*key, *sums) for key, sums in self._sums.items()), key=_by_size))


def _by_size(line: Line) -> tuple[int, str, str]:
    return -line.bytes, line.move, line.rule or ""


class _Candidate(NamedTuple):
    order: Order
    resident: Resident
    rule: str | None


def forecast(
    ports: Ports, judge: Judge, heat: Heat, moment: Moment, ended: Callable[[], bool]
) -> Forecast:
    """The forecast of one moment.

    Raises:
        FsError: the index could not be read.
        NotMounted: the mount has ``ended`` meanwhile.
    """
    tally, files = _Tally(), 0
    to_free = moment.levels.excess(moment.used)
    coldest: list[_Candidate] = []
    _count_requests(ports, tally)
    for rows in Sweep(ports.catalog, on_flash=False).round():
        if ended():
            raise NotMounted("the volume is being unmounted")
        files += len(rows)
        for inode, wish in judge.judged(rows, moment.now):
            _count(inode, wish, tally)
            resident = resident_of(inode, wish, moment.now) if to_free else None
            if resident is not None:
                order = order_of(heat, resident, moment.now)
                coldest.append(_Candidate(order, resident, wish.rule))
        if len(coldest) >= 2 * REMEMBERED:
            coldest = heapq.nsmallest(REMEMBERED, coldest)
    _count_evictions(sorted(coldest), to_free, tally)
    return Forecast(
        tally.lines(),
        files,
        moment.capacity,
        moment.used,
        moment.levels.high,
        moment.levels.low,
        to_free,
    )


def _count(inode: Inode, wish: Wish, tally: _Tally) -> None:
    """What is due for a file: what it waits for to be read is not."""
    move = due(inode, wish)
    if move is not None:
        size = missing(inode, move.prefix)
        kind: Kind = "promote" if size else "demote"
        tally.add(kind, wish.rule, move.reason, size or on_flash(inode))
    elif wish.reason == "promote" and missing(inode, wish.prefix):
        tally.add("promote", wish.rule, "promote", missing(inode, wish.prefix))
    elif wants_mirror(inode, wish):
        tally.add("mirror", wish.rule, "mirror", on_flash(inode))


def _count_requests(ports: Ports, tally: _Tally) -> None:
    after, page = 0, ports.catalog.requests(0, PAGE)
    while page:
        wanted = dict(page)
        for inode in ports.catalog.some(list(wanted)):
            prefix = wanted[inode.ino]
            size = missing(inode, prefix) or max(0, on_flash(inode) - prefix)
            tally.add("hand", None, "by hand", size)
        after = page[-1].ino
        page = ports.catalog.requests(after, PAGE)


def _count_evictions(coldest: list[_Candidate], needed: int, tally: _Tally) -> None:
    for candidate in coldest:
        if needed <= 0:
            break
        tally.add("evict", candidate.rule, "full", candidate.resident.item.size)
        needed -= candidate.resident.item.size
