"""How Linux schedules a thread."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import struct
from typing import Final

SHORTEST_SLICE_NS: Final = 100_000
"""fair.c, __setparam_fair()."""

_SCHED_GETATTR: Final = {"x86_64": 315, "aarch64": 275}
_SCHED_ATTR: Final = struct.Struct("=IIQiIQQQ")


def slice_of(thread: int) -> int:
    """Nanoseconds for which a thread runs in one piece, sched_getattr(2); before Linux 6.12: 0."""
    given = ctypes.create_string_buffer(_SCHED_ATTR.size)
    number = _SCHED_GETATTR[platform.machine()]
    if ctypes.CDLL(None, use_errno=True).syscall(number, thread, given, len(given), 0):
        raise OSError(ctypes.get_errno(), f"sched_getattr of {thread}")
    runtime: int = _SCHED_ATTR.unpack(given.raw)[5]
    return runtime


def shortest_slice() -> int:
    """What `slice_of` returns where it was made as short as possible."""
    version = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    return SHORTEST_SLICE_NS if version >= (6, 12) else 0
