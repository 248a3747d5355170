"""What the engine says of single files: why they belong where they do, and why they wait."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tests.tiering.fake_world import FLASH, HEAD, Driver
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import MIB, SECOND
from tierfs.fs.migration_plan import Migrated
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.policy.model import Policy
from tierfs.tiering.engine import Engine, Explained
from tierfs.tiering.model import Waiting
from tierfs.tiering.state import Sum

RULES = """\
rules:
  - {name: often, match: {path: "/b/**"}, head: 8KiB, promote: {reads: 2, within: 1h, to: 32KiB}}
  - {name: idle, match: {idle: "> 1d"}, head: none}
"""


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
    monkeypatch.setattr(driver.world, "place", lambda ino, _prefix, **_: Migrated(ino, "no-room"))
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


@pytest.fixture
def named(driver: Driver) -> Driver:
    """Three files, of which the second is in a directory of its own."""
    driver.world.add(1, name="/a")
    driver.world.add(2, name="/b/c")
    driver.world.add(3, name="/a")
    return driver


def one(driver: Driver, ino: int) -> Explained:
    (found,) = driver.engine.explain([ino]) or ()
    return found


def test_without_a_policy_there_is_nothing_to_explain(named: Driver) -> None:
    assert named.engine.explain([1]) is None


def test_files_that_are_gone_are_left_out(named: Driver) -> None:
    named.apply(RULES)
    assert [found.inode.ino for found in named.engine.explain([9, 3, 1]) or ()] == [1, 3]


def test_reads_promote(named: Driver) -> None:
    named.apply(RULES)
    named.ticks()
    before = one(named, 2)
    assert (before.target.prefix, before.target.reason, before.warmth) == (8192, "head", None)
    for _ in range(3):
        named.world.read(2)
        named.ticks(1, 60)
    after = one(named, 2)
    assert (after.explanation.decision.rule, after.target.prefix) == ("often", 32768)
    assert after.target.reason == "promote"
    assert after.warmth is not None
    assert after.warmth.reads == pytest.approx(3, abs=0.1)
    assert after.last_read is not None
    assert after.explanation.rules[0].findings[0].found == "/b/c"


def test_a_pin_by_hand_counts_whatever_the_rule_says(named: Driver) -> None:
    named.apply(RULES)
    named.ticks()
    named.time.pass_by(3 * 24 * 3600)
    assert (one(named, 1).target.reason, one(named, 1).target.prefix) == ("head: none", 0)
    named.world.noted_pins[1] = Pin(1, None)
    found = one(named, 1)
    assert (found.target.reason, found.target.prefix) == ("pin by hand", WHOLE_FILE)
    assert found.explanation.decision.rule == "idle"


def test_a_policy_that_comes_while_another_is_taken_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[threading.Thread] = []

    def taken(engine: Engine) -> Policy | None:
        policy: Policy | None = engine.__dict__.get("next")
        if policy is not None and not late:
            late.append(threading.Thread(target=racing.apply, args=("head: 16KiB",)))
            late[0].start()
            late[0].join(0.2)
        return policy

    def noted(engine: Engine, policy: Policy | None) -> None:
        engine.__dict__["next"] = policy

    monkeypatch.setattr(Engine, "_next", property(taken, noted), raising=False)
    racing = Driver(tmp_path)
    racing.world.add(2)
    racing.apply("head: 8KiB")
    racing.ticks()
    late[0].join()
    racing.ticks()
    assert one(racing, 2).target.prefix == 16384
