"""What readers notice of moves at full speed, and whether the mover keeps its rate."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, Protocol

from tests.benchmarks.datasets import Dataset
from tests.benchmarks.scenario import Better, Figure, Side, Turn
from tests.benchmarks.stage import Program, Stage
from tests.benchmarks.waiting import SHARE, percentile
from tierfs.common.errors import DamageFound, TierfsError
from tierfs.common.tierfs_xattrs import PREFIX
from tierfs.common.units import KIB, MIB


class Span(NamedTuple):
    """Something of ``size`` bytes from ``began`` to ``ended``: nanoseconds of CLOCK_MONOTONIC."""

    began: int
    ended: int
    size: int


class _Signal(Protocol):
    def set(self) -> None: ...
    def is_set(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Reader:
    """Opens, reads and closes files of ``size`` bytes at random, resting ``pause_s`` in between.

    A read leaves nothing in the page cache, so that the next one of that file goes to the daemon.
    """

    turn: Turn
    paths: Sequence[bytes]
    size: int
    pause_s: float

    def during(self, work: Callable[[], list[Span]]) -> tuple[list[Span], list[Span]]:
        """The reads that began within what ``work`` returns, and that.

        Raises:
            DamageFound: a file is too short.
            OSError, TierfsError: a call failed, or what ``work`` raised.
        """
        over = multiprocessing.get_context("fork").Event()
        works = [partial(_read_until, over, self), partial(_and_end, over, work)]
        reads, spans = self.turn.timed(works).results
        return [one for one in reads if _within(one, spans)], spans


def at_rest(seconds: float) -> list[Span]:
    """Do nothing for so long."""
    began = time.perf_counter_ns()
    time.sleep(seconds)
    return [Span(began, time.perf_counter_ns(), 0)]


def _within(read: Span, spans: Iterable[Span]) -> bool:
    return any(one.began <= read.began < one.ended for one in spans)


def _and_end(over: _Signal, work: Callable[[], list[Span]]) -> list[Span]:
    try:
        return work()
    finally:
        over.set()


def _read_until(over: _Signal, reader: Reader) -> list[Span]:
    vector, chosen, made = [bytearray(reader.size)], random.Random(reader.turn.number), []
    for path in reader.paths:
        _drop(path)
    while not over.is_set():
        path = chosen.choice(reader.paths)
        began = time.perf_counter_ns()
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        got = os.readv(descriptor, vector)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
        made.append(Span(began, time.perf_counter_ns(), got))
        if got != reader.size:
            raise DamageFound(f"{os.fsdecode(path)}: {got} bytes instead of {reader.size}")
        if reader.pause_s:
            time.sleep(reader.pause_s)
    return made


def _drop(path: bytes) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


NAME: Final = "migration"
MEDIAN: Final = 0.5
P50_IDLE: Final = "read, p50, idle"
P50_MOVING: Final = "read, p50, moving"
P99_IDLE: Final = "read, p99, idle"
P99_MOVING: Final = "read, p99, moving"
P99_RATIO: Final = "p99, moving against idle"
MOVED: Final = "moved"
OF_RATE: Final = "moved, of the rate"
OFF_RATE: Final = "off the rate"

UP: Final = b"all"
DOWN: Final = b"0"
PLANNED_S: Final = 1.5
"""The engine looks for requests every second: so long after the last one it knows them all."""
LEAST_S: Final = 3.0
"""What is to be moved must take so long, or little is left to be measured after ``PLANNED_S``."""
LOOK_S: Final = 0.02
PATIENCE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Pace:
    """``rate`` in bytes a second and files at a time of the mover; what the reader rests, and when.

    The reader rests ``pause_s`` seconds after each read; idle reads are made for ``idle_s``.
    """

    rate: int = 100 * MIB
    concurrency: int = 2
    pause_s: float = 0.001
    idle_s: float = 6.0

    @property
    def policy(self) -> str:
        """A tier policy under which nothing moves but what is asked for, at this rate."""
        return (
            "version: 1\nhead: 64KiB\nmirror: never\n"
            "flash: {high_watermark: 99%, low_watermark: 98%, reserve: 1MiB}\n"
            f"mover: {{rate: {self.rate}B/s, concurrency: {self.concurrency}}}\n"
        )


@dataclass(frozen=True, slots=True)
class Migration:
    """Reads ``small`` files while ``large`` ones are promoted and demoted; each turn does both.

    A turn has idle reads before and after, so that a machine that slows down favours neither.
    """

    pace: Pace = field(default_factory=Pace)
    large: Dataset = field(default_factory=lambda: Dataset(400, MIB))
    small: Dataset = field(default_factory=lambda: Dataset(2000, 32 * KIB))
    name: str = NAME
    figures: ClassVar = (
        *(Figure(name, "ms", Better.LESS) for name in (P50_IDLE, P50_MOVING, P99_IDLE, P99_MOVING)),
        Figure(P99_RATIO, "times", Better.LESS),
        Figure(MOVED, "MiB/s"),
        Figure(OF_RATE, "times"),
        Figure(OFF_RATE, "%", Better.LESS),
    )

    def prepare(self, side: Side) -> None:
        """Make the files, or find them, and bring the large ones to disk."""
        self.small.provide(side)
        self.large.provide(side)
        self._migrated(list(_in_order(self.large, side)), DOWN)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Milliseconds of the reads, and what was moved in a second, promoted and demoted."""
        paths = self.small.ordered(turn.side, turn.number)
        large = list(_in_order(self.large, turn.side))
        rest = partial(at_rest, self.pace.idle_s / 2)
        read = Reader(turn, paths, self.small.size, self.pace.pause_s)
        before, _ = read.during(rest)
        moving, moves = read.during(partial(self._up_and_down, large))
        after, _ = read.during(rest)
        return figures_of([*before, *after], moving, moves, self.pace.rate)

    def finish(self, side: Side) -> None:
        """Nothing: the files stay for the next run."""

    def _up_and_down(self, paths: Sequence[bytes]) -> list[Span]:
        return [self._migrated(paths, prefix) for prefix in (UP, DOWN)]

    def _migrated(self, paths: Sequence[bytes], prefix: bytes) -> Span:
        """Ask for all files, and wait for them; the span begins when the engine knows them all."""
        for path in paths:
            os.setxattr(path, PREFIX, prefix)
        time.sleep(PLANNED_S)
        left = [path for path in paths if os.getxattr(path, PREFIX) != prefix]
        began, deadline = time.perf_counter_ns(), time.monotonic() + PATIENCE_S
        for path in left:
            while os.getxattr(path, PREFIX) != prefix:
                if time.monotonic() > deadline:
                    raise TierfsError(f"{os.fsdecode(path)} is not moved; the mount's log says why")
                time.sleep(LOOK_S)
        return Span(began, time.perf_counter_ns(), len(left) * self.large.size)


