"""What is measured: sides, figures, scenarios."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Protocol, TypeVar

from tests.benchmarks.machine import Chill, Coldness, drop_kernel_caches
from tests.benchmarks.processes import Lap


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


T = TypeVar("T")


class Better(Enum):
    """Which direction of a figure is the good one."""

    MORE = "more"
    LESS = "less"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a scenario measures.

    ``unit`` is what the values are in, such as ``files/s``, ``MiB/s``, ``ms`` or ``%``. ``needs``
    is how cold the caches must have been for the value to mean what its name says: on a side that
    cannot be made so cold the figure is left out, with a remark.
    """

    name: str
    unit: str
    better: Better = Better.MORE
    needs: Coldness = Coldness.WARM


def rate(name: str, unit: str, needs: Coldness = Coldness.WARM) -> tuple[Figure, Figure]:
    """The figures of what is done again and again: how often, and what it takes of all processors.

    The second, microseconds of client and daemon together for each time, is the one to look at on
    a machine that does other work meanwhile.
    """
    used = Figure(processor(name), "µs", Better.LESS, needs)
    return Figure(name, unit, needs=needs), used


def processor(name: str) -> str:
    """The name of the second figure of a rate."""
    return f"{name}, processor"


def rated(name: str, count: float, lap: Lap[T]) -> dict[str, float]:
    """The values of a `rate` when it was done ``count`` times in a lap."""
    return {name: count / lap.seconds, processor(name): lap.processor / count * 1e6}


class Turn(Protocol):
    """One run of a scenario on one side; made by the runner."""

    @property
    def side(self) -> Side:
        """The side whose turn it is."""

    @property
    def number(self) -> int:
        """Which turn of this side it is, from 0; good as a seed that is equal on all sides."""

    def chill(self) -> Coldness:
        """Drop the side's caches; returns how cold they are now. May be called more than once.

        Raises:
            TierfsError: a command that was to remount the side failed.
        """

    def timed(self, works: Sequence[Callable[[], T]]) -> Lap[T]:
        """Run each of ``works`` in a process of its own, all at once, pinned as asked for.

        What the side's daemons ran meanwhile counts as processor time of the lap.

        Raises:
            OSError: what a work raised.
        """


class Scenario(Protocol):
    """A workload. ``name`` is that of the verb; figures are unique within it."""

    @property
    def name(self) -> str:
        """A word or two, such as ``epoch``."""

    @property
    def figures(self) -> Sequence[Figure]:
        """What ``run`` may return values for, in the order of the report."""

    def prepare(self, side: Side) -> None:
        """Make what is needed below the side's directory, or find it there. Once for each side.

        Raises:
            TierfsError: there is not enough room, or the directory cannot be used.
            OSError: a call failed.
        """

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Measure once: a value for each figure by name, but for those the side cannot do.

        A figure must be there in every turn of a side, or in none.

        Raises:
            OSError: a call failed.
        """

    def finish(self, side: Side) -> None:
        """Remove what must not stay; called for every prepared side, also after a failure."""
