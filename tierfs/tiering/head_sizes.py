"""Which heads let the first reads of files of an extension be answered by flash, and their cost.

Programs that read the beginnings of files wait for the disk where what they read goes beyond the
head. So a head is wanted that ends behind nearly all first reads. Where a job told how far it
reads, the kernel asks for more at once: up to the end of its read-ahead window, which the head has
to reach as well, or the reader waits for bytes that it does not need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from tierfs.common.extents import WHOLE_FILE
from tierfs.metadata.inodes import Inode
from tierfs.tiering.first_reads import OTHERS, REACHES, Cell, Source, extension_of, reach_class
from tierfs.tiering.forecast import ForecastRequest, evaluating
from tierfs.tiering.model import Target

COVERED: Final = 0.95
"""The part of the first reads that a head is to answer."""

FEW: Final = 30
"""The least number of first reads of an extension for which a head is proposed.

If a job told of as many, those of requests do not count.
"""

GAIN: Final = 0.05
"""A longer head is proposed if it answers so much more of all first reads of an extension,"""

SAVED: Final = 0.1
"""and a shorter one if it frees so much of what the heads take."""

RULE: Final = "head-"
"""The name of a proposed rule begins with it; the extension follows."""

_PAGE: Final = 4096
_PAGE_OF_INDEX: Final = 1024


class OfSize(NamedTuple):
    """First reads of files of one class of sizes; see `Cell` and `Wanted`."""

    size: int
    reads: float
    far: int
    whole: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """A head for all files of an extension, in bytes, by what one source told of first reads."""

    extension: str
    source: Source
    reads: float
    """First reads that were counted, and have not faded."""
    far: int
    """Bytes; `COVERED` of them did not go beyond. 0: it is too far for a head."""
    whole: float
    """The part that went to the end of the file."""
    head: int
    """Long enough for these; 0: there is none."""
    covered: float
    """The part of the first reads that it answers."""
    covered_now: float
    """The part that the head answers which is in force, if no rule but a proposed one applies."""
    classes: tuple[OfSize, ...]
    """The same by size, the smallest first."""


class HeadCost(NamedTuple):
    """The files of an extension to which no rule applies, or one that was proposed; in bytes."""

    files: int
    size: int
    now: int
    """What belongs of them on flash by the policy in force,"""
    then: int
    """and what would with the wanted head."""


def wanted_heads(
    counts: Mapping[Cell, float], in_force: Callable[[str], int], read_ahead: int
) -> dict[str, Wanted]:
    """For each extension.

    ``in_force`` tells the head of an extension, ``read_ahead`` is the kernel's window, in bytes.
    """
    told: dict[str, dict[Source, dict[Cell, float]]] = {}
    for cell, count in counts.items():
        told.setdefault(cell.extension, {}).setdefault(cell.source, {})[cell] = count
    wanted = {}
    for extension, by_source in told.items():
        job, requests = by_source.get("job", {}), by_source.get("requests", {})
        source: Source = "job" if sum(job.values()) >= FEW or not requests else "requests"
        its = by_source[source]
        wanted[extension] = _wanted(extension, source, its, in_force(extension), read_ahead)
    return wanted


def first_request(reach: int, read_ahead: int) -> int:
    """How far the kernel's requests go when the first ``reach`` bytes of a file are read at once.

    As ``get_init_ra_size`` in mm/readahead.c (Linux) has it: a window of a power of two pages, up
    to twice or four times what is read, and ``read_ahead`` bytes at most; what is longer is asked
    for in requests of that length.
    """
    most = max(1, read_ahead // _PAGE)
    pages = -(-reach // _PAGE)
    if pages > most:
        return -(-pages // most) * most * _PAGE
    window = 1 << (pages - 1).bit_length()
    if window <= most // 32:
        window *= 4
    elif window <= most // 4:
        window *= 2
    else:
        window = most
    return max(window, pages) * _PAGE


def _wanted(
    extension: str, source: Source, its: Mapping[Cell, float], head: int, read_ahead: int
) -> Wanted:
    total = sum(its.values())

    def need(cell: Cell) -> int:
        """The head that answers these."""
        if source == "requests" or cell.whole or not cell.reach:
            return cell.reach or WHOLE_FILE
        asked = min(first_request(cell.reach, read_ahead), cell.size)
        return reach_class(asked) or WHOLE_FILE

    def covered(length: int) -> float:
        return sum(count for cell, count in its.items() if need(cell) <= length) / total

    wanted = next((reach for reach in REACHES if covered(reach) >= COVERED), 0)
    return Wanted(
        extension,
        source,
        total,
        _far(its),
        _whole(its),
        wanted,
        covered(wanted),
        covered(head),
        tuple(_classes(its)),
    )


def _far(its: Mapping[Cell, float]) -> int:
    enough = COVERED * sum(its.values())
    for reach in REACHES:
        if sum(count for cell, count in its.items() if 0 < cell.reach <= reach) >= enough:
            return reach
    return 0


def _whole(its: Mapping[Cell, float]) -> float:
    return sum(count for cell, count in its.items() if cell.whole) / sum(its.values())


def _classes(its: Mapping[Cell, float]) -> Iterable[OfSize]:
    for size in sorted({cell.size for cell in its}):
        some = {cell: count for cell, count in its.items() if cell.size == size}
        yield OfSize(size, sum(some.values()), _far(some), _whole(some))


# ------------------------------------------------------------------ what it costs


def costs_apart(
    request: ForecastRequest, heads: Mapping[str, int], checkpoints: int
) -> tuple[dict[str, HeadCost], int]:
    """What heads of some extensions cost, and all bytes that belong on flash by the policy.

    ``checkpoints`` is the descriptor that
    `Index.checkpoint_for_snapshot` returned.

    Raises:
        FsError: the index could not be read.
    """
    sums: dict[str, HeadCost] = {}
    total = 0
    with evaluating(request, checkpoints) as (index, evaluator, _heat):
        for after in range(0, index.consistently(index.last_inode), _PAGE_OF_INDEX):

            def read(after: int = after) -> tuple[list[tuple[Inode, Target]], dict[int, bytes]]:
                rows, _ = index.files(after, _PAGE_OF_INDEX, on_flash=False)
                found = list(evaluator.evaluate(rows, request.moment.now))
                return found, index.names(rows)

            found, names = index.consistently(read)
            for inode, target in found:
                total += min(target.prefix, inode.size)
                extension = extension_of(names.get(inode.ino, b""))
                head = heads.get(extension, 0)
                if head and target.rule in {None, rule_name(extension)} and not target.pinned:
                    before = sums.get(extension, HeadCost(0, 0, 0, 0))
                    now, then = min(target.head, inode.size), min(head, inode.size)
                    its = HeadCost(1, inode.size, now, then)
                    sums[extension] = HeadCost(*map(sum, zip(before, its, strict=True)))
    return sums, total


def proposals(
    request: ForecastRequest, counts: Mapping[Cell, float], read_ahead: int, checkpoints: int
) -> tuple[dict[str, Wanted], dict[str, HeadCost], Sequence[Wanted]]:
    """Heads that first reads want, what they cost, and which of them are worth a rule.

    As `wanted_heads`, `costs_apart` and `chosen`, by the policy of the request; for a process
    beside the daemon, whose interpreter has requests to answer.

    Raises:
        FsError: the index could not be read.
    """
    policy = request.policy
    by_rule = {rule.name: rule.settings.head for rule in policy.rules} if policy else {}
    default = policy.defaults.head if policy else 0
    wanted = wanted_heads(
        counts, lambda extension: by_rule.get(rule_name(extension), default), read_ahead
    )
    heads = {one.extension: one.head for one in wanted.values()}
    costs, total = costs_apart(request, heads, checkpoints)
    return wanted, costs, chosen(wanted.values(), costs, total, request.moment.levels.room(0))


def rule_name(extension: str) -> str:
    """The name of the rule that is proposed for an extension."""
    return RULE + extension.removeprefix(".")


def chosen(
    wanted: Iterable[Wanted], costs: Mapping[str, HeadCost], total: int, room: int
) -> Sequence[Wanted]:
    """Those that are worth a rule, the most read first, while flash has ``room`` for all.

    ``total``: bytes that belong on flash already.
    """
    taken: list[Wanted] = []
    by_reads = sorted(wanted, key=lambda one: (-one.reads, one.extension))
    for one in sorted(by_reads, key=lambda one: _more(one, costs) > 0):  # what frees comes first
        more = _more(one, costs)
        if one.extension == OTHERS or not one.head or one.reads < FEW or not more:
            continue
        gains = one.covered - one.covered_now >= GAIN
        saves = -more >= SAVED * costs[one.extension].now
        if (more < 0 and saves) or (more > 0 and gains and total + more <= room):
            total += more
            taken.append(one)
    return taken


def _more(one: Wanted, costs: Mapping[str, HeadCost]) -> int:
    cost = costs.get(one.extension)
    return 0 if cost is None else cost.then - cost.now
