"""The values of one figure on one side, their middle and their spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tierfs.bench.framework.scenario import Better, Figure


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
