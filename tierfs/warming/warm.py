"""Names in, a tally out: the parts of this package put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from threading import Event
from typing import Final

from tierfs.warming.caches import is_name_cached
from tierfs.warming.crew import Crew
from tierfs.warming.files import Files
from tierfs.warming.heads import Heads
from tierfs.warming.names import Names
from tierfs.warming.order import WINDOW, in_disk_order
from tierfs.warming.tally import Tally

JOBS: Final = 16
"""Files read at once: enough for a disk to choose the nearest, few enough to stay in order.

The kernel passes 12 reads on at a time unless told otherwise (max_background,
Documentation/filesystems/fuse.rst).
"""

Watch = Callable[[Tally], None]
"""Called several times a second with the figures so far."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with each file."""

    tails: bool = False
    check: bool = False
    """Only look."""
    jobs: int = JOBS
    window: int = WINDOW
    """Files sorted at a time."""


def warm(paths: Sequence[bytes], listed: Iterable[bytes], plan: Plan, watch: Watch) -> Tally:
    """Warm, or look at, the files of ``paths``, in and below its directories, and of a list.

    Ctrl-C ends it early, with a tally of what was done.

    Raises:
        NotMounted: one of ``paths`` lies in no tierfs mount, or a daemon is gone.
        UsageError: the list cannot be one.
        OSError: the list cannot be read.
    """
    tally, heads, stopped = Tally(), Heads(), Event()
    names = Names(heads, tally, is_name_cached if plan.check else lambda _: False)
    every = chain(names.below(names.arguments(paths)), names.listed(listed))
    found = takewhile(lambda _: not stopped.is_set(), every)
    files = Files(heads, tally, tails=plan.tails, stopped=stopped.is_set)
    work = files.check if plan.check else files.warm
    try:
        Crew(in_disk_order(found, plan.window), work, plan.jobs, stopped).run(lambda: watch(tally))
    except KeyboardInterrupt:
        tally.interrupted = True
    return tally
