from __future__ import annotations

import json

import pytest

from tests.bench.reports import RATE, TIME, report, result
from tierfs.bench.framework.report import as_json, format_value, rows


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