def volume(
    stage: Stage, home: Path, name: str, program: Program, pace: Pace, *options: str
) -> Side:
    """A new volume whose mover has this pace, mounted with ``options``.

    Raises:
        TierfsError, OSError: it could not be made.
    """
    policy = home / f"{name}-policy.yaml"
    policy.write_text(pace.policy, encoding="utf-8")
    return stage.volume(home, name, program, *options, settings=f"policy: {policy}\n")


def figures_of(
    idle: Sequence[Span], moving: Sequence[Span], moves: Sequence[Span], rate: int
) -> dict[str, float]:
    """A value for each figure: of idle reads, of those while bytes were moved, and of the moves.

    Raises:
        TierfsError: everything was moved before it could be measured.
    """
    if not moving or not all(one.size for one in moves):
        raise TierfsError("all was moved before it was measured: more files, or a lower rate")
    idle_ms, moving_ms = _milliseconds(idle), _milliseconds(moving)
    shares = [_a_second([one]) / rate for one in moves]
    p99_idle, p99_moving = percentile(idle_ms, SHARE), percentile(moving_ms, SHARE)
    return {
        P50_IDLE: percentile(idle_ms, MEDIAN),
        P50_MOVING: percentile(moving_ms, MEDIAN),
        P99_IDLE: p99_idle,
        P99_MOVING: p99_moving,
        P99_RATIO: p99_moving / p99_idle,
        MOVED: _a_second(moves) / MIB,
        OF_RATE: _a_second(moves) / rate,
        OFF_RATE: 100 * max(abs(share - 1) for share in shares),
    }


def _a_second(moves: Sequence[Span]) -> float:
    taken = sum(one.ended - one.began for one in moves)
    return sum(one.size for one in moves) / (taken / 1e9)


def _milliseconds(reads: Iterable[Span]) -> list[float]:
    return [(one.ended - one.began) / 1e6 for one in reads]


def _in_order(dataset: Dataset, side: Side) -> Iterable[bytes]:
    """As they were made, which is the order in which the mover takes them."""
    return (os.fsencode(dataset.root(side) / name) for name in dataset.names())
