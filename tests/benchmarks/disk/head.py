"""The head of the simulated disk: reads and writes wait in a queue as long as it takes for them."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Final

import trio

from tests.benchmarks.disk.layout import Layout
from tests.benchmarks.disk.model import Request, SimulatedDisk

CLOCK_MONOTONIC: Final = 1
TFD_TIMER_ABSTIME: Final = 1
NANOSECONDS: Final = 1_000_000_000
EXPIRATIONS: Final = 8
"""Bytes of what read(2) gives: how often it expired."""
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Head:
    """The one head of a disk: a task that serves the queue, and sleeps as long as it says."""

    def __init__(self, disk: SimulatedDisk, layout: Layout) -> None:
        self._disk = disk
        self._layout = layout
        self._waiting: dict[Request, trio.Event] = {}
        self._work = trio.Event()

    async def read(self, ino: int, offset: int, length: int) -> None:
        """Return when the head has read these bytes of a file."""
        for run in self._layout.runs(ino, offset, length):
            await self._done(self._disk.read(time.monotonic(), run.address, run.length))

    async def write(self, ino: int, offset: int, length: int) -> None:
        """Return when the disk has taken these bytes of a file in."""
        self._layout.wrote(ino, offset, length)
        await self._done(self._disk.write(time.monotonic(), length))

    async def _done(self, request: Request) -> None:
        self._waiting[request] = done = trio.Event()
        self._work.set()
        await done.wait()

    async def serve(self) -> None:
        """Serve waiting requests one after the other, until cancelled."""
        timer = Timer()
        try:
            while True:
                await self._work.wait()
                while turn := self._disk.next(time.monotonic(), self._layout.end):
                    if turn.done_at > time.monotonic():
                        await timer.until(turn.done_at)
                    self._waiting.pop(turn.request).set()
                self._work = trio.Event()
        finally:
            timer.close()


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """Sleeps to the microsecond, one sleeper at a time; close it in the end.

    trio.sleep() is rounded up to whole milliseconds: Python's epoll object takes no finer time-out.
    A timerfd(2) becomes readable on time; os.timerfd_create() is there from Python 3.13 only.
    """

    def __init__(self) -> None:
        """Raises OSError when the kernel gives no timer."""
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._fd = _checked(_LIBC.timerfd_create(CLOCK_MONOTONIC, flags))

    def close(self) -> None:
        """Let go of the timer."""
        os.close(self._fd)

    async def until(self, deadline: float) -> None:
        """Return when time.monotonic() is past ``deadline`` (seconds), at once if it is."""
        seconds, nanoseconds = divmod(max(1, round(deadline * NANOSECONDS)), NANOSECONDS)
        when = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
        _checked(_LIBC.timerfd_settime(self._fd, TFD_TIMER_ABSTIME, ctypes.byref(when), None))
        await trio.lowlevel.wait_readable(self._fd)
        os.read(self._fd, EXPIRATIONS)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
