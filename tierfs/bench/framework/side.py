"""What is measured: a directory with a name, and how its caches are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tierfs.bench.framework.caches import Chill, drop_kernel_caches


@dataclass(frozen=True, slots=True)
class Side:
    """A directory to be measured.

    ``chill`` drops its caches. ``daemons`` are processes that serve it, to be pinned with the
    reader; those that hold its FUSE connection are found without being named.
    """

    name: str
    directory: Path
    chill: Chill = drop_kernel_caches
    daemons: tuple[int, ...] = ()


WORK: Final = "tierfs-bench"


def work_directory(side: Side) -> Path:
    """Where a scenario keeps its files: one directory that users find, and may delete."""
    return side.directory / WORK
