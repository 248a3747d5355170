"""What memory the machine has to spare for what is read ahead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

PART: Final = 4
"""A quarter: programs and what else is read need the rest."""

_GROUPS: Final = Path("/sys/fs/cgroup")
_KIB: Final = 1024


def memory_for_windows(proc: Path = Path("/proc"), groups: Path = _GROUPS) -> int:
    """Bytes: a part of the machine's memory, or of what this process's control groups allow.

    Raises:
        OSError: /proc cannot be read.
    """
    return min(_limits(proc, groups)) // PART


def _limits(proc: Path, groups: Path) -> Iterator[int]:
    lines = (proc / "meminfo").read_text("ascii").splitlines()
    yield next(int(line.split()[1]) * _KIB for line in lines if line.startswith("MemTotal:"))
    for line in (proc / "self/cgroup").read_text("utf-8").splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":  # the second version of control groups: cgroups(7)
            group = groups / path.lstrip("/")
            while group.is_relative_to(groups):
                with suppress(OSError, ValueError):  # "max" is no limit
                    yield int((group / "memory.max").read_text("ascii"))
                group = group.parent
