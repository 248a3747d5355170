from __future__ import annotations

import math

import pytest

from tests.bench.reports import TIME, result
from tierfs.bench.framework.result import Summary, summarize


def test_a_summary() -> None:
    assert summarize([5, 1, 2, 3, 100]) == Summary(median=3, low=1, high=100, mad=2)


def test_one_value_is_its_own_summary() -> None:
    assert summarize([7]) == Summary(7, 7, 7, 0)


def test_a_ratio_is_taken_turn_by_turn() -> None:
    # The machine was ten times slower in the second turn, for both.
    ours, theirs = result("ours", 200, 20, 220), result("theirs", 100, 10, 100)
    ratio = ours.ratio(theirs)
    assert (ratio.median, ratio.low, ratio.mad) == (2, 2, 0)
    assert ratio.high == pytest.approx(2.2)


def test_a_shorter_time_is_better() -> None:
    ours, theirs = (result("a", 5, figure=TIME), result("b", 20, figure=TIME))
    assert ours.ratio(theirs).median == 4
    assert theirs.ratio(ours).median == 0.25


def test_nothing_at_all_is_infinitely_worse() -> None:
    assert result("a", 1).ratio(result("b", 0)).median == math.inf
    assert result("a", 0).ratio(result("b", 0)).median == 1


def test_sides_with_different_turns_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="shorter"):
        result("a", 1, 2).ratio(result("b", 1))
