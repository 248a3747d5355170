"""Processes: those that serve a mount, pinning them to a core, and forked readers."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import resource
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar, cast

from tierfs.common.errors import TierfsError, UsageError

PROC: Final = Path("/proc")
FUSE_DEVICE: Final = "/dev/fuse"
LOOK_S: Final = 0.05
QUIET: Final = 0.02
"""The share of a core, over `LOOK_S`, below which processes are at rest."""
SETTLE_S: Final = 3.0
_CONNECTION: Final = re.compile(r"^fuse_connection:\s*(\d+)$", re.MULTILINE)


def daemons_of(directory: Path) -> frozenset[int]:
    """The processes that hold the FUSE connection of the filesystem that ``directory`` lies in.

    fs/fuse/dev.c writes the connection's number, the minor number of the mount's device, into
    /proc/PID/fdinfo (kernel 6.12). Older kernels, and users who may not look, get none.
    """
    wanted = str(os.minor(directory.stat().st_dev))
    found = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal())
    return frozenset(pid for pid in found if wanted in set(_connections(pid)))


def processor_seconds(pid: int) -> float:
    """What all threads of a process have run so far, also those that ended; 0 when it has ended.

    The number of the clock is that of clock_getcpuclockid(3), which Python has for threads only
    (linux/posix-timers_types.h: CPUCLOCK_SCHED of a process).
    """
    with suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


def settle(pids: Collection[int], seconds: float = SETTLE_S) -> None:
    """Return when the processes are at rest, after ``seconds`` at the latest.

    Dropped caches leave work behind: the kernel tells a FUSE daemon of every inode that it forgot
    (FUSE_FORGET), in the background, and all mounts are told, not only the one to be measured.
    """
    deadline = time.monotonic() + seconds
    used = sum(map(processor_seconds, pids))
    while pids and time.monotonic() < deadline:
        time.sleep(LOOK_S)
        before, used = used, sum(map(processor_seconds, pids))
        if used - before < LOOK_S * QUIET:
            return


def _connections(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for entry in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                if os.fspath(entry.readlink()) == FUSE_DEVICE:
                    text = (PROC / str(pid) / "fdinfo" / entry.name).read_text(encoding="ascii")
                    yield from _CONNECTION.findall(text)


class Pin:
    """Moves processes to one core and, in the end, back to where they were allowed before."""

    def __init__(self, core: int) -> None:
        self.core = core
        self._before: dict[int, set[int]] = {}

    def apply(self, pids: Iterable[int]) -> None:
        """Pin every thread of each process, as ``taskset -a -p`` does; new ones inherit it.

        Raises:
            TierfsError: a process belongs to somebody else.
        """
        for pid in pids:
            with suppress(ProcessLookupError):
                self._before.setdefault(pid, os.sched_getaffinity(pid))
                _move(pid, {self.core})

    def undo(self) -> None:
        """Let the processes run where they could before."""
        for pid, cores in self._before.items():
            with suppress(ProcessLookupError):
                _move(pid, cores)
        self._before.clear()


@contextmanager
def pinned(core: int | None) -> Iterator[Pin | None]:
    """A pin on ``core``, undone in the end; with None nothing is pinned.

    Raises:
        UsageError: this process may not use that core.
    """
    if core is None:
        yield None
        return
    usable = os.sched_getaffinity(0)
    if core not in usable:
        raise UsageError(f"core {core} cannot be used here; choose one of {sorted(usable)}")
    pin = Pin(core)
    try:
        yield pin
    finally:
        pin.undo()


def _move(pid: int, cores: set[int]) -> None:
    try:
        for task in (PROC / str(pid) / "task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), cores)
    except FileNotFoundError:
        return
    except PermissionError:
        raise TierfsError(f"process {pid} belongs to another user; pin it as root") from None


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
