"""Reader processes: forked, started together, timed from the first start to the last end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final, Generic, NamedTuple, TypeVar, cast

from tierfs.base.errors import TierfsError

T = TypeVar("T")

_FORK: Final = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Lap(Generic[T]):
    """What works took together, from the start of the first to the end of the last.

    ``results`` are what they returned, in their order; ``processor`` is how long processors ran
    for them, in seconds.
    """

    seconds: float
    results: tuple[T, ...]
    processor: float


@dataclass(frozen=True, slots=True)
class _Done(Generic[T]):
    """What one reader reports: nanoseconds of CLOCK_MONOTONIC, which all processes share."""

    began: int
    ended: int
    processor: float
    result: T


class _Gun(NamedTuple):
    """Starts all readers at once: they wait for the end of a pipe that nobody writes to."""

    waiting: Connection
    holding: Connection

    def wait(self) -> None:
        """Return when the parent has let go. Each reader has a copy of its end, to be closed."""
        self.holding.close()
        self.waiting.poll(None)


def run_readers(works: Sequence[Callable[[], T]], core: int | None = None) -> Lap[T]:
    """Run each of ``works`` in a process of its own, all at once, on ``core`` if it is given.

    Raises:
        OSError, TierfsError: what a work raised; the others are stopped.
        TierfsError: a reader was killed, or a work failed with something else.
    """
    gun = _Gun(*_FORK.Pipe(duplex=False))
    pipes = [_FORK.Pipe(duplex=False) for _ in works]
    readers = [
        _FORK.Process(target=_read, args=(work, core, gun, sending))
        for work, (_, sending) in zip(works, pipes, strict=True)
    ]
    try:
        for reader, (receiving, sending) in zip(readers, pipes, strict=True):
            reader.start()
            sending.close()
            _received(receiving)  # it is ready
        gun.holding.close()
        done = [cast("_Done[T]", _received(receiving)) for receiving, _ in pipes]
    finally:
        _clear(readers, [*gun, *(end for ends in pipes for end in ends)])
    began, ended = min(one.began for one in done), max(one.ended for one in done)
    processor = sum(one.processor for one in done)
    return Lap((ended - began) / 1e9, tuple(one.result for one in done), processor)


def _clear(readers: Iterable[BaseProcess], ends: Iterable[Connection]) -> None:
    """Nobody is left running, and nothing open."""
    for reader in readers:
        if reader.pid is not None:
            reader.kill()
            reader.join()
            reader.close()
    for end in ends:
        end.close()


def _read(work: Callable[[], T], core: int | None, gun: _Gun, sending: Connection) -> None:
    """The whole life of a reader. The collector would count the parent's objects as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.disable()
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        sending.send(None)
        gun.wait()
        began, used = time.perf_counter_ns(), _processor_seconds()
        result = work()
        ended = time.perf_counter_ns()
        sending.send(_Done(began, ended, _processor_seconds() - used, result))
    except (OSError, TierfsError) as error:
        sending.send(error)
    except Exception as error:  # noqa: BLE001 - it is raised again in the parent
        sending.send(TierfsError(f"a reader failed: {type(error).__name__}: {error}"))


def _processor_seconds() -> float:
    """Of this process, and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _received(receiving: Connection) -> object:
    """What a reader sent: None when it is ready, then what it did; an exception is raised."""
    try:
        said = receiving.recv()
    except EOFError:
        raise TierfsError("a reader process was killed; is there enough memory?") from None
    if isinstance(said, Exception):
        raise said
    told: object = said
    return told
