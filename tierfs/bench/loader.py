"""A training loop that waits for its data loader, and how busy that leaves the accelerator.

It is arranged as in PyTorch's DataLoader: batch N belongs to worker N modulo W, each worker reads
and decodes its batches one after the other and has at most ``prefetch`` of them ready, and the
training loop takes the batches in their order. Each is followed by a step of fixed length, in
which the accelerator computes and needs no processor.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Semaphore
from typing import ClassVar, Final, NamedTuple

from tierfs.base.errors import TierfsError
from tierfs.base.units import KIB
from tierfs.bench.framework.caches import Coldness
from tierfs.bench.framework.scenario import Figure, Turn
from tierfs.bench.framework.side import Side
from tierfs.bench.mixed import File, Mixed, check

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
