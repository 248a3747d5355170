"""Reports made by hand, and sides whose caches nobody need drop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.machine import Coldness
from tests.benchmarks.report import Machine, Report, Result
from tests.benchmarks.scenario import Better, Figure, Side

MACHINE = Machine("Linux 6.18", "A processor", 2, "3.11", 0.5, {"native": "tmpfs"})
RATE = Figure("first epoch", "files/s", needs=Coldness.KERNEL)
TIME = Figure("time", "ms", Better.LESS)


def as_cold_as(coldness: Coldness) -> Side:
    """A side in the current directory that says how cold it is, and drops nothing."""
    return Side(coldness.name, Path(), lambda _directory: coldness)


def cold_side(name: str, directory: Path) -> Side:
    """A side that claims to be as cold as can be, and drops nothing."""
    return Side(name, directory, lambda _directory: Coldness.KERNEL)


def result(side: str, *samples: float, figure: Figure = RATE, scenario: str = "epoch") -> Result:
    """What was measured on a side."""
    return Result(scenario, figure, side, samples)


def report(*results: Result, baseline: str = "native", remarks: Sequence[str] = ()) -> Report:
    """A report of results."""
    return Report("A title", baseline, 3, None, MACHINE, tuple(results), tuple(remarks))


def medians(made: Report) -> Mapping[tuple[str, str], float]:
    """The median of each figure on each side."""
    return {(one.figure.name, one.side): one.summary.median for one in made.results}
