from __future__ import annotations

import pytest

from tests.benchmarks.report import Summary
from tests.benchmarks.samples import RATE, TIME, report, result
from tests.benchmarks.sides import FREE, PINNED, Sizes
from tests.benchmarks.suite import ALIASES, GROUPS, SPINNING, groups
from tests.benchmarks.wanted import COLUMNS, ROWS, Place, Row, both, judge, plain, table
from tests.docs.pages import read

TWICE = Row(
    "twice as fast",
    Place("epoch", RATE.name, "tierfs"),
    Place("epoch", RATE.name, "native"),
    {PINNED: 2.0, FREE: 3.0},
)
SHORT = Row("short", Place("epoch", TIME.name, "tierfs"), None, {FREE: 5.0}, at_most=True)
LONG = Row("long", Place("epoch", TIME.name, "tierfs"), None, {FREE: 5.0})
MEASURED = report(
    result("native", 10, 10, 10),
    result("tierfs", 25, 19, 30),
    result("tierfs", 4, 6, 4, figure=TIME),
)


def test_a_ratio_is_judged_by_its_median_in_each_mode() -> None:
    pinned, free = judge({PINNED: [MEASURED], FREE: [MEASURED]}, [TWICE])
    assert (pinned.mode, pinned.wanted, pinned.met) == (PINNED, 2.0, True)
    assert (free.mode, free.wanted, free.met) == (FREE, 3.0, False)
    assert free.measured == Summary(2.5, 1.9, 3.0, 0.5)


def test_a_value_is_judged_by_itself() -> None:
    short, long = judge({FREE: [MEASURED]}, [SHORT, LONG])
    assert (short.met, long.met) == (True, False)


def test_what_was_not_measured_is_neither_met_nor_not() -> None:
    [verdict] = judge({FREE: [report(result("tierfs", 1))]}, [TWICE])
    assert (verdict.measured, verdict.met) == (None, None)
    assert table([verdict]) == [("twice as fast", FREE, "≥ 3", "not measured", "", "")]


def test_a_mode_that_was_not_run_has_no_verdict() -> None:
    assert [one.mode for one in judge({PINNED: []}, [TWICE])] == [PINNED]


def test_two_scenarios_are_compared_across_reports() -> None:
    row = Row(
        "4 against 1",
        Place("four", RATE.name, "tierfs"),
        Place("one", RATE.name, "tierfs"),
        {FREE: 1.0},
    )
    apart = [
        report(result("tierfs", 5, scenario="one")),
        report(result("tierfs", 10, scenario="four")),
    ]
    [verdict] = judge({FREE: apart}, [row])
    assert verdict.measured == Summary(2, 2, 2, 0)


def test_what_is_shown_and_what_is_written() -> None:
    verdicts = judge({PINNED: [MEASURED], FREE: [MEASURED]}, [TWICE, SHORT])
    assert table(verdicts) == [
        ("twice as fast", PINNED, "≥ 2", "2.50", "1.90 to 3.00", "yes"),
        ("twice as fast", FREE, "≥ 3", "2.50", "1.90 to 3.00", "NO"),
        ("short", FREE, "≤ 5", "4.00", "4.00 to 6.00", "yes"),
    ]
    assert {len(row) for row in table(verdicts)} == {len(COLUMNS)}
    assert plain(verdicts)[2] == {
        "figure": "short",
        "cores": FREE,
        "kind": "at most",
        "wanted": 5.0,
        "measured": 4,
        "lowest": 4,
        "highest": 6,
        "met": True,
    }


def measured_places() -> set[Place]:
    """Every figure on every side that the groups measure; the spinning disk's have their own."""
    return {
        Place(scenario.name, figure.name, side)
        for group in groups(Sizes(memory_files=1))
        for scenario in group.scenarios
        for figure in scenario.figures
        for side in group.sides
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.name))
def test_every_row_can_be_measured(row: Row) -> None:
    spinning = {"first-byte", "whole-file", "loader"}
    for place in (row.ours, row.theirs):
        assert place is None or place.scenario in spinning or place in measured_places()


def test_an_alias_stands_for_groups() -> None:
    assert {name for names in ALIASES.values() for name in names} < set(GROUPS)


def test_every_group_can_be_chosen() -> None:
    assert {*(group.name for group in groups(Sizes(memory_files=1))), SPINNING} == set(GROUPS)


def test_rows_are_told_apart() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
    assert both(2.0) == {PINNED: 2.0, FREE: 2.0}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.name))
def test_every_row_is_in_the_ledger(row: Row) -> None:
    assert f"| {row.name} | " in read("docs/benchmarks.md")
