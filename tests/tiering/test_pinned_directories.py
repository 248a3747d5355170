"""Pins of directories: what is in them, below them, made there and moved there comes to flash."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.calls import DIRECTORY, file_of, make
from tests.core.scenarios import HEAD, pattern
from tests.support.volumes import LooseVolume
from tests.tiering.fake_world import Driver
from tests.tiering.test_engine_on_volume import Tiered, tiered
from tierfs.base.extents import WHOLE_FILE
from tierfs.base.units import KIB, MIB
from tierfs.index.inodes import ROOT
from tierfs.index.pins_and_requests import Pin
from tierfs.tiering.state import Sum, Waiting

__all__ = ["tiered"]

SIZE = 3 * HEAD
FLASH = "flash: {high_watermark: 80%, low_watermark: 60%, reserve: 0}\n"


def pin(volume: LooseVolume, ino: int, until: int | None = None) -> None:
    with volume.index.transaction():
        volume.index.pins_and_requests.pin(Pin(ino, until, 1))


def test_what_is_made_and_moved_below_a_pinned_directory_comes(tiered: Tiered) -> None:
    volume = tiered.volume
    upper = make(volume, b"upper", DIRECTORY).ino
    lower = make(volume, b"lower", DIRECTORY, upper).ino
    before = make(volume, b"before", parent=lower).ino
    volume.fs.data.write(before, 0, pattern(SIZE))
    elsewhere = file_of(volume, pattern(SIZE), b"elsewhere")
    pin(volume, upper)
    tiered.until(lambda: tiered.inode(before)[0] == WHOLE_FILE, "what was there comes")
    made = make(volume, b"made", parent=lower).ino
    volume.fs.data.write(made, 0, pattern(SIZE))
    tiered.until(lambda: tiered.inode(made)[0] == WHOLE_FILE, "what is made later comes")
    assert tiered.inode(elsewhere)[0] == HEAD
    volume.fs.names.rename(ROOT, b"elsewhere", lower, b"elsewhere")
    tiered.until(lambda: tiered.inode(elsewhere)[0] == WHOLE_FILE, "what is moved there comes")
    tiered.until(lambda: tiered.engine.state().pinned == Sum(3, 3 * SIZE), "all are counted")


def test_an_explanation_names_the_directory(tiered: Tiered) -> None:
    volume = tiered.volume
    upper = make(volume, b"upper", DIRECTORY).ino
    file = make(volume, b"file", parent=upper).ino
    beside = file_of(volume, b"x", b"beside")
    tiered.apply("head: 4KiB")
    pin(volume, upper)
    told = {one.inode.ino: one for one in tiered.engine.explain([file, beside]) or ()}
    assert (told[file].target.reason, told[file].pinned_by) == ("pin by hand", b"/upper")
    assert (told[beside].target.reason, told[beside].pinned_by) == ("head", None)


def test_a_pin_that_ends_is_removed_and_holds_no_longer(tiered: Tiered) -> None:
    volume = tiered.volume
    upper = make(volume, b"upper", DIRECTORY).ino
    file = make(volume, b"file", parent=upper).ino
    volume.fs.data.write(file, 0, pattern(SIZE))
    pin(volume, upper, until=1)
    tiered.until(lambda: not tiered.catalog.pins(0, 9), "the pin is removed")
    tiered.until(lambda: True, "time passes")
    assert tiered.inode(file)[0] == HEAD


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """Files of the directory 1, which is pinned."""
    driver = Driver(tmp_path)
    driver.world.noted_pins[1] = Pin(1, None, 1)
    return driver


def test_more_files_than_a_page_come_and_none_is_evicted(driver: Driver) -> None:
    driver.world.fill(range(10, 1010), size=70 * KIB, prefix=0, mirrored=1)
    driver.apply(FLASH)
    driver.ticks(60)
    assert all(driver.world.on_flash(ino) == 70 * KIB for ino in range(10, 1010))
    assert driver.engine.state().pinned == Sum(1000, 1000 * 70 * KIB)


def test_what_does_not_fit_is_stuck_and_counted_once(driver: Driver) -> None:
    driver.world.fill(range(10, 20), size=10 * MIB, prefix=0, mirrored=1)
    driver.world.noted_pins[10] = Pin(10, None)  # has a pin of its own as well
    driver.apply(FLASH)
    driver.ticks(60)
    assert driver.engine.waiting(19) == Waiting("room", stuck=True)
    state = driver.engine.state()
    assert state.pinned == Sum(10, 100 * MIB)
    assert state.misplaced == {"room": Sum(2, 20 * MIB)}
