"""Sleep to the microsecond on trio's loop.

trio.sleep() is rounded up to whole milliseconds: Python's epoll object takes no finer time-out.
A timerfd(2) becomes readable on time; os.timerfd_create() is there from Python 3.13 only.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

import trio

CLOCK_MONOTONIC: Final = 1
TFD_NONBLOCK: Final = os.O_NONBLOCK
TFD_CLOEXEC: Final = os.O_CLOEXEC
TFD_TIMER_ABSTIME: Final = 1
NANOSECONDS: Final = 1_000_000_000
EXPIRATIONS: Final = 8
"""Bytes of what read(2) gives: how often it expired."""

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """One sleeper at a time; close it in the end.

    Raises:
        OSError: the kernel gave no timer.
    """

    def __init__(self) -> None:
        self._fd = _checked(_LIBC.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC))

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
