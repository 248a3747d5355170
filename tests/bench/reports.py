"""Reports made by hand, and sides whose caches nobody need drop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tierfs.bench.framework.caches import Coldness
from tierfs.bench.framework.machine import Machine
from tierfs.bench.framework.report import Report
from tierfs.bench.framework.result import Result
from tierfs.bench.framework.scenario import Better, Figure
from tierfs.bench.framework.side import Side

MACHINE = Machine("Linux 6.18", "A processor", 2, "3.11", 0.5, {"native": "tmpfs"})
RATE = Figure("first epoch", "files/s", needs=Coldness.KERNEL)
TIME = Figure("time", "ms", Better.LESS)


def as_cold_as(coldness: Coldness) -> Side:
    """A side in the current directory that says how cold it is, and drops nothing."""
    return Side(coldness.name, Path(), lambda _directory: coldness)


def cold_side(name: str, directory: Path) -> Side:
    """A side that claims to be as cold as can be, and drops nothing."""
    return Side(name, directory, lambda _directory: Coldness.DAEMON)


def result(side: str, *samples: float, figure: Figure = RATE, scenario: str = "epoch") -> Result:
    """What was measured on a side."""
    return Result(scenario, figure, side, samples)


def report(*results: Result, baseline: str = "native", remarks: Sequence[str] = ()) -> Report:
    """A report of results."""
    return Report("A title", baseline, 3, None, MACHINE, tuple(results), tuple(remarks))


def medians(made: Report) -> Mapping[tuple[str, str], float]:
    """The median of each figure on each side."""
    return {(one.figure.name, one.side): one.summary.median for one in made.results}
