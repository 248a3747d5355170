"""Whatever may go can go: room for what must come, however small and many the files that go for it.

The numbers are those of a mount where 10 pinned files waited beside 17 idle ones of the same size,
behind 5,000 small and colder ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tests.tiering.fake_world import FLASH, Driver
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import KIB, MIB
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.tiering.model import Waiting
from tierfs.tiering.mover import Mover
from tierfs.tiering.selection import POOL_SIZE

SMALL = 2 * KIB
BIG = 10 * MIB
TINY = 16 * KIB
SMALLS = range(1, 9 * POOL_SIZE // 4)
"""More than the pool remembers: 144 MiB."""


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path, capacity=250 * MIB)


def test_pinned_files_come_for_large_idle_ones_behind_many_small_ones(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 5001), size=SMALL, prefix=SMALL, mirrored=1)
    world.fill(range(10_001, 10_018), size=BIG, prefix=WHOLE_FILE, mirrored=1)
    world.fill(range(20_001, 20_011), size=BIG, prefix=0, mirrored=1)
    driver.apply(FLASH)
    world.read(*range(10_001, 10_018))  # the small ones are colder
    driver.ticks(5)
    for ino in range(20_001, 20_011):
        world.noted_pins[ino] = Pin(ino, None)
    driver.ticks(60)
    assert all(world.on_flash(ino) == BIG for ino in range(20_001, 20_011))
    assert world.used <= 200 * MIB


def test_a_large_pin_comes_for_more_small_files_than_are_remembered(driver: Driver) -> None:
    world = driver.world
    world.fill(SMALLS, size=TINY, prefix=TINY, mirrored=1)
    world.add(50_000, size=150 * MIB, prefix=0)
    driver.apply(FLASH)
    world.noted_pins[50_000] = Pin(50_000, None)
    driver.ticks(100)
    assert world.on_flash(50_000) == 150 * MIB
    assert world.used <= 200 * MIB
    assert sum(map(world.on_flash, SMALLS)) > 0


def test_a_large_file_that_a_rule_pins_comes_before_the_next_scan(driver: Driver) -> None:
    world = driver.world
    world.fill(SMALLS, size=TINY, prefix=TINY, mirrored=1)
    world.add(50_000, size=150 * MIB, prefix=0, name="/pinned")
    driver.apply(FLASH + "rules: [{name: pinned, match: {path: /pinned}, head: all, pin: true}]")
    driver.ticks(30)
    assert world.on_flash(50_000) == 150 * MIB


def test_a_request_waits_while_room_is_made_for_it(driver: Driver) -> None:
    world = driver.world
    world.fill(SMALLS, size=TINY, prefix=TINY, mirrored=1)
    world.add(50_000, size=150 * MIB, prefix=0)
    driver.apply(FLASH)
    driver.ticks(2)
    world.noted_requests[50_000] = Request(50_000, WHOLE_FILE)
    driver.ticks(100)
    assert world.on_flash(50_000) == 150 * MIB
    assert world.noted_requests == {}


def test_nothing_goes_for_what_does_not_fit_all_the_same(
    driver: Driver, expect_log: ExpectLog
) -> None:
    expect_log("inode 50001 does not come to flash: there is no room")
    world = driver.world
    world.fill(range(1, 5001), size=4 * KIB, prefix=4 * KIB, mirrored=1, name="/idle")
    world.add(40_000, size=150 * MIB, prefix=WHOLE_FILE, name="/kept")
    world.add(50_000, size=100 * MIB, prefix=0)
    world.add(50_001, size=100 * MIB, prefix=0)
    driver.apply(FLASH + "rules: [{name: kept, match: {path: /kept}, evict: never}]")
    world.noted_pins[50_000] = Pin(50_000, None)
    world.noted_requests[50_001] = Request(50_001, WHOLE_FILE)
    driver.ticks(300)
    assert world.placed == []
    assert world.noted_requests == {}


def test_pins_come_until_no_more_fit_and_no_file_goes_for_the_rest(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 11), size=BIG, prefix=WHOLE_FILE, mirrored=1)
    pinned = range(101, 131)
    world.fill(pinned, size=BIG, prefix=0, mirrored=1)
    for ino in pinned:
        world.noted_pins[ino] = Pin(ino, None)
    driver.apply(FLASH)
    driver.ticks(400)
    assert sum(world.on_flash(ino) == BIG for ino in pinned) == 20
    assert len(world.placed) == 20 + 2 * 10  # each of the others to its head, then off


def test_a_large_file_that_is_read_often_comes_for_many_cold_ones(driver: Driver) -> None:
    world = driver.world
    world.fill(SMALLS, size=TINY, prefix=TINY, mirrored=1)
    world.add(50_000, size=60 * MIB, prefix=0)
    driver.apply(FLASH + "promote: {reads: 3, within: 1h}")
    driver.ticks(2)
    for _ in range(5):
        world.read(50_000)
        driver.ticks(20, 5)
    assert world.on_flash(50_000) == 60 * MIB
    assert world.used <= 200 * MIB


def test_a_large_file_that_is_read_seldom_sends_no_warm_ones_off(driver: Driver) -> None:
    world = driver.world
    world.fill(SMALLS, size=TINY, prefix=TINY, mirrored=1)
    world.add(50_000, size=90 * MIB, prefix=0)
    driver.apply(FLASH + "promote: {reads: 3, within: 1h}")
    for _ in range(4):
        world.read(*SMALLS)
        driver.ticks(5, 6)
    for _ in range(4):
        world.read(50_000, *SMALLS)
        driver.ticks(5, 6)
    assert world.on_flash(50_000) < MIB


def test_eviction_goes_on_when_the_class_that_should_give_is_gone(driver: Driver) -> None:
    """Files of the first class were counted, and removed by their owner before they went."""
    world = driver.world
    world.fill(range(1, 5001), size=4 * KIB, prefix=4 * KIB, mirrored=1, name="/scratch/a")
    world.fill(range(50_001, 58_001), size=4 * KIB, prefix=4 * KIB, mirrored=1, name="/keep/a")
    driver.apply(
        "flash: {high_watermark: 80%, low_watermark: 60%, reserve: 0,"
        " evict_order: [scratch, standard]}\n"
        "rules:\n  - {name: scratch, match: {path: /scratch/**}, class: scratch}\n"
    )
    driver.ticks(5)
    for ino in range(1, 5001):
        del world.inodes[ino]
    world.fill(range(80_001, 80_191), size=MIB, prefix=WHOLE_FILE, mirrored=1, name="/keep/a")
    driver.ticks(40)
    assert world.used <= 150 * MIB


def test_what_is_on_its_way_off_flash_counts_as_room(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a pin would be given up while the mover is slow, and rest a minute."""
    world = driver.world
    world.fill(range(1, 3001), mirrored=1)
    world.fill((20_001, 20_002), size=80 * MIB, prefix=0, mirrored=1)
    driver.apply(FLASH)
    driver.ticks(5)
    for ino in (20_001, 20_002):
        world.noted_pins[ino] = Pin(ino, None)
    with monkeypatch.context() as slow:
        slow.setattr(Mover, "_may_begin", lambda _: None)
        driver.ticks(10)
        waiting = [driver.engine.waiting(ino) for ino in (20_001, 20_002)]
    assert waiting == [Waiting("room"), Waiting("room")]
    driver.ticks(20)
    assert [world.on_flash(ino) for ino in (20_001, 20_002)] == [80 * MIB, 80 * MIB]


@pytest.mark.parametrize("before", [5, 130])
def test_files_made_since_the_last_scan_may_go_too(driver: Driver, before: int) -> None:
    """The scanner rests for a minute: what it did not meet, once or twice, is looked for."""
    world = driver.world
    driver.apply(FLASH)
    driver.ticks(before)  # a scan finds nothing
    world.fill(SMALLS, size=TINY, prefix=TINY, mirrored=1)
    world.add(20_001, size=100 * MIB, prefix=0)
    world.noted_pins[20_001] = Pin(20_001, None)
    for _ in range(30):
        driver.ticks()
        waiting = driver.engine.waiting(20_001)
        assert waiting is None or not waiting.stuck
    assert world.on_flash(20_001) == 100 * MIB
