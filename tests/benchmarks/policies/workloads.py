"""Workloads made up from a seed: who reads what when, and how large the files are.

Files that take part from the beginning have the inode numbers 1 to ``files``.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from types import MappingProxyType
from typing import Final

from tests.benchmarks.policies.simulate import Access, Workload
from tierfs.common.units import KIB, MIB, SECOND

HEAD: Final = 64 * KIB
SMALLEST: Final = 4 * KIB
LARGEST: Final = MIB
FILL: Final = 0.8
"""The share of flash that a hot or training set takes."""

SIZES: Final = ("equal", "heads", "mixed")
"""Heads of 64 KiB; half of the files smaller than that; one in 20 whole and up to 1 MiB as well."""

Use = tuple[int, bool]
"""(inode, whether it is written)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a workload is.

    ``reads`` are about how many reads there are, ``rate`` of them in a second of the virtual clock;
    ``share`` is that of flash in the bytes of all ``files``; ``skew`` is the exponent of Zipf's
    law.
    """

    files: int = 2000
    reads: int = 40_000
    rate: int = 100
    share: float = 0.25
    skew: float = 0.9
    sizes: str = "heads"


def zipf(shape: Shape, random: Random) -> Iterator[Use]:
    """Independent reads, the n-th file ``n ** skew`` times as rare as the first."""
    names = _shuffled(range(1, shape.files + 1), random)
    ranks = _ranks(shape.files, shape.skew)
    for _ in range(shape.reads):
        yield names[_draw(ranks, random)], False


def shuffled_epochs(shape: Shape, random: Random) -> Iterator[Use]:
    """Every file once an epoch, in an order of its own each time."""
    for _ in range(_epochs(shape)):
        for ino in _shuffled(range(1, shape.files + 1), random):
            yield ino, False


def sequential_epochs(shape: Shape, random: Random) -> Iterator[Use]:
    """Every file once an epoch, always in the same order."""
    order = _shuffled(range(1, shape.files + 1), random)
    for _ in range(_epochs(shape)):
        for ino in order:
            yield ino, False


def hot_and_scan(shape: Shape, random: Random) -> Iterator[Use]:
    """Reads by Zipf's law of a set that nearly fills flash; in the middle an epoch over all files.

    Every second read is one of the epoch then.
    """
    hot = max(1, int(shape.files * shape.share * FILL))
    ranks = _ranks(hot, shape.skew)
    scanned = iter(range(1, shape.files + 1))
    begin, end = shape.reads // 2, shape.reads // 2 + shape.files
    for number in range(shape.reads):
        yield 1 + _draw(ranks, random), False
        if begin <= number < end:
            yield next(scanned), False


def training_and_ingest(shape: Shape, random: Random) -> Iterator[Use]:
    """Epochs in random order over a set that nearly fills flash, while new files are written.

    One file is written for every read; every second one is read once, a while later.
    """
    trained = max(1, int(shape.files * shape.share * FILL))
    new, awaited = shape.files, []
    order: list[int] = []
    for number in range(shape.reads):
        order = order or _shuffled(range(1, trained + 1), random)
        yield order.pop(), False
        new += 1
        yield new, True
        awaited.append(new)
        if number % 2 and len(awaited) > trained // 10:
            yield awaited.pop(0), False
            awaited.pop(0)


def shifting_set(shape: Shape, random: Random) -> Iterator[Use]:
    """Zipf's law over a window of an eighth of the files, which moves on four times."""
    window = max(1, shape.files // 8)
    ranks = _ranks(window, shape.skew)
    names = _shuffled(range(1, shape.files + 1), random)
    for number in range(shape.reads):
        first = window * (number * 5 // shape.reads)
        yield names[first + _draw(ranks, random)], False


MAKERS: Final[Mapping[str, Callable[[Shape, Random], Iterator[Use]]]] = MappingProxyType(
    {
        "zipf": zipf,
        "shuffled epochs": shuffled_epochs,
        "sequential epochs": sequential_epochs,
        "hot set and a scan": hot_and_scan,
        "training and ingest": training_and_ingest,
        "shifting set": shifting_set,
    }
)
"""The workloads by name."""


def make(name: str, shape: Shape, seed: int) -> Workload:
    """The workload called ``name``; the first pass over what it begins with is not counted."""
    random = Random(f"{name} {seed}")
    uses = list(MAKERS[name](shape, random))
    step = SECOND // shape.rate
    made = [
        Access(number * step, ino, size_of(ino, shape.sizes, seed), write)
        for number, (ino, write) in enumerate(uses)
    ]
    return Workload(name, made, counted_from=min(shape.files, len(made) // 2))


def flash_for(shape: Shape, seed: int) -> int:
    """Bytes of flash: ``share`` of all files that are there from the beginning."""
    stored = sum(size_of(ino, shape.sizes, seed) for ino in range(1, shape.files + 1))
    return int(stored * shape.share)


def size_of(ino: int, sizes: str, seed: int) -> int:
    """Bytes on flash of a file; the same file always has the same."""
    random = Random(f"{ino} {seed}")
    if sizes == "mixed" and random.random() < 1 / 20:
        return random.randrange(HEAD, LARGEST)
    if sizes == "equal" or random.random() < 1 / 2:
        return HEAD
    return random.randrange(SMALLEST, HEAD)


def _epochs(shape: Shape) -> int:
    return max(2, round(shape.reads / shape.files))


def _shuffled(inos: range, random: Random) -> list[int]:
    return random.sample(inos, len(inos))


def _ranks(count: int, skew: float) -> list[float]:
    """Cumulated shares of reads, the most popular first."""
    return list(accumulate(1 / rank**skew for rank in range(1, count + 1)))


def _draw(ranks: list[float], random: Random) -> int:
    return min(bisect(ranks, random.random() * ranks[-1]), len(ranks) - 1)
