"""The priority of a process for long work: low, but not so low that it starves.

Linux: sched(7), ioprio_set(2).
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

NICE: Final = 10
"""The nice value (setpriority(2)) of long work: a tenth of an ordinary share."""

STARVATION_S: Final = 5.0
MIN_SHARE: Final = 0.05

_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
"""The system call has no wrapper in the C library."""
_IDLE_IO: Final = 3 << 13
"""IOPRIO_CLASS_IDLE: the disk when nobody else uses it."""
_WHO_PROCESS: Final = 1
_PR_SET_PDEATHSIG: Final = 1


def lower_priority(*, idle: bool) -> None:
    """Lower the priority of this process; ``idle``: run only when a processor is idle.

    Ignores what is not permitted, as in some containers.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    if idle:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        _libc().syscall(number, _WHO_PROCESS, 0, _IDLE_IO)


class StarvationGuard:
    """Keeps a process at idle priority from starving where no processor is ever idle.

    `check` is to be called now and then. A process that got less than `MIN_SHARE` of the last
    seconds leaves idle priority and keeps its nice value. Where that is not allowed (only root
    may leave SCHED_IDLE at such a nice value, sched(7)) it goes on as it is.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        self._monotonic, self._used = monotonic, used
        self._since = monotonic(), used()

    def check(self) -> bool:
        """Leave idle priority where the process starves; returns whether it just did."""
        since, before = self._since
        now, used = self._monotonic(), self._used()
        if now - since < STARVATION_S:
            return False
        self._since = now, used
        if used - before >= MIN_SHARE * (now - since):
            return False
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        return True


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends (PR_SET_PDEATHSIG, prctl(2))."""
    _libc().prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
