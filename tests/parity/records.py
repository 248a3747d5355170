"""What the cases about locks share: record locks, and processes that wait for one another."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.parity.harness import Place

SOON = 0.03
"""Seconds after which a process that is to wait most likely does."""

READ, WRITE, NONE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
KINDS = {"read": READ, "write": WRITE, "none": NONE}
NAMES = {number: name for name, number in KINDS.items()}

_LAYOUT = "hhqqi4x"
"""struct flock with offsets of 64 bits: type, whence, start, length, pid."""


class Family(NamedTuple):
    """The three commands of one family of locks."""

    test: int
    lock: int
    wait: int


# fcntl(2); Python has names for the second family since 3.9, and only on some systems.
FAMILIES = {
    "posix": Family(fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW),
    "ofd": Family(36, 37, 38),
}


class Range(NamedTuple):
    """What a lock covers; length 0 is all that follows."""

    start: int = 0
    length: int = 0
    whence: int = os.SEEK_SET


class Found(NamedTuple):
    """What F_GETLK tells: the lock that is in the way, or kind "none" and the range asked for."""

    kind: str
    where: Range
    owner: int
    """1 for a process, -1 for an open file, 0 for none: its number itself is chance."""


def lock(fd: int, command: int, kind: int, where: Range, pid: int = 0) -> Found:
    """One call of fcntl."""
    asked = struct.pack(_LAYOUT, kind, where.whence, where.start, where.length, pid)
    found, whence, start, length, owner = struct.unpack(_LAYOUT, fcntl.fcntl(fd, command, asked))
    return Found(NAMES[found], Range(start, length, whence), (owner > 0) - (owner < 0))


def locked(place: Place, fd: int, family: Family, kind: int, where: Range) -> str:
    """Lock without waiting: "ok" or the errno's name."""
    result = place.attempt(lock, fd, family.lock, kind, where)
    return result if isinstance(result, str) else "ok"


def in_the_way(place: Place, fd: int, family: Family, kind: int, where: Range) -> object:
    """What keeps the lock from being given."""
    return place.attempt(lock, fd, family.test, kind, where)


def in_turn(first: Callable[[], object], second: Callable[[], object]) -> str:
    """Make the first call in a process that ends soon, the second here; whether that waited.

    Only in a child: whatever the calls hold is given back when their process ends.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        first()
        os.write(writing, b"!")
        time.sleep(SOON)
        os.write(writing, struct.pack("d", time.monotonic()))
        os._exit(0)
    os.read(reading, 1)
    second()
    now = time.monotonic()
    os.waitpid(pid, 0)
    return "waited" if now >= struct.unpack("d", os.read(reading, 8))[0] else "did not wait"


def interrupt_soon(seconds: float = SOON) -> None:
    """Have a signal end the call that this process is waiting in then: it fails with EINTR.

    Again and again until Python has seen one, since that which comes just before the call
    begins does not end it.
    """

    def alarm(_number: int, _frame: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise InterruptedError(errno.EINTR, "a signal came")

    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds, SOON)


def waits_for_a_lock(pid: int) -> bool:
    """Whether the process waits for a lock that another holds, as proc_locks(5) shows."""
    lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return any("->" in line and str(pid) in line.split() for line in lines)
