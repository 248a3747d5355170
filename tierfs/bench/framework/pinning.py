"""Keep the daemons of the measured mounts on one core, every thread of them.

Unpinned, each request wakes a daemon on another core that may be asleep, which on virtual
machines costs more than the work; pinned, client and daemon share one core. Both are worth knowing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from tierfs.base.errors import TierfsError, UsageError
from tierfs.bench.framework.daemons import PROC


class Pin:
    """Moves processes to one core and, in the end, back to where they were allowed before."""

    def __init__(self, core: int) -> None:
        self.core = core
        self._before: dict[int, set[int]] = {}

    def apply(self, pids: Iterable[int]) -> None:
        """Pin every thread of each process, as ``taskset -a -p`` does; new ones inherit it.

        Raises:
            TierfsError: a process belongs to somebody else.
        """
        for pid in pids:
            with suppress(ProcessLookupError):
                self._before.setdefault(pid, os.sched_getaffinity(pid))
                _move(pid, {self.core})

    def undo(self) -> None:
        """Let the processes run where they could before."""
        for pid, cores in self._before.items():
            with suppress(ProcessLookupError):
                _move(pid, cores)
        self._before.clear()


@contextmanager
def pinned(core: int | None) -> Iterator[Pin | None]:
    """A pin on ``core``, undone in the end; with None nothing is pinned.

    Raises:
        UsageError: this process may not use that core.
    """
    if core is None:
        yield None
        return
    usable = os.sched_getaffinity(0)
    if core not in usable:
        raise UsageError(f"core {core} cannot be used here; choose one of {sorted(usable)}")
    pin = Pin(core)
    try:
        yield pin
    finally:
        pin.undo()


def _move(pid: int, cores: set[int]) -> None:
    try:
        for task in (PROC / str(pid) / "task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), cores)
    except FileNotFoundError:
        return
    except PermissionError:
        raise TierfsError(f"process {pid} belongs to another user; pin it as root") from None
