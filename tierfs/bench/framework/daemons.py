"""The processes that serve FUSE mounts, and what they are doing."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

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
