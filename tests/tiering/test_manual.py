"""Pins and requests of people, of files and of directories."""

from __future__ import annotations

import pytest

from tests.fs.calls import DIRECTORY, file_of, make
from tests.fs.scenarios import pattern
from tests.guards.logs import ExpectLog
from tests.support.volumes import LooseVolume
from tests.tiering.fake_world import FLASH, HEAD, PER_MIB, Driver
from tests.tiering.on_volume import HEAD as VOLUME_HEAD
from tests.tiering.on_volume import Tiered
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import DAY, KIB, MIB, SECOND
from tierfs.metadata.inodes import ROOT
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.tiering.model import Waiting
from tierfs.tiering.state import Sum

SIZE = 3 * VOLUME_HEAD


def test_a_pin_by_hand_brings_all_up_also_without_a_policy(driver: Driver) -> None:
    driver.world.add(1, size=MIB, prefix=0)
    driver.world.noted_pins[1] = Pin(1, driver.time.now + 100 * SECOND)
    driver.ticks(5)
    assert driver.world.placed == [(1, WHOLE_FILE)]
    driver.ticks(200)
    assert driver.world.noted_pins == {}
    assert driver.world.placed == [(1, WHOLE_FILE)]


def test_a_pin_evicts_whoever_may_go(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 79 * PER_MIB + 1))
    world.add(5000, size=10 * MIB, prefix=0)
    driver.apply(FLASH)
    driver.ticks(10)
    assert world.placed == []
    world.noted_pins[5000] = Pin(5000, None)
    driver.ticks(10)
    assert world.on_flash(5000) == 10 * MIB
    assert world.used <= 80 * MIB


def test_requests_are_worked_off_and_settled(driver: Driver) -> None:
    world = driver.world
    world.add(1, size=MIB, prefix=0)
    world.add(2)
    world.noted_requests = {
        1: Request(1, WHOLE_FILE),
        2: Request(2, 0),
        3: Request(3, 0),
    }
    driver.ticks(3)
    assert sorted(world.placed) == [(1, WHOLE_FILE), (2, 0)]
    assert world.noted_requests == {}


def test_a_request_for_which_there_is_no_room_is_settled(
    driver: Driver, expect_log: ExpectLog
) -> None:
    expect_log("inode 1 does not come to flash: there is no room")
    world = driver.world
    world.add(1, size=90 * MIB, prefix=0)
    world.noted_requests = {1: Request(1, WHOLE_FILE)}
    driver.ticks(3)
    assert world.placed == []
    assert world.noted_requests == {}


def test_a_demoted_file_comes_back_only_when_it_is_read(driver: Driver) -> None:
    world = driver.world
    world.add(1)
    driver.apply(FLASH)
    world.read(1)
    driver.ticks(2)
    world.noted_requests = {1: Request(1, 0)}
    driver.ticks(100)
    assert world.on_flash(1) == 0
    world.read(1)
    driver.ticks(2)
    assert world.on_flash(1) == HEAD


def test_what_is_promoted_by_hand_is_not_sent_off_again_for_a_day(driver: Driver) -> None:
    world = driver.world
    world.add(1, prefix=0)
    driver.apply("head: none")
    driver.ticks(2)
    world.noted_requests = {1: Request(1, WHOLE_FILE)}
    driver.ticks(200)
    assert world.on_flash(1) == HEAD
    driver.time.pass_by(DAY / SECOND)
    driver.ticks(70)
    assert world.on_flash(1) == 0


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
    assert tiered.inode(elsewhere)[0] == VOLUME_HEAD
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
    assert tiered.inode(file)[0] == VOLUME_HEAD


@pytest.fixture
def below(driver: Driver) -> Driver:
    """Files of the directory 1, which is pinned."""
    driver.world.noted_pins[1] = Pin(1, None, 1)
    return driver


def test_more_files_than_a_page_come_and_none_is_evicted(below: Driver) -> None:
    below.world.fill(range(10, 1010), size=70 * KIB, prefix=0, mirrored=1)
    below.apply(FLASH)
    below.ticks(60)
    assert all(below.world.on_flash(ino) == 70 * KIB for ino in range(10, 1010))
    assert below.engine.state().pinned == Sum(1000, 1000 * 70 * KIB)


def test_what_does_not_fit_is_stuck_and_counted_once(below: Driver) -> None:
    below.world.fill(range(10, 20), size=10 * MIB, prefix=0, mirrored=1)
    below.world.noted_pins[10] = Pin(10, None)  # has a pin of its own as well
    below.apply(FLASH)
    below.ticks(60)
    assert below.engine.waiting(19) == Waiting("room", stuck=True)
    state = below.engine.state()
    assert state.pinned == Sum(10, 100 * MIB)
    assert state.misplaced == {"room": Sum(2, 20 * MIB)}
