"""All results of a run, and the conditions they were got under."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from tierfs.bench.framework.machine import Machine
from tierfs.bench.framework.result import Result, Summary

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
            f"{self.machine.system}, load {self.machine.load:g} at the start"
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
    if value >= 100:  # noqa: PLR2004 - three digits
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
