"""The priority of a process for long work: low, but not so low that it starves.

Linux: sched(7), section "The autogroup feature" too; ioprio_set(2).
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

LOW: Final = 10
"""The nice value (setpriority(2)) of work that somebody waits for: a tenth of an ordinary share."""
LOWEST: Final = 19
"""The nice value of all other long work: a seventieth of an ordinary share."""

STARVATION_S: Final = 1.0
MIN_SHARE: Final = 0.25
LONGEST_REST_S: Final = 1.0

_PROC: Final = Path("/proc")
_THREAD: Final = Path("/proc/thread-self")
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
"""The system calls have no wrapper in the C library."""
_SLICE_NS: Final = 100_000
"""The shortest that Linux gives; else it is some milliseconds (fair.c, sysctl_sched_base_slice)."""
_SCHED_ATTR: Final = struct.Struct("=IIQiIQQQ")
"""struct sched_attr, version 0: size, policy, flags, nice, priority, runtime, deadline, period."""
_IDLE_IO: Final = 3 << 13
"""IOPRIO_CLASS_IDLE: the disk when nobody else uses it."""
_WHO_PROCESS: Final = 1
_PR_SET_PDEATHSIG: Final = 1


def scheduled(thread: Path = _THREAD) -> tuple[float, float]:
    """Seconds that this thread ran, and that it waited for a processor (Linux: sched-stats.rst).

    Where Linux does not count them (CONFIG_SCHED_INFO): it never waited.
    """
    try:
        ran, waited, _ = map(int, (thread / "schedstat").read_bytes().split())
    except (OSError, ValueError):
        return time.thread_time(), 0.0
    return ran / 1e9, waited / 1e9


def lower_priority(nice: int = LOWEST, pid: int = 0) -> None:
    """Give a process, or this one, a nice value, idle I/O, and the shortest slice.

    Its session (setsid(2)) is to be its own: Linux may share out processor time by session
    (autogroup), and the session gets the nice value too. Ignores what is not permitted, as in some
    containers.
    """
    _renice(nice, pid)
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        _libc().syscall(number, _WHO_PROCESS, pid, _IDLE_IO)
    _shorten_slice(pid)


def give_way() -> None:
    """Let this process come after others, and be preempted at once; its session stays as it is."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(LOW, os.getpriority(os.PRIO_PROCESS, 0)))
    _shorten_slice(0)


def _shorten_slice(pid: int) -> None:
    """Give a process the shortest slice (sched_setattr(2)): threads that wake up preempt it.

    With a longer one it runs until the slice ends or the next tick comes, whatever its nice value.
    Linux before 6.12 ignores the slice.
    """
    number = _SCHED_SETATTR.get(os.uname().machine)
    with suppress(OSError):
        if number is not None and os.sched_getscheduler(pid) == os.SCHED_OTHER:
            nice = os.getpriority(os.PRIO_PROCESS, pid)
            attributes = _SCHED_ATTR.pack(
                _SCHED_ATTR.size, os.SCHED_OTHER, 0, nice, 0, _SLICE_NS, 0, 0
            )
            _libc().syscall(number, pid, attributes, 0)


def _renice(nice: int, pid: int = 0) -> None:
    # Not SCHED_IDLE: beside it, threads that wake up were seen to wait for the next timer tick
    # (4 ms) before they got the processor (docs/benchmarks.md).
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    # The value of a process counts within its autogroup only: towards other sessions it would still
    # have an ordinary share.
    with suppress(OSError):
        (_PROC / str(pid or "self") / "autogroup").write_text(str(nice))


class StarvationGuard:
    """Keeps a process of the lowest priority from starving where the processors are busy.

    A process that wanted a processor, and got it for less
    than `MIN_SHARE` of that time, gets the nice value `LOW`. Where that is not allowed (it takes
    CAP_SYS_NICE) it continues as it is.
    """

    def __init__(self, scheduled: Callable[[], tuple[float, float]] = scheduled) -> None:
        self._scheduled = scheduled
        self._before = scheduled()

    def check(self) -> bool:
        """Raise the priority where the process starves; returns whether it just did."""
        now = self._scheduled()
        ran, waited = now[0] - self._before[0], now[1] - self._before[1]
        if ran + waited < STARVATION_S:
            return False
        self._before = now
        if ran >= MIN_SHARE * (ran + waited):
            return False
        _renice(LOW)
        return True

    def watch(self) -> None:
        """Check once a second from now on, whatever the process does (SIGALRM)."""
        signal.signal(signal.SIGALRM, lambda _number, _frame: self.check())
        signal.setitimer(signal.ITIMER_REAL, STARVATION_S, STARVATION_S)

    @staticmethod
    def end() -> None:
        """Check no more."""
        signal.setitimer(signal.ITIMER_REAL, 0)


class Pace:
    """Lets long work rest as long as it works, so that others find a processor that is idle.

    A process of the lowest priority makes way, but not for what shares a core with it, nor for the
    memory and the device that it keeps busy. Nor does a thread to others of its process: Python
    lets it go on for a while (sys.setswitchinterval()).
    """

    def __init__(
        self,
        used: Callable[[], float] = time.process_time,
        sleep: Callable[[float], object] = time.sleep,
        step: float = 0.0,
    ) -> None:
        """``used``: the processor time of what is to rest; ``step``: seconds of it at a time."""
        self._used, self._sleep, self._step = used, sleep, step
        self.begin()

    def begin(self) -> None:
        """Count what is worked from now on; in the thread that is to rest, if it is one."""
        self._before = self._used()

    def rest(self) -> None:
        """Sleep as long as was worked since the last rest, if that is a step, in processor time."""
        worked = self._used() - self._before
        if worked > self._step:
            self._sleep(min(worked, LONGEST_REST_S))
            self.begin()


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends (PR_SET_PDEATHSIG, prctl(2))."""
    _libc().prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
