"""One large file: written, read from start to end three times, and read here and there."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from tierfs.base.units import GIB, KIB, MIB
from tierfs.bench.framework.caches import Coldness
from tierfs.bench.framework.scenario import Figure, Turn
from tierfs.bench.framework.side import Side, work_directory
from tierfs.bench.loops import read_at, read_stream, write_stream
from tierfs.bench.room import require_room

STEP: Final = MIB
"""Bytes in each call of a sequential read or write."""
RANDOM_STEP: Final = 64 * KIB
RANDOM_READS: Final = 2000
WRITE: Final = "write"
FIRST: Final = "first read"
SECOND: Final = "second read"
THIRD: Final = "third read"
RANDOM: Final = "random 64KiB reads"
UNIT: Final = "MiB/s"


@dataclass(frozen=True, slots=True)
class Stream:
    """A file of ``size`` bytes, a multiple of 1 MiB; ``seed`` says where the random reads are."""

    size: int = GIB
    seed: int = 0
    name: str = "stream"
    figures: ClassVar = (
        Figure(WRITE, UNIT),
        Figure(FIRST, UNIT, needs=Coldness.PAGES),
        Figure(SECOND, UNIT),
        Figure(THIRD, UNIT),
        Figure(RANDOM, UNIT, needs=Coldness.PAGES),
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
        values = {WRITE: self._write(turn)}
        turn.chill()
        values |= {name: _rate(turn, read) for name in (FIRST, SECOND, THIRD)}
        turn.chill()
        values[RANDOM] = _rate(turn, partial(read_at, path, self._offsets(turn), RANDOM_STEP))
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
            return _rate(turn, work)
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


def _rate(turn: Turn, work: Callable[[], int]) -> float:
    """MiB a second; every work returns how many bytes it did."""
    lap = turn.timed([work])
    return lap.results[0] / MIB / lap.seconds
