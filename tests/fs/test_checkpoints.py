from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.volumes import LooseVolume
from tierfs.fs.checkpoint import (
    INTERVAL_S,
    LEAST_LOG,
    MOST_LOG,
    Checkpoints,
    log_limit,
)
from tierfs.fs.volume import Volume


@dataclass
class Ticking:
    now: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def opened(small: LooseVolume) -> Volume:
    return small.volume


@pytest.fixture
def ticking() -> Ticking:
    return Ticking()


@pytest.fixture
def checkpoints(opened: Volume, ticking: Ticking) -> Checkpoints:
    capacity = opened.flash_space().capacity
    renew = opened.checkpoints._renew
    return Checkpoints(
        opened.index, opened.fs.syncer, opened.fs.reclaimer, capacity, renew, ticking
    )


def change(opened: Volume) -> None:
    with opened.index.transaction():
        opened.index.xattrs.put(1, b"user.count", os.urandom(8))


def test_the_log_may_take_a_small_part_of_flash_within_bounds() -> None:
    assert log_limit(0) == LEAST_LOG
    assert log_limit(640 * LEAST_LOG) == 10 * LEAST_LOG
    assert log_limit(1 << 50) == MOST_LOG


def test_nothing_is_due_while_nothing_changes(checkpoints: Checkpoints, ticking: Ticking) -> None:
    ticking.now = 10 * INTERVAL_S
    assert not checkpoints.is_due()


def test_a_change_is_due_after_the_interval_and_then_covered(
    opened: Volume, checkpoints: Checkpoints, ticking: Ticking
) -> None:
    change(opened)
    assert not checkpoints.is_due()
    ticking.now = INTERVAL_S
    assert checkpoints.is_due()
    checkpoints.make()
    assert not checkpoints.is_due()
    ticking.now = 3 * INTERVAL_S
    assert not checkpoints.is_due()


def test_a_long_log_is_due_at_once(opened: Volume, checkpoints: Checkpoints) -> None:
    while opened.index.log_size() < checkpoints._log_limit:
        with opened.index.transaction():
            opened.index.xattrs.put(1, b"user.blob", os.urandom(60_000))
    assert checkpoints.is_due()
    checkpoints.make()
    change(opened)
    assert opened.index.log_size() < LEAST_LOG
    assert not checkpoints.is_due()


def test_both_tiers_are_synced_before_the_index(
    opened: Volume, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(opened._flash, "flush", lambda: order.append("flash"))
    monkeypatch.setattr(opened._disk, "flush", lambda: order.append("disk"))
    fold = opened.index.checkpoint

    def checkpoint(limit: int) -> None:
        order.append("index")
        fold(limit)

    monkeypatch.setattr(opened.index, "checkpoint", checkpoint)
    checkpoints.make()
    assert order == ["flash", "disk", "index"]


def test_a_closed_volume_has_an_empty_log(small: LooseVolume) -> None:
    change(small.volume)
    path = Path(f"{small.index.path}-wal")
    small.close()
    assert not path.exists() or path.stat().st_size == 0


def test_one_is_made_ahead_where_one_may_soon_be_due_and_not_over_and_over(
    checkpoints: Checkpoints, opened: Volume, ticking: Ticking
) -> None:
    change(opened)
    ticking.now = INTERVAL_S - 1
    checkpoints.make_ahead()
    change(opened)
    ticking.now += 9
    checkpoints.make_ahead()
    ticking.now += INTERVAL_S - 10
    assert not checkpoints.is_due()
    ticking.now += 1
    assert checkpoints.is_due()
