"""How long a program waits for a file, and an accelerator for its data loader."""

from __future__ import annotations

import math
import os
import statistics
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Semaphore
from typing import ClassVar, Final, NamedTuple

from tests.benchmarks.datasets import SMALL, File, Mixed, check
from tests.benchmarks.machine import Coldness
from tests.benchmarks.scenario import Better, Figure, Side, Turn
from tierfs.common.errors import TierfsError
from tierfs.common.units import KIB

HEAD: Final = 64 * KIB
"""Bytes that are the first of a file; what one read(2) asks for."""
SHARE: Final = 0.99
FIRST_BYTE: Final = "first-byte"
FIRST_WHAT: Final = "first 64KiB"
WHOLE_FILE: Final = "whole-file"
WHOLE_WHAT: Final = "whole file"

ALL: Final = "all files"
SMALL_MEAN: Final = "small files"
SMALL_P99: Final = "small files, p99"
LARGE_MEAN: Final = "large files"
LARGE_P99: Final = "large files, p99"
FIRST_ALL: Final = f"{FIRST_WHAT}, {ALL}"
WHOLE_ALL: Final = f"{WHOLE_WHAT}, {ALL}"
WHOLE_LARGE: Final = f"{WHOLE_WHAT}, {LARGE_MEAN}"
KINDS: Final = (ALL, SMALL_MEAN, SMALL_P99, LARGE_MEAN, LARGE_P99)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Reads every file once in random order, one after the other, with ``read``.

    ``what`` is waited for; the figures are its mean times, and the 99th percentiles.
    """

    name: str
    what: str
    dataset: Mixed
    read: Callable[[File], None]

    @property
    def figures(self) -> Sequence[Figure]:
        """The time of all files, and of small and large ones apart."""
        names = (figure_name(self.what, kind) for kind in KINDS)
        return [Figure(name, "ms", Better.LESS, Coldness.PAGES) for name in names]

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """The milliseconds from open(2) to the last byte asked for."""
        files = self.dataset.ordered(turn.side, turn.number)
        turn.chill()
        waits = turn.timed([partial(waits_for, files, self.read)]).results[0]
        small = [wait for file, wait in zip(files, waits, strict=True) if file.size <= SMALL]
        large = [wait for file, wait in zip(files, waits, strict=True) if file.size > SMALL]
        values = {
            ALL: statistics.mean(waits),
            SMALL_MEAN: statistics.mean(small),
            SMALL_P99: percentile(small, SHARE),
            LARGE_MEAN: statistics.mean(large),
            LARGE_P99: percentile(large, SHARE),
        }
        return {figure_name(self.what, kind): value for kind, value in values.items()}

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""


def first_byte(dataset: Mixed) -> Waiting:
    """The time to the first 64 KiB of a file, or to the whole of a shorter one."""
    return Waiting(FIRST_BYTE, FIRST_WHAT, dataset, read_first)


def whole_file(dataset: Mixed) -> Waiting:
    """The time to the last byte of a file."""
    return Waiting(WHOLE_FILE, WHOLE_WHAT, dataset, read_whole)


def figure_name(what: str, kind: str) -> str:
    """The name of the figure of one kind of files."""
    return f"{what}, {kind}"


def waits_for(files: Sequence[File], read: Callable[[File], None]) -> list[float]:
    """How long ``read`` took for each file, in milliseconds."""
    waits = []
    for file in files:
        began = time.perf_counter_ns()
        read(file)
        waits.append((time.perf_counter_ns() - began) / 1e6)
    return waits


def read_first(file: File) -> None:
    """Open a file and read its first bytes in one call.

    Raises:
        DamageFound: a small file has other bytes than were written.
        OSError: a call failed.
    """
    descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, HEAD)
    finally:
        os.close(descriptor)
    if file.size <= HEAD:
        check(file, data)


def read_whole(file: File) -> None:
    """Open a file and read all of it, as ``open(path, "rb").read()`` does.

    Raises:
        DamageFound: it has other bytes than were written.
        OSError: a call failed.
    """
    with open(file.path, "rb", buffering=0) as opened:
        data = opened.read()
    check(file, data)


def percentile(values: Sequence[float], share: float) -> float:
    """The least of ``values`` that ``share`` of them do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


