"""How long a program waits for one file: for its first bytes, and for all of it."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from tierfs.bench.framework.caches import Coldness
from tierfs.bench.framework.scenario import Better, Figure, Turn
from tierfs.bench.framework.side import Side
from tierfs.bench.mixed import SMALL, File, Mixed, check

FIRST: Final = 64 * 1024
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
        data = os.read(descriptor, FIRST)
    finally:
        os.close(descriptor)
    if file.size <= FIRST:
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
