"""The page cache is the whole machine's: a test of it has to see whether others emptied it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ATTEMPTS = 8


def undisturbed(scenario: Callable[[], T], prepare: Callable[[], None]) -> T:
    """What `scenario` returns in a run in which nobody wrote to /proc/sys/vm/drop_caches.

    `prepare` is called before each attempt.
    """
    for _ in range(ATTEMPTS):
        prepare()
        before = times_dropped()
        result = scenario()
        if times_dropped() == before:
            return result
    raise AssertionError("other programs on this machine drop its caches all the time")


def times_dropped() -> list[str]:
    """The kernel's own counts."""
    return re.findall(r"^drop_\w+ \d+$", Path("/proc/vmstat").read_text(), re.MULTILINE)
