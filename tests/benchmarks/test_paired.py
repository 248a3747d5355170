"""One tierfs beside another: ratios, intervals, and who is called slower."""

from __future__ import annotations

import math
import random

import pytest

from tests.benchmarks.paired import COLUMNS, interval, pairs, table
from tests.benchmarks.samples import RATE, TIME, report, result


def test_an_interval_lies_around_the_ratio_and_holds_it_mostly() -> None:
    chance, held = random.Random(0), 0
    for _ in range(400):
        ratio, low, high = interval([0.9 * math.exp(chance.gauss(0, 0.2)) for _ in range(5)])
        assert low < ratio < high
        held += low < 0.9 < high
    assert 0.92 < held / 400 < 0.98


def test_one_turn_says_nothing() -> None:
    assert interval([0.5]) == (0.5, 0, math.inf)


@pytest.mark.parametrize(
    ("after", "verdict"),
    [((80, 81, 79), "slower"), ((100, 101, 99), ""), ((93, 97, 90), ""), ((120, 121), "faster")],
)
def test_only_what_lies_wholly_beyond_is_called_so(after: tuple[float, ...], verdict: str) -> None:
    before = result("before", *([100] * len(after)))
    [pair] = pairs({"free": [report(before, result("tierfs", *after))]})
    assert pair.verdict == verdict


def test_less_time_is_faster_and_both_kinds_of_sides_are_paired() -> None:
    found = pairs(
        {
            "free": [
                report(
                    *(result(side, 2, 2, figure=TIME) for side in ("before", "before on ext4")),
                    *(result(side, 1, 1, figure=TIME) for side in ("tierfs", "tierfs on ext4")),
                )
            ]
        }
    )
    assert [one.ratio for one in found] == [pytest.approx(2)] * 2


def test_what_only_one_of_them_did_is_no_pair() -> None:
    assert pairs({"free": [report(result("tierfs", 1), result("native", 1))]}) == []


def test_a_row_names_the_scenario_and_the_figure() -> None:
    [row] = table(pairs({"pinned": [report(result("before", 4), result("tierfs", 8))]}))
    assert row == (
        f"epoch: {RATE.name}",
        *("pinned", "4", "8", "files/s", "2.00", "0.00 to inf", ""),
    )
    assert len(row) == len(COLUMNS)
