"""The engine where flash has no room for what is pinned, and while it takes up a policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tests.tiering.fake_world import HEAD, START, Driver
from tierfs.base.durations import DAY
from tierfs.base.extents import WHOLE_FILE
from tierfs.base.units import MIB
from tierfs.index.pins_and_requests import Pin, Request
from tierfs.tiering.context import Backoff, Debounce
from tierfs.tiering.heat_file import HeatFile
from tierfs.tiering.target import DEBOUNCE

FLASH = "flash: {high_watermark: 80%, low_watermark: 60%, reserve: 0}\n"


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


def test_a_pin_without_room_is_mirrored_all_the_same(driver: Driver) -> None:
    world = driver.world
    world.add(1, size=90 * MIB)
    driver.apply("mirror: async")
    world.noted_pins[1] = Pin(1, None)
    driver.ticks(5)
    assert world.on_flash(1) == HEAD
    assert world.mirrored == [1]
    driver.ticks(200)
    assert world.mirrored == [1]


def test_a_pin_without_room_is_not_mirrored_before_it_is_left_alone(driver: Driver) -> None:
    world = driver.world
    world.add(1, size=90 * MIB)
    driver.apply("head: all\npin: true")
    driver.ticks(5)
    world.write(1, 91 * MIB)
    driver.ticks(3)
    assert world.mirrored == [1]
    driver.ticks(70)
    assert world.mirrored == [1, 1]


def test_what_is_lowered_by_hand_does_not_count_as_coming(driver: Driver) -> None:
    """Else as much would be evicted for it, while it waits or is under way."""
    world = driver.world
    world.add(1, size=50 * MIB, prefix=50 * MIB, name="/kept")
    world.fill(range(100, 140), size=MIB, prefix=MIB)
    driver.apply(FLASH + "head: 1MiB\nrules: [{name: kept, match: {path: /kept}, evict: never}]")
    world.noted_requests[1] = Request(1, 40 * MIB)
    driver.ticks(3)
    assert world.on_flash(1) == 40 * MIB
    assert world.used == 60 * MIB


def test_a_file_asked_for_comes_though_some_that_were_to_go_are_gone(driver: Driver) -> None:
    world = driver.world
    world.fill(range(100, 170), size=MIB, prefix=MIB)
    driver.apply("flash: {high_watermark: 75%, low_watermark: 60%, reserve: 0}\nhead: 1MiB")
    driver.ticks(3)
    world.add(1, size=8 * MIB, prefix=0)
    for ino in range(100, 104):
        world.inodes[ino] = world.inodes[ino]._replace(prefix=0)  # by writers, who found it full
    world.fill(range(200, 204), size=MIB, prefix=MIB)
    world.noted_requests[1] = Request(1, WHOLE_FILE)
    driver.ticks(3)
    assert world.on_flash(1) == 8 * MIB


def test_asking_again_does_not_wait_for_what_failed_before(
    driver: Driver, expect_log: ExpectLog
) -> None:
    expect_log("inode 1 could not be moved")
    world = driver.world
    world.add(1, size=MIB, prefix=0)
    world.broken = {1}
    for _ in range(2):
        world.noted_requests[1] = Request(1, WHOLE_FILE)
        driver.ticks(3)
        assert world.noted_requests == {}
    assert driver.engine.state().failed == 2
    world.broken = set()
    world.noted_requests[1] = Request(1, WHOLE_FILE)
    driver.ticks(3)
    assert world.on_flash(1) == MIB


def test_a_clock_that_is_set_back_holds_no_file_for_long() -> None:
    future, now = START + 1000 * DAY, START
    debounce, backoff = Debounce(), Backoff()
    debounce.add([1], future)
    debounce.add([2], now)
    backoff.fail(1, future)
    assert backoff.holds(1, future)
    assert not backoff.holds(1, now)
    assert debounce.ready(now, 10) == [1]
    assert debounce.ready(now + DEBOUNCE, 10) == [2]


def test_a_policy_is_known_while_it_is_taken_up(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a plan that is asked for just then would say that there is none."""
    known: list[bool] = []
    monkeypatch.setattr(HeatFile, "load", lambda *_: known.append(driver.engine.policy is not None))
    driver.apply(FLASH)
    driver.ticks()
    assert known == [True]
