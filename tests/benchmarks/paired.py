"""This tierfs beside another one: the ratio of each figure, and how sure it is. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.report import Report, Result, format_value
from tests.benchmarks.sides import BEFORE, BEFORE_ON_EXT4, ON_EXT4, TIERFS

TOLERANCE: Final = 0.05
"""A row is slower, or faster, when its whole interval lies farther from 1."""
SIDES: Final = ((TIERFS, BEFORE), (ON_EXT4, BEFORE_ON_EXT4))
QUANTILES: Final = (
    *(12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23),
    *(2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09, 2.09),
)
"""The 97.5 % quantile of Student's t with 1, 2, ... degrees of freedom."""
NORMAL: Final = 2.08
"""For more of them; 1.96 in the limit."""


@dataclass(frozen=True, slots=True)
class Pair:
    """How many times better a figure is than ``before``: geometric mean and 95 % interval.

    Turn by turn, so that what slows the machine down for both cancels out. ``low`` and ``high``
    are infinitely far when there was one turn.
    """

    name: str
    mode: str
    before: Result
    after: Result
    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``slower``, ``faster``, or empty: nothing that the measurement is sure of."""
        if self.high < 1 - TOLERANCE:
            return "slower"
        return "faster" if self.low > 1 + TOLERANCE else ""


def pairs(reports: Mapping[str, Sequence[Report]]) -> list[Pair]:
    """A pair for every figure that was measured on both, of every mode."""
    return [
        _pair(mode, after, before)
        for mode, measured in reports.items()
        for report in measured
        for after in report.results
        for ours, theirs in SIDES
        if after.side == ours
        and (before := report.find(after.scenario, after.figure.name, theirs)) is not None
    ]


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean of ratios, and where it lies with 95 % confidence."""
    logs = [math.log(ratio) for ratio in ratios]
    middle, freedom = statistics.fmean(logs), len(logs) - 1
    if not freedom:
        return math.exp(middle), 0.0, math.inf
    t = QUANTILES[freedom - 1] if freedom <= len(QUANTILES) else NORMAL
    half = t * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


COLUMNS: Final = ("figure", "cores", "before", "after", "unit", "ratio", "95 % interval", "")


def table(found: Iterable[Pair]) -> list[tuple[str, ...]]:
    """A row of ``COLUMNS`` for each pair."""
    return [
        (
            one.name,
            one.mode,
            format_value(one.before.summary.median),
            format_value(one.after.summary.median),
            one.after.figure.unit,
            f"{one.ratio:.2f}",
            f"{one.low:.2f} to {one.high:.2f}",
            one.verdict,
        )
        for one in found
    ]


def _pair(mode: str, after: Result, before: Result) -> Pair:
    name = after.figure.name
    if not name.startswith(after.scenario):
        name = f"{after.scenario}: {name}"
    return Pair(name, mode, before, after, *interval(after.ratios(before)))
