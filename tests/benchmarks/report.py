"""Results, their ratios and spread, and the conditions they were got under."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks.machine import filesystem_of
from tests.benchmarks.scenario import Better, Figure, Side


@dataclass(frozen=True, slots=True)
class Summary:
    """Of some values: the median, the least, the greatest and the median absolute deviation."""

    median: float
    low: float
    high: float
    mad: float


def summarize(values: Sequence[float]) -> Summary:
    """The summary of at least one value."""
    median = statistics.median(values)
    mad = statistics.median(abs(value - median) for value in values)
    return Summary(median, min(values), max(values), mad)


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured: ``samples[n]`` is from turn n, in the figure's unit."""

    scenario: str
    figure: Figure
    side: str
    samples: tuple[float, ...]

    @property
    def summary(self) -> Summary:
        """Middle and spread of the samples."""
        return summarize(self.samples)

    def ratio(self, baseline: Result) -> Summary:
        """How many times better this side is than ``baseline``: 2 is twice as fast or half as long.

        Taken turn by turn, so that what slowed the machine down for a whole turn cancels out.
        """
        return summarize(self.ratios(baseline))

    def ratios(self, baseline: Result) -> list[float]:
        """The same of each turn."""
        pairs = zip(self.samples, baseline.samples, strict=True)
        return [_times_better(self.figure.better, *pair) for pair in pairs]


def _times_better(better: Better, mine: float, other: float) -> float:
    above, below = (mine, other) if better is Better.MORE else (other, mine)
    if below == 0:
        return 1.0 if above == 0 else float("inf")
    return above / below


CPUINFO: Final = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Machine:
    """``filesystems`` are the types below the sides, by name; ``load`` that of the last minute."""

    system: str
    processor: str
    cores: int
    python: str
    load: float
    filesystems: dict[str, str]


def look(sides: Iterable[Side]) -> Machine:
    """The machine as it is now. Raises OSError when a side is not there."""
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2),
        filesystems={side.name: filesystem_of(side.directory) for side in sides},
    )


def _processor() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", CPUINFO.read_text("utf-8"), re.MULTILINE)
        if found:
            return found[1]
    return platform.machine()


FORMAT: Final = 1
"""Of the JSON; a key that changes its meaning makes a new one."""


@dataclass(frozen=True, slots=True)
class Report:
    """``baseline`` is the side that ratios are taken to; ``pinned`` the core, if there was one.

    ``remarks`` are sentences that must be read with the figures.
    """

    title: str
    baseline: str
    repeat: int
    pinned: int | None
    machine: Machine
    results: tuple[Result, ...]
    remarks: tuple[str, ...] = ()

    def find(self, scenario: str, figure: str, side: str) -> Result | None:
        """The one result of these names, if it was measured."""
        wanted = (scenario, figure, side)
        named = (
            result
            for result in self.results
            if (result.scenario, result.figure.name, result.side) == wanted
        )
        return next(named, None)

    def ratio_of(self, result: Result) -> Summary | None:
        """How many times better ``result`` is than the baseline; None when that was not measured.

        For the baseline itself it is 1.
        """
        base = self.find(result.scenario, result.figure.name, self.baseline)
        return None if base is None else result.ratio(base)

    @property
    def where(self) -> str:
        """One line about the conditions."""
        place = "free to move" if self.pinned is None else f"all on core {self.pinned}"
        return (
            f"{self.repeat} turns, {place}; {self.machine.processor}, {self.machine.cores} cores, "
            f"{self.machine.system}, Python {self.machine.python}, "
            f"load {self.machine.load:g} at the start"
        )


COLUMNS: Final = ("figure", "side", "median", "lowest", "highest", "unit", "ratio", "ratios")


def rows(report: Report) -> list[tuple[str, ...]]:
    """A row of ``COLUMNS`` for each result; the figure's name only in its first row.

    Where several scenarios were measured, their names stand before those of the figures.
    """
    made: list[tuple[str, ...]] = []
    several = len({result.scenario for result in report.results}) > 1
    before = ""
    for result in report.results:
        name = f"{result.scenario}: {result.figure.name}" if several else result.figure.name
        made.append(_row(report, result, "" if name == before else name))
        before = name
    return made


def as_json(reports: Sequence[Report], verdicts: Sequence[Mapping[str, object]] = ()) -> str:
    """The reports as a JSON document, every sample in it; and what followed from them, if given."""
    document: dict[str, object] = {
        "format": FORMAT,
        "reports": [_plain(report) for report in reports],
    }
    if verdicts:
        document["verdicts"] = list(verdicts)
    return json.dumps(document, indent=2) + "\n"


def format_value(value: float) -> str:
    """A value with three significant digits, or whole when it has more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _row(report: Report, result: Result, name: str) -> tuple[str, ...]:
    numbers, ratio = result.summary, report.ratio_of(result)
    values = [format_value(value) for value in (numbers.median, numbers.low, numbers.high)]
    ratios = ["", ""]
    if ratio is not None and result.side != report.baseline:
        ratios = [f"{ratio.median:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}"]
    return (name, result.side, *values, result.figure.unit, *ratios)


def _plain(report: Report) -> dict[str, Any]:
    return {
        "title": report.title,
        "baseline": report.baseline,
        "repeat": report.repeat,
        "pinned": report.pinned,
        "machine": asdict(report.machine),
        "remarks": list(report.remarks),
        "results": [_plain_result(report, result) for result in report.results],
    }


def _plain_result(report: Report, result: Result) -> dict[str, Any]:
    ratio = report.ratio_of(result)
    return {
        "scenario": result.scenario,
        "figure": result.figure.name,
        "side": result.side,
        "unit": result.figure.unit,
        "better": result.figure.better.value,
        "samples": list(result.samples),
        "summary": asdict(result.summary),
        "times_better_than_baseline": None if ratio is None else asdict(ratio),
    }


# ---------------------------------------------------------------- shown and written

PLAIN_WIDTH: Final = 120
"""Columns of a table in a log or pipe, where nobody says how wide it may be."""
TEXT_COLUMNS: Final = ("figure", "side", "unit", "cores", "met", "")


def say(text: str) -> None:
    """A line on standard error about what is done now."""
    click.echo(f"  {text}", err=True)


def show(report: Report) -> None:
    """Print the report as a table."""
    ratios = f"Ratios are to {report.baseline}: above 1 is better."
    show_rows(report.title, COLUMNS, rows(report), [report.where, ratios, *report.remarks])


def show_rows(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], remarks: Iterable[str]
) -> None:
    """Print a table on standard output, and remarks below it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    drawn = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        drawn.add_column(column, justify="left" if column in TEXT_COLUMNS else "right")
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)
    for remark in remarks:
        console.print(remark, markup=False)


def write(
    reports: Sequence[Report], file: Path | None, verdicts: Sequence[Mapping[str, object]] = ()
) -> None:
    """Write the JSON, if a file was named for it."""
    if file:
        file.write_text(as_json(reports, verdicts), encoding="utf-8")
