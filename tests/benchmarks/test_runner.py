from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.benchmarks.machine import Coldness
from tests.benchmarks.runner import Conditions, measure
from tests.benchmarks.samples import as_cold_as, cold_side, medians
from tests.benchmarks.scenario import Figure, Side, Turn
from tierfs.common.errors import TierfsError, UsageError


@dataclass
class Diary:
    """A scenario that writes down what is asked of it."""

    name: str = "diary"
    figures: Sequence[Figure] = (
        Figure("cold", "files/s", needs=Coldness.KERNEL),
        Figure("any", "s"),
    )
    without: frozenset[str] = frozenset()
    fails: bool = False
    entries: list[str] = field(default_factory=list)

    def prepare(self, side: Side) -> None:
        self.entries.append(f"prepare {side.name}")

    def run(self, turn: Turn) -> Mapping[str, float]:
        self.entries.append(f"run {turn.side.name} {turn.number}")
        if self.fails:
            raise TierfsError("no")
        turn.chill()
        values = {"cold": 1.0 + turn.number, "any": 5.0}
        return {name: value for name, value in values.items() if name not in self.without}

    def finish(self, side: Side) -> None:
        self.entries.append(f"finish {side.name}")


def two(directory: Path) -> list[Side]:
    return [cold_side("a", directory), cold_side("b", directory)]


def test_sides_take_turns_and_another_one_begins_each(tmp_path: Path) -> None:
    diary = Diary()
    measure("t", [diary], two(tmp_path), Conditions(3))
    assert diary.entries == [
        *("prepare a", "prepare b"),
        *("run a 0", "run b 0", "run b 1", "run a 1", "run a 2", "run b 2"),
        *("finish b", "finish a"),
    ]


def test_every_turn_is_a_sample(tmp_path: Path) -> None:
    report = measure("t", [Diary()], two(tmp_path), Conditions(3))
    assert [(one.side, one.samples) for one in report.results][:2] == [
        ("a", (1, 2, 3)),
        ("b", (1, 2, 3)),
    ]
    assert (report.baseline, report.repeat, report.pinned, report.remarks) == ("a", 3, None, ())


def test_a_failure_is_cleaned_up_after(tmp_path: Path) -> None:
    diary = Diary(fails=True)
    with pytest.raises(TierfsError):
        measure("t", [diary], two(tmp_path), Conditions(3))
    assert diary.entries[-2:] == ["finish b", "finish a"]


@pytest.mark.parametrize("coldness", [Coldness.WARM, Coldness.PAGES])
def test_what_was_not_cold_enough_is_left_out_and_said(coldness: Coldness) -> None:
    report = measure("t", [Diary()], [as_cold_as(coldness)], Conditions(2))
    assert medians(report) == {("any", coldness.name): 5}
    [remark] = report.remarks
    assert remark.startswith(f"cold: left out for {coldness.name}")
    assert "root" in remark


def test_what_a_side_cannot_do_is_said(tmp_path: Path) -> None:
    report = measure("t", [Diary(without=frozenset({"any"}))], two(tmp_path), Conditions(1))
    assert report.remarks == ("any: a cannot do this", "any: b cannot do this")


@dataclass
class Cores:
    """A scenario that asks where its works run."""

    name: str = "cores"
    figures: Sequence[Figure] = (Figure("lowest", "core"), Figure("count", "cores"))

    def prepare(self, side: Side) -> None:
        """Nothing to make."""

    def run(self, turn: Turn) -> Mapping[str, float]:
        lap = turn.timed([lambda: sorted(os.sched_getaffinity(0))] * 2)
        assert lap.results[0] == lap.results[1]
        return {"lowest": lap.results[0][0], "count": len(lap.results[0])}

    def finish(self, side: Side) -> None:
        """Nothing to remove."""


def test_works_are_pinned_when_asked_for(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    report = measure("t", [Cores()], [cold_side("a", tmp_path)], Conditions(1, pin=core))
    assert medians(report) == {("lowest", "a"): core, ("count", "a"): 1}
    assert report.pinned == core


def test_works_are_free_otherwise(tmp_path: Path) -> None:
    report = measure("t", [Cores()], [cold_side("a", tmp_path)], Conditions(1))
    assert medians(report)["count", "a"] == len(os.sched_getaffinity(0))


def test_a_core_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="core 4095 cannot be used here; choose one of"):
        measure("t", [Cores()], [cold_side("a", tmp_path)], Conditions(1, pin=4095))
