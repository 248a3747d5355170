"""The benchmark of reads during moves: its arithmetic, and one small run of all of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.test_spinning_disk import mounts_below
from tests.support.mounting import tierfs
from tierfs.base.errors import TierfsError
from tierfs.base.units import MIB
from tierfs.bench.migration import (
    MOVED,
    OF_RATE,
    OFF_RATE,
    P50_IDLE,
    P50_MOVING,
    P99_MOVING,
    P99_RATIO,
    Migration,
    Pace,
    figures_of,
)
from tierfs.bench.reads_meanwhile import Span
from tierfs.policy.tier_policy import load_policy

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


def test_too_little_to_move_is_refused() -> None:
    said = tierfs("bench", "migration", "--files", "10", statuses=[2])
    assert "10MiB are moved in 0.1 s at 100MiB/s, too soon to be measured" in said


def test_a_rate_without_a_second_is_refused() -> None:
    assert "write it as 100MiB/s" in tierfs("bench", "migration", "--rate", "5MiB", statuses=[2])


@pytest.mark.timeout(120)
def test_everything_is_measured_and_nothing_is_left(scratch: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    small = ("--files", "30", "--size", "128KiB", "--rate", "1MiB/s", "--read", "20")
    more = ("--repeat", "1", "--idle", "0.5", "--dir", str(scratch), "--json", str(figures))
    tierfs("bench", "migration", *small, *more, timeout=100)
    (report,) = json.loads(figures.read_text())["reports"]
    measured = {one["figure"] for one in report["results"]}
    assert measured == {figure.name for figure in Migration.figures}
    assert all(sample > 0 for one in report["results"] for sample in one["samples"])
    assert list(scratch.iterdir()) == []
    assert mounts_below(scratch) == []
