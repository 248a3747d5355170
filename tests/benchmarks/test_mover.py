"""The benchmark of reads during moves: its arithmetic, and one small run of all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.datasets import Dataset
from tests.benchmarks.mover import (
    MOVED,
    OF_RATE,
    OFF_RATE,
    P50_IDLE,
    P50_MOVING,
    P99_MOVING,
    P99_RATIO,
    Migration,
    Pace,
    Span,
    figures_of,
    volume,
)
from tests.benchmarks.runner import Conditions, measure
from tests.benchmarks.stage import stage
from tierfs.common.errors import TierfsError
from tierfs.common.units import KIB, MIB
from tierfs.daemon.interpreter import module_command
from tierfs.policy.tier_policy import load_policy

pytestmark = pytest.mark.long

MS = 1_000_000
SECOND = 1000 * MS


def reads(*milliseconds: int) -> list[Span]:
    return [Span(0, one * MS, 1) for one in milliseconds]


def test_values_are_of_the_reads_and_of_the_worse_move() -> None:
    up = Span(0, 2 * SECOND, 200 * MIB)
    down = Span(0, 2 * SECOND, 160 * MIB)
    values = figures_of(reads(1, 1, 2), reads(1, 3, 6), [up, down], 100 * MIB)
    assert (values[P50_IDLE], values[P50_MOVING], values[P99_MOVING]) == (1, 3, 6)
    assert (values[P99_RATIO], values[MOVED], values[OF_RATE]) == (3, 90, 0.9)
    assert values[OFF_RATE] == pytest.approx(20)
    assert set(values) == {figure.name for figure in Migration.figures}


def test_what_was_moved_too_soon_is_not_judged() -> None:
    with pytest.raises(TierfsError, match="more files, or a lower rate"):
        figures_of(reads(1), reads(1), [Span(0, SECOND, 0)], MIB)


def test_its_policy_is_one(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(Pace(rate=5 * MIB, concurrency=3).policy)
    limits = load_policy(path).mover
    assert (limits.rate, limits.concurrency) == (5 * MIB, 3)


@pytest.mark.timeout(120)
def test_every_figure_is_measured(scratch: Path) -> None:
    pace = Pace(rate=MIB, idle_s=0.5)
    mover = Migration(pace, Dataset(30, 128 * KIB), Dataset(20, 32 * KIB))
    with stage() as made:
        side = volume(made, made.directory(scratch), "moving", module_command("tierfs"), pace)
        report = measure("t", [mover], [side], Conditions(1))
    assert {one.figure.name for one in report.results} == {one.name for one in mover.figures}
    assert all(sample > 0 for one in report.results for sample in one.samples)
