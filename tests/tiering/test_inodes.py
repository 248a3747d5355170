"""Inodes of flash are a resource as its bytes are: marks, eviction, promotion, pins, reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiering.fake_world import FLASH, HEAD, Driver
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import KIB, MIB
from tierfs.metadata.pins_and_requests import Pin
from tierfs.storage.objects import Space
from tierfs.tiering.model import Waiting
from tierfs.tiering.state import Sum
from tierfs.tiering.watermarks import UNLIMITED, Levels, inode_levels

SMALL = 4 * KIB


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """A flash with an inode for each 16 KiB, as mkfs.ext4 makes it: 6,400."""
    driver = Driver(tmp_path)
    driver.world.files_on_flash = 6400
    return driver


def taken(driver: Driver) -> int:
    space = driver.world.space()
    return space.files - space.files_free


def test_the_marks_are_the_same_parts_as_of_the_bytes() -> None:
    assert inode_levels(Levels(80, 60), 100, 6400) == Levels(5120, 3840)
    assert inode_levels(Levels(80, 60), 100, 0) == UNLIMITED  # btrfs counts none


def test_heads_go_when_inodes_are_short_though_bytes_are_not(driver: Driver) -> None:
    driver.world.fill(range(1, 5501), size=SMALL, mirrored=1)
    driver.apply(FLASH)
    driver.ticks(20)
    assert taken(driver) == 3840
    assert driver.engine.state().files_high_watermark == 5120


def test_below_the_high_mark_all_stay(driver: Driver) -> None:
    driver.world.fill(range(1, 5001), size=SMALL, mirrored=1)
    driver.apply(FLASH)
    driver.ticks(20)
    assert driver.world.placed == []


def test_a_file_that_goes_for_its_inode_goes_whole(driver: Driver) -> None:
    """Its head alone would keep the inode."""
    driver.world.files_on_flash = 100
    driver.world.fill(range(1, 91), size=MIB // 2, prefix=WHOLE_FILE, mirrored=1)
    driver.apply(FLASH)
    driver.ticks(20)
    assert taken(driver) == 60
    assert {driver.world.inodes[ino].prefix for ino in range(1, 91)} == {0, WHOLE_FILE}


def test_what_is_read_comes_until_the_low_mark_and_then_takes_an_inode(driver: Driver) -> None:
    world = driver.world
    world.files_on_flash = 100
    world.fill(range(1, 51), size=SMALL, mirrored=1)
    world.fill(range(101, 121), size=SMALL, prefix=0, mirrored=1)
    driver.apply(FLASH)
    driver.ticks(3)
    for _ in range(4):
        world.read(*range(101, 121))
        driver.ticks(5, 60)
    assert taken(driver) == 60
    assert all(world.on_flash(ino) for ino in range(101, 121))


def test_a_pin_takes_the_inode_of_a_cold_file(driver: Driver) -> None:
    world = driver.world
    world.files_on_flash = 100
    world.fill(range(1, 81), size=2 * HEAD, prefix=WHOLE_FILE, mirrored=1)
    world.add(200, size=SMALL, prefix=0)
    driver.apply(FLASH)
    world.noted_pins[200] = Pin(200, None)
    driver.ticks(10)
    assert world.on_flash(200) == SMALL
    assert taken(driver) == 80


def test_many_pins_wait_for_inodes_and_come(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 5121), size=SMALL, mirrored=1)
    pinned = range(10_001, 13_001)
    world.fill(pinned, size=SMALL, prefix=0)
    for ino in pinned:
        world.noted_pins[ino] = Pin(ino, None)
    driver.apply(FLASH)
    driver.ticks(60)
    assert all(world.on_flash(ino) for ino in pinned)
    assert taken(driver) <= 5120


def test_pins_beyond_the_inodes_are_stuck(driver: Driver) -> None:
    world = driver.world
    world.files_on_flash = 100
    world.fill(range(1, 101), size=SMALL, prefix=0)
    for ino in range(1, 101):
        world.noted_pins[ino] = Pin(ino, None)
    driver.apply(FLASH)
    driver.ticks(20)
    assert taken(driver) == 80
    assert driver.engine.waiting(100) == Waiting("inodes", stuck=True)
    assert driver.engine.state().pinned_elsewhere == {"inodes": Sum(20, 20 * SMALL)}
    read = driver.metrics.registry.get_sample_value
    assert read("tierfs_flash_inodes") == 100
    assert read("tierfs_flash_inodes_used") == 80
    assert read("tierfs_flash_inodes_watermark", {"mark": "high"}) == 80


def test_a_filesystem_that_counts_no_inodes_is_never_short_of_them(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = driver.world
    monkeypatch.setattr(world, "space", lambda: Space(100 * MIB, 50 * MIB, 50 * MIB, 0, 0))
    world.fill(range(1, 101), size=SMALL)
    world.add(200, size=SMALL, prefix=0)
    world.noted_pins[200] = Pin(200, None)
    driver.apply(FLASH)
    driver.ticks(5)
    assert world.placed == [(200, WHOLE_FILE)]
