"""One reason for every file that is not where it belongs, one by one and in sums."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tests.tiering.fake_world import HEAD, Driver
from tierfs.base.durations import SECOND
from tierfs.base.extents import WHOLE_FILE
from tierfs.base.units import MIB
from tierfs.core.moves import Moved
from tierfs.index.pins_and_requests import Pin, Request
from tierfs.tiering.state import Sum, Waiting

FLASH = "flash: {high_watermark: 80%, low_watermark: 60%, reserve: 0}\n"


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


def closed_window(driver: Driver) -> str:
    hour = datetime.fromtimestamp(driver.time.now / SECOND, UTC).astimezone().hour
    return f'mover: {{window: "{(hour + 20) % 24:02}:00-{(hour + 22) % 24:02}:00"}}\n'


def test_a_file_where_it_belongs_waits_for_nothing(driver: Driver) -> None:
    driver.world.add(1)
    driver.world.add(2, prefix=0)  # comes when it is read
    driver.apply(FLASH)
    driver.ticks(5)
    assert [driver.engine.waiting(ino) for ino in (1, 2, 3)] == [None, None, None]
    assert driver.engine.state().misplaced == {}


def test_pins_beyond_what_flash_may_hold_are_stuck_for_want_of_room(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 11), size=10 * MIB, prefix=0, mirrored=1)
    for ino in range(1, 11):
        world.noted_pins[ino] = Pin(ino, None)
    driver.apply(FLASH)
    driver.ticks(20)
    assert world.used == 80 * MIB
    assert driver.engine.waiting(1) is None
    assert driver.engine.waiting(10) == Waiting("room", stuck=True)
    state = driver.engine.state()
    assert state.pinned == Sum(10, 100 * MIB)
    assert state.pinned_elsewhere == state.misplaced == {"room": Sum(2, 20 * MIB)}
    read = driver.metrics.registry.get_sample_value
    assert read("tierfs_pinned_bytes") == 100 * MIB
    assert read("tierfs_pinned_elsewhere_bytes", {"reason": "room"}) == 20 * MIB
    assert read("tierfs_misplaced_files", {"reason": "window"}) == 0


def test_without_a_policy_a_pin_on_a_full_flash_is_stuck(driver: Driver) -> None:
    driver.world.fill(range(1, 80), size=MIB, prefix=WHOLE_FILE)
    driver.world.add(100, size=10 * MIB, prefix=0)
    driver.world.noted_pins[100] = Pin(100, None)
    driver.ticks(3)
    assert driver.engine.waiting(100) == Waiting("room", stuck=True)


def test_a_pin_that_room_is_made_for_is_not_stuck(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 5 * 1024), size=16 * 1024, prefix=HEAD, mirrored=1)
    world.add(9000, size=60 * MIB, prefix=0)
    driver.apply(FLASH)
    driver.ticks(3)
    world.noted_pins[9000] = Pin(9000, None)
    driver.ticks(2)
    assert driver.engine.waiting(9000) == Waiting("room")
    driver.ticks(20)
    assert driver.engine.waiting(9000) is None


def test_a_closed_window_holds_what_a_rule_pins(driver: Driver) -> None:
    driver.world.add(1, prefix=0)
    driver.apply(closed_window(driver) + "pin: true")
    driver.ticks(3)
    assert driver.engine.waiting(1) == Waiting("window")
    assert driver.engine.state().pinned_elsewhere == {"window": Sum(1, HEAD)}


def test_what_was_just_changed_rests(driver: Driver) -> None:
    driver.world.add(1, prefix=0, changed=driver.time.now)
    driver.apply("pin: true")
    driver.ticks(2)
    assert driver.engine.waiting(1) == Waiting("backoff")
    driver.ticks(10)
    assert driver.engine.waiting(1) is None


def test_what_waits_its_turn_waits_for_the_rate(driver: Driver) -> None:
    driver.world.add(1, prefix=0)
    driver.world.noted_pins[1] = Pin(1, None)
    assert driver.engine.waiting(1) == Waiting("rate")
    driver.ticks()  # queued
    assert driver.engine.waiting(1) == Waiting("rate")
    driver.ticks()
    assert driver.engine.waiting(1) is None


def test_a_failed_move_and_a_mover_that_is_suspended(driver: Driver, expect_log: ExpectLog) -> None:
    expect_log("inode .* could not be moved")
    expect_log("too many moves fail")
    world = driver.world
    world.fill(range(1, 11), prefix=0)
    world.broken = {1}
    world.noted_pins[1] = Pin(1, None)
    driver.ticks(3)
    assert driver.engine.waiting(1) == Waiting("error")
    world.broken = set(range(1, 11))
    for ino in range(2, 11):
        world.noted_pins[ino] = Pin(ino, None)
    driver.ticks(3)
    assert driver.engine.waiting(2) == Waiting("closed")


def test_a_read_only_mount_is_closed(tmp_path: Path) -> None:
    driver = Driver(tmp_path, closed=True)
    driver.world.add(1, prefix=0)
    driver.world.noted_pins[1] = Pin(1, None)
    assert driver.engine.waiting(1) == Waiting("closed")


def test_why_a_request_was_given_up_is_known_for_a_while(
    driver: Driver, expect_log: ExpectLog
) -> None:
    expect_log("inode 1 does not come to flash: there is no room")
    driver.world.add(1, size=90 * MIB, prefix=0)
    driver.world.noted_requests[1] = Request(1, WHOLE_FILE)
    driver.apply(FLASH)
    driver.ticks(3)
    assert driver.world.noted_requests == {}
    assert driver.engine.waiting(1) == Waiting("room", stuck=True)
    driver.ticks(70)
    assert driver.engine.waiting(1) is None


def test_room_that_others_took_delays_a_pin_by_seconds_not_by_a_day(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver.world, "place", lambda ino, _prefix, **_: Moved(ino, "no-room"))
    driver.world.add(1, prefix=0)
    driver.world.noted_pins[1] = Pin(1, None)
    driver.ticks(400)
    assert driver.engine.waiting(1) == Waiting("room")
    monkeypatch.undo()
    driver.ticks(8)
    assert driver.engine.waiting(1) is None


def test_an_explanation_tells_why_a_file_waits(driver: Driver) -> None:
    driver.world.add(1, prefix=0, name="/a")
    driver.world.add(2)
    driver.apply(closed_window(driver) + "pin: true")
    driver.ticks(2)
    told = driver.engine.explain([1, 2])
    assert told is not None
    assert [one.waiting for one in told] == [Waiting("window"), None]


def test_a_large_file_that_is_read_often_waits_for_room(driver: Driver) -> None:
    driver.world.fill(range(1, 71), size=MIB, prefix=WHOLE_FILE)
    driver.world.add(100, size=20 * MIB)
    driver.apply(FLASH + "head: 1MiB\nevict: never\npromote: {reads: 1, within: 1h}")
    driver.ticks()
    driver.world.read(100)
    driver.ticks(5)
    assert driver.engine.waiting(100) == Waiting("room")
