"""Reads of names, attributes and bytes: epochs, lookups, walks, streams."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from tests.benchmarks.datasets import ABSENT, LABEL, LABEL_VALUE, Dataset
from tests.benchmarks.loops import (
    get_xattrs,
    miss_xattrs,
    read_at,
    read_files,
    read_stream,
    stat_files,
    walk,
    write_stream,
)
from tests.benchmarks.machine import Coldness, require_room
from tests.benchmarks.scenario import Figure, Side, Turn, rate, rated, work_directory
from tierfs.common.units import GIB, KIB, MIB

FIRST_EPOCH: Final = "first epoch"
EPOCH_AGAIN: Final = "epoch again"
SEEDS: Final = 1000
"""More than there are turns: the orders of an epoch and of the next one never meet."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """``readers`` processes share each epoch; ``seed`` decides the orders, equal on all sides."""

    dataset: Dataset
    readers: int = 1
    seed: int = 0
    name: str = "epoch"
    figures: ClassVar = (
        *rate(FIRST_EPOCH, "files/s", Coldness.KERNEL),
        *rate(EPOCH_AGAIN, "files/s"),
    )

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """One epoch with cold caches, and one more."""
        turn.chill()
        seed = self.seed * SEEDS * 2 + turn.number
        return self._rate(turn, FIRST_EPOCH, seed) | self._rate(turn, EPOCH_AGAIN, seed + SEEDS)

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""

    def _rate(self, turn: Turn, figure: str, seed: int) -> dict[str, float]:
        paths = self.dataset.ordered(turn.side, seed)
        shares = [paths[number :: self.readers] for number in range(self.readers)]
        lap = turn.timed([partial(read_files, share, self.dataset.size) for share in shares])
        return rated(figure, len(paths), lap)


LOOKUP: Final = "first lookup"
STAT: Final = "stat again"
XATTR: Final = "getxattr, set"
NO_XATTR: Final = "getxattr, absent"
COLD_WALK: Final = "first walk"
WALK: Final = "walk again"


@dataclass(frozen=True, slots=True)
class Metadata:
    """Paths one after the other in an order that ``seed`` decides, equal on all sides."""

    dataset: Dataset
    seed: int = 0
    name: str = "metadata"
    figures: ClassVar = (
        *rate(LOOKUP, "files/s", Coldness.KERNEL),
        *rate(STAT, "files/s"),
        *rate(XATTR, "files/s"),
        *rate(NO_XATTR, "files/s"),
    )

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Look all files up with cold caches, and ask for their attributes after that."""
        turn.chill()
        paths = self.dataset.ordered(turn.side, self.seed + turn.number)
        look = partial(stat_files, paths, self.dataset.size)
        values = _files_a_second(turn, LOOKUP, look) | _files_a_second(turn, STAT, look)
        if self.dataset.has_labels(turn.side):
            values |= _files_a_second(turn, XATTR, partial(get_xattrs, paths, LABEL, LABEL_VALUE))
            values |= _files_a_second(turn, NO_XATTR, partial(miss_xattrs, paths, ABSENT))
        return values

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""


@dataclass(frozen=True, slots=True)
class Walks:
    """The whole tree in the order of its directories, with the attributes of every file."""

    dataset: Dataset
    name: str = "walk"
    figures: ClassVar = (
        *rate(COLD_WALK, "files/s", Coldness.KERNEL),
        *rate(WALK, "files/s"),
    )

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Walk with cold caches, and once more."""
        turn.chill()
        work = partial(walk, os.fsencode(self.dataset.root(turn.side)))
        return _files_a_second(turn, COLD_WALK, work) | _files_a_second(turn, WALK, work)

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""


def _files_a_second(turn: Turn, figure: str, work: Callable[[], int]) -> dict[str, float]:
    """Files a second, and the processors' time; every work returns how many it did."""
    lap = turn.timed([work])
    return rated(figure, lap.results[0], lap)


STEP: Final = MIB
"""Bytes in each call of a sequential read or write."""
RANDOM_STEP: Final = 64 * KIB
RANDOM_READS: Final = 2000
STREAM_WRITE: Final = "write"
FIRST_READ: Final = "first read"
SECOND_READ: Final = "second read"
THIRD_READ: Final = "third read"
RANDOM_READS_OF_64K: Final = "random 64KiB reads"


@dataclass(frozen=True, slots=True)
class Stream:
    """A file of ``size`` bytes, a multiple of 1 MiB; ``seed`` says where the random reads are."""

    size: int = GIB
    seed: int = 0
    name: str = "stream"
    figures: ClassVar = (
        Figure(STREAM_WRITE, "MiB/s"),
        Figure(FIRST_READ, "MiB/s", needs=Coldness.PAGES),
        Figure(SECOND_READ, "MiB/s"),
        Figure(THIRD_READ, "MiB/s"),
        Figure(RANDOM_READS_OF_64K, "MiB/s", needs=Coldness.PAGES),
    )

    def prepare(self, side: Side) -> None:
        """Make the file that is read, or find it; it is filled with noise."""
        path = self._path(side)
        with suppress(FileNotFoundError):
            if path.stat().st_size == self.size:
                return
        # One file to read, and one that each turn writes.
        require_room(side.directory, 2, self.size)
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        write_stream(os.fsencode(part), self.size, self._noise())
        part.replace(path)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Write a file, and read another: from cold caches, twice more, and at random from cold."""
        path = os.fsencode(self._path(turn.side))
        read = partial(read_stream, path, self.size, STEP)
        values = {STREAM_WRITE: self._write(turn)}
        turn.chill()
        values |= {
            name: _mib_a_second(turn, read) for name in (FIRST_READ, SECOND_READ, THIRD_READ)
        }
        turn.chill()
        values[RANDOM_READS_OF_64K] = _mib_a_second(
            turn, partial(read_at, path, self._offsets(turn), RANDOM_STEP)
        )
        return values

    def finish(self, side: Side) -> None:
        """Remove what an interrupted turn was writing; the file that is read stays."""
        for path in (self._written(side), self._path(side).with_suffix(".part")):
            path.unlink(missing_ok=True)

    def _write(self, turn: Turn) -> float:
        """MiB/s of a new file, without fsync(2)."""
        path = self._written(turn.side)
        work = partial(write_stream, os.fsencode(path), self.size, self._noise())
        try:
            return _mib_a_second(turn, work)
        finally:
            path.unlink(missing_ok=True)

    def _offsets(self, turn: Turn) -> list[int]:
        places = range(self.size // RANDOM_STEP)
        count = min(RANDOM_READS, len(places))
        chosen = random.Random(self.seed + turn.number).sample(places, count)
        return [place * RANDOM_STEP for place in chosen]

    def _noise(self) -> bytes:
        return random.Random(self.seed).randbytes(STEP)

    def _path(self, side: Side) -> Path:
        return work_directory(side) / f"stream-{self.size}.bin"

    def _written(self, side: Side) -> Path:
        return work_directory(side) / f"stream-written-{os.getpid()}.bin"


def _mib_a_second(turn: Turn, work: Callable[[], int]) -> float:
    """MiB a second; every work returns how many bytes it did."""
    lap = turn.timed([work])
    return lap.results[0] / MIB / lap.seconds
