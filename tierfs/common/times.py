"""Times in nanoseconds since the epoch: the clock, which are kept, and how 64 bits hold them."""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns

Clock = Callable[[], int]
"""Returns nanoseconds since the epoch (CLOCK_REALTIME)."""

system_clock: Clock = time_ns
"""Where the time comes from, unless a test sets it."""

EARLIEST = -(2**31)
"""Seconds, in the year 1901: the first that ext4 and XFS know."""

LATEST = 15_032_385_535
"""Seconds, in the year 2446: the last that ext4 knows (EXT4_EXTRA_TIMESTAMP_MAX)."""

_SECOND = 10**9
_FIRST = EARLIEST * _SECOND
LIMIT = 2**63
"""Nanoseconds: a time below is stored as it is."""

_ALL = 2**64


def nearest(time: int) -> int:
    """The nearest time that is kept; at either end without nanoseconds (timestamp_truncate)."""
    if EARLIEST < time // _SECOND < LATEST:
        return time
    return (EARLIEST if time < 0 else LATEST) * _SECOND


def to_stored(time: int) -> int:
    """A time that is kept, as a signed number of 64 bits: those after 2262 wrap around."""
    return time if time < LIMIT else time - _ALL


def from_stored(stored: int) -> int:
    """The time: there is none before 1901, so a smaller number has wrapped around."""
    return stored if stored >= _FIRST else stored + _ALL