BUSY: Final = "accelerator busy"
RATE: Final = "images"
DECODED: Final = 128 * KIB
"""Bytes that stand for the pixels of an image: inflating them is what decoding costs."""
STALLED_S: Final = 120.0
_PIXELS: Final = zlib.compress(bytes(range(256)) * (DECODED // 256))
_FORK: Final = get_context("fork")


@dataclass(frozen=True, slots=True)
class Training:
    """``batch`` images a step of ``step_s`` seconds, read by ``workers`` processes."""

    batch: int = 32
    step_s: float = 0.1
    workers: int = 4
    prefetch: int = 2


@dataclass(frozen=True, slots=True)
class Loader:
    """One epoch over the data set in random order, with cold caches."""

    name: str
    dataset: Mixed
    training: Training
    figures: ClassVar = (
        Figure(BUSY, "%", needs=Coldness.PAGES),
        Figure(RATE, "images/s", needs=Coldness.PAGES),
    )

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """The part of the epoch that the accelerator computed, and the images a second."""
        files = self.dataset.ordered(turn.side, turn.number)
        turn.chill()
        batches = split(files, self.training.batch)
        lanes = [Lane.make(self.training.prefetch) for _ in range(self.training.workers)]
        works = [
            partial(load, batches[number :: len(lanes)], lane) for number, lane in enumerate(lanes)
        ]
        try:
            lap = turn.timed([*works, partial(train, lanes, len(batches), self.training.step_s)])
        finally:
            for lane in lanes:
                lane.close()
        busy = len(batches) * self.training.step_s
        return {BUSY: 100 * busy / lap.seconds, RATE: len(files) / lap.seconds}

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""


class Lane(NamedTuple):
    """From a worker to the training loop: a pipe, and how many batches it may have ready."""

    receiving: Connection
    sending: Connection
    room: Semaphore

    @classmethod
    def make(cls, prefetch: int) -> Lane:
        """A lane with room for ``prefetch`` batches; close it in the end."""
        return cls(*_FORK.Pipe(duplex=False), _FORK.Semaphore(prefetch))

    def close(self) -> None:
        """Close both ends."""
        self.receiving.close()
        self.sending.close()


def split(files: Sequence[File], batch: int) -> list[Sequence[File]]:
    """The files in batches; an incomplete last one is dropped."""
    return [files[start : start + batch] for start in range(0, len(files) - batch + 1, batch)]


def load(batches: Sequence[Sequence[File]], lane: Lane) -> int:
    """A worker: read and decode every file of each batch; returns how many.

    Raises:
        DamageFound: a file has other bytes than were written.
        OSError: a call failed.
    """
    for batch in batches:
        lane.room.acquire()
        for file in batch:
            decode(file)
        lane.sending.send(len(batch))
    return sum(map(len, batches))


def decode(file: File) -> int:
    """Read an image, and spend the time that decoding takes; returns the bytes of its pixels."""
    with open(file.path, "rb", buffering=0) as opened:
        data = opened.read()
    check(file, data)
    return len(zlib.decompress(_PIXELS))


def train(lanes: Sequence[Lane], batches: int, step_s: float) -> int:
    """The training loop: a step after each batch; returns the images it got.

    Raises:
        TierfsError: a worker has failed; the others are let go on to their ends.
    """
    images = 0
    for number in range(batches):
        lane = lanes[number % len(lanes)]
        if not lane.receiving.poll(STALLED_S):
            for one in lanes:
                for _ in range(batches):
                    one.room.release()
            raise TierfsError(f"the data loader has read no batch for {STALLED_S:g} s")
        images += lane.receiving.recv()
        lane.room.release()
        time.sleep(step_s)
    return images
