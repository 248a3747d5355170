from __future__ import annotations

import json
import math

import pytest

from tests.benchmarks.report import Summary, as_json, format_value, rows, summarize
from tests.benchmarks.samples import RATE, TIME, report, result


def test_a_row_for_each_side() -> None:
    made = report(result("native", 100, 200, 300), result("tierfs", 50, 50, 90))
    assert rows(made) == [
        ("first epoch", "native", "200", "100", "300", "files/s", "", ""),
        ("", "tierfs", "50", "50", "90", "files/s", "0.30", "0.25 to 0.50"),
    ]


def test_scenarios_are_named_where_there_are_several() -> None:
    made = report(result("native", 1), result("native", 2, scenario="epoch, 4 readers"))
    assert [row[0] for row in rows(made)] == [
        "epoch: first epoch",
        "epoch, 4 readers: first epoch",
    ]


def test_without_a_baseline_there_is_no_ratio() -> None:
    assert rows(report(result("tierfs", 50)))[0][-2:] == ("", "")


def test_a_figure_is_found_by_its_names() -> None:
    made = report(result("native", 1), result("native", 2, figure=TIME))
    assert made.find("epoch", "time", "native") is made.results[1]
    assert made.find("epoch", "time", "tierfs") is None


def test_json_has_every_sample() -> None:
    made = report(result("native", 4, 5), result("tierfs", 8, 20), remarks=["not as root"])
    document = json.loads(as_json([made]))
    told = document["reports"][0]
    assert (document["format"], told["title"], told["remarks"]) == (1, "A title", ["not as root"])
    assert told["machine"]["filesystems"] == {"native": "tmpfs"}
    assert told["results"][1] == {
        "scenario": "epoch",
        "figure": RATE.name,
        "side": "tierfs",
        "unit": "files/s",
        "better": "more",
        "samples": [8, 20],
        "summary": {"median": 14, "low": 8, "high": 20, "mad": 6},
        "times_better_than_baseline": {"median": 3, "low": 2, "high": 4, "mad": 1},
    }
    assert "verdicts" not in document


def test_json_has_verdicts_where_there_are_some() -> None:
    assert json.loads(as_json([report()], [{"met": True}]))["verdicts"] == [{"met": True}]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.01234, "0.0123"), (1.5, "1.5"), (99.96, "100"), (1234567.8, "1,234,568")],
)
def test_values_are_short(value: float, shown: str) -> None:
    assert format_value(value) == shown


def test_a_summary_has_the_median_and_its_spread() -> None:
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
