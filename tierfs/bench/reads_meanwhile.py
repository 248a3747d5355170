"""Reads that are timed one by one while something else is done, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from tierfs.base.errors import DamageFound
from tierfs.bench.framework.scenario import Turn


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
