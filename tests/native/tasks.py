"""The threads of this process, by their ids: one of an earlier test may still be on its way out."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support.proc import wait_until

TASKS: Final = Path("/proc/self/task")


def threads() -> set[int]:
    """The ids of all there are."""
    return {int(task.name) for task in TASKS.iterdir()}


def threads_since(before: set[int]) -> int:
    """How many have begun since and have not ended."""
    return len(threads() - before)


def wait_for_their_end(before: set[int]) -> None:
    """Until none is left that began since: pthread_join(3) is a moment ahead of /proc."""
    wait_until(lambda: not threads_since(before), what="threads are left")
