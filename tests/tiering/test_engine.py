"""The engine in virtual time, over a filesystem that only counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tests.tiering.fake_world import FLASH, HEAD, LONG_AGO, PER_MIB, START, Driver
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import MIB, SECOND
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.tiering.engine import STEP_S
from tierfs.tiering.heat_file import HeatFile
from tierfs.tiering.scanner import EXPOSURE_SPAN, REST_S


def test_without_a_policy_nothing_moves_by_itself(driver: Driver) -> None:
    driver.world.fill(range(1, 95 * PER_MIB))
    driver.world.read(1, 2, 3)
    driver.ticks(100)
    assert not driver.world.placed
    assert not driver.world.mirrored


def test_flash_above_the_high_watermark_falls_to_the_low_one(driver: Driver) -> None:
    driver.world.fill(range(1, 90 * PER_MIB + 1))
    driver.apply(FLASH)
    driver.ticks(20)
    assert 59 * MIB < driver.world.used <= 60 * MIB


def test_flash_below_the_high_watermark_stays(driver: Driver) -> None:
    driver.world.fill(range(1, 79 * PER_MIB))
    driver.apply(FLASH)
    driver.ticks(100)
    assert driver.world.placed == []


def test_the_reserve_counts_as_a_watermark(driver: Driver) -> None:
    driver.world.fill(range(1, 70 * PER_MIB + 1))
    driver.apply("flash: {high_watermark: 99%, low_watermark: 90%, reserve: 40MiB}\n")
    driver.ticks(20)
    assert 50 * MIB < driver.world.used <= 51 * MIB


def test_what_is_read_stays_and_what_is_not_goes(driver: Driver) -> None:
    driver.world.fill(range(1, 70 * PER_MIB + 1))
    driver.apply(FLASH)
    hot = range(1, 30 * PER_MIB + 1)
    for _ in range(5):
        driver.world.read(*hot)
        driver.ticks(10, 6)
    driver.world.fill(range(10_000, 10_000 + 20 * PER_MIB))
    driver.ticks(30)
    assert driver.world.used <= 60 * MIB
    assert all(driver.world.on_flash(ino) for ino in hot)


def test_more_than_the_head_goes_first_and_the_head_later(driver: Driver) -> None:
    driver.world.fill(range(1, 86), size=MIB, prefix=WHOLE_FILE)
    driver.apply(FLASH)
    driver.ticks(20)
    assert driver.world.used <= 60 * MIB
    assert {driver.world.inodes[ino].prefix for ino in range(1, 86)} == {HEAD, WHOLE_FILE}


def test_pinned_files_and_those_never_evicted_stay(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 30 * PER_MIB + 1), name="/pinned/a")
    world.fill(range(1001, 1001 + 30 * PER_MIB), name="/never/a")
    world.fill(range(2001, 2001 + 30 * PER_MIB), name="/by-hand/a")
    for ino in range(2001, 2001 + 30 * PER_MIB):
        world.noted_pins[ino] = Pin(ino, None)
    driver.apply(
        FLASH + "rules:\n"
        "  - {name: pinned, match: {path: /pinned/**}, pin: true}\n"
        "  - {name: never, match: {path: /never/**}, evict: never}\n"
    )
    driver.ticks(10)
    assert world.used == 90 * MIB
    assert world.placed == []


SCRATCH_FIRST = (
    "flash: {high_watermark: 80%, low_watermark: 60%, reserve: 0,"
    " evict_order: [scratch, standard]}\n"
    "rules:\n  - {name: scratch, match: {path: /scratch/**}, class: scratch}\n"
)


def test_lower_classes_go_first(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 50 * PER_MIB + 1), name="/keep/a")
    world.fill(range(5001, 5001 + 40 * PER_MIB), name="/scratch/a")
    driver.apply(SCRATCH_FIRST)
    driver.ticks(60)
    assert world.used <= 60 * MIB
    assert all(world.on_flash(ino) for ino in range(1, 50 * PER_MIB + 1))


def test_files_that_will_be_read_stay_however_cold(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 90 * PER_MIB + 1))
    driver.apply(FLASH)
    warm = range(20 * PER_MIB + 1, 90 * PER_MIB + 1)
    world.read(*warm)
    world.upcoming = {ino: ino for ino in range(1, 20 * PER_MIB + 1)}
    driver.ticks(60)
    assert world.used <= 60 * MIB
    assert all(map(world.on_flash, world.upcoming))


def test_of_files_that_will_be_read_those_leave_that_are_read_last(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 90 * PER_MIB + 1))
    world.upcoming = {ino: -ino % 7919 for ino in world.inodes}
    driver.apply("flash: {high_watermark: 80%, low_watermark: 79%, reserve: 0}\n")
    driver.ticks(60)
    staying = [before for ino, before in world.upcoming.items() if world.on_flash(ino)]
    leaving = [before for ino, before in world.upcoming.items() if not world.on_flash(ino)]
    assert leaving
    assert max(staying) < min(leaving)


def test_a_lower_class_goes_first_even_if_it_will_be_read(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 50 * PER_MIB + 1), name="/keep/a")
    world.fill(range(5001, 5001 + 40 * PER_MIB), name="/scratch/a")
    world.upcoming = dict.fromkeys(range(5001, 5001 + 40 * PER_MIB), 1)
    driver.apply(SCRATCH_FIRST)
    driver.ticks(60)
    assert world.used <= 60 * MIB
    assert all(world.on_flash(ino) for ino in range(1, 50 * PER_MIB + 1))


def test_a_file_that_is_read_does_not_push_one_out_that_will_be(driver: Driver) -> None:
    """Though it is worth more by its heat; without what was declared it comes in."""
    world = driver.world
    world.fill(range(1, 80 * PER_MIB + 1))
    world.add(5000, size=MIB, prefix=0)
    driver.apply("flash: {high_watermark: 80%, low_watermark: 60%, reserve: 0}\nhead: all")
    driver.ticks(10)
    world.upcoming = dict.fromkeys(range(1, 80 * PER_MIB + 1), 1)
    for _ in range(5):
        world.read(5000)
        driver.ticks(10)
    assert not world.on_flash(5000)
    world.upcoming = {}
    for _ in range(5):
        world.read(5000)
        driver.ticks(10)
    assert world.on_flash(5000)


def test_the_next_class_goes_when_the_first_is_used_up(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 85 * PER_MIB + 1), name="/keep/a")
    world.fill(range(5001, 5001 + 5 * PER_MIB), name="/scratch/a")
    driver.apply(SCRATCH_FIRST)
    driver.ticks(60)
    assert world.used <= 60 * MIB
    assert not any(world.on_flash(ino) for ino in range(5001, 5001 + 5 * PER_MIB))


def test_head_none_leaves_flash_without_pressure(driver: Driver) -> None:
    driver.world.fill(range(1, 101), name="/archive/a")
    driver.world.fill(range(101, 201), name="/live/a")
    driver.apply("rules: [{name: archive, match: {path: /archive/**}, head: none}]")
    driver.ticks(5)
    assert sorted(driver.world.placed) == [(ino, 0) for ino in range(1, 101)]


def test_head_none_waits_until_a_file_is_left_alone(driver: Driver) -> None:
    driver.apply("head: none")
    driver.ticks(2)
    driver.world.add(7)
    driver.world.write(7, HEAD)
    driver.ticks(4)
    assert driver.world.placed == []
    driver.ticks(4)
    assert driver.world.placed == [(7, 0)]


def test_a_pinned_rule_brings_heads_up(driver: Driver) -> None:
    driver.world.fill(range(1, 11), size=2 * HEAD, prefix=0)
    driver.apply("pin: true")
    driver.ticks(5)
    assert driver.world.placed == [(ino, HEAD) for ino in range(1, 11)]


def test_promotion_after_some_reads(driver: Driver) -> None:
    world = driver.world
    world.add(1, size=MIB)
    world.add(2, size=MIB)
    driver.apply("promote: {reads: 3, within: 1h}")
    driver.ticks()
    for _ in range(2):
        world.read(1, 2)
        driver.ticks(60)
    assert world.placed == []
    world.read(1)
    driver.ticks(3)
    assert world.placed == [(1, WHOLE_FILE)]


def test_reads_bring_the_head_back_while_there_is_room(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 59 * PER_MIB + 1))
    world.fill(range(5001, 5001 + 10 * PER_MIB), prefix=0)
    driver.apply(FLASH)
    driver.ticks(3)
    world.read(*range(5001, 5001 + 10 * PER_MIB))
    driver.ticks(5)
    assert 59 * MIB < world.used <= 60 * MIB


def test_mirroring_in_batches_in_the_order_of_numbers(driver: Driver) -> None:
    driver.world.fill(reversed(range(1, 601)))
    driver.apply("mirror: async")
    driver.ticks(3)
    assert driver.world.mirrored == list(range(1, 601))
    driver.ticks(200)
    assert len(driver.world.mirrored) == 600


def test_a_file_that_is_written_again_is_mirrored_again(driver: Driver) -> None:
    driver.world.add(1)
    driver.apply("mirror: async")
    driver.ticks(3)
    driver.world.write(1, 2 * HEAD)
    driver.ticks(4)
    assert driver.world.mirrored == [1]
    driver.ticks(4)
    assert driver.world.mirrored == [1, 1]


def test_mirror_never_mirrors_nothing(driver: Driver) -> None:
    driver.world.fill(range(1, 101))
    driver.apply("mirror: never")
    driver.ticks(100)
    assert driver.world.mirrored == []


def test_a_window_holds_back_what_can_wait_but_not_evictions(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 90 * PER_MIB + 1), name="/live/a")
    world.add(5000, name="/archive/a", mirrored=1)
    world.add(5001, size=MIB, prefix=0, mirrored=1)
    world.noted_requests = {5001: Request(5001, WHOLE_FILE)}
    hour = datetime.fromtimestamp(driver.time.now / SECOND, UTC).astimezone().hour
    closed = f'window: "{(hour + 20) % 24:02}:00-{(hour + 22) % 24:02}:00"'
    driver.apply(
        FLASH + f"mover: {{{closed}}}\n"
        "rules: [{name: archive, match: {path: /archive/**}, head: none, evict: never}]"
    )
    driver.ticks(30)
    assert world.used <= 61 * MIB
    assert world.mirrored == []
    assert world.on_flash(5000) == HEAD
    assert world.on_flash(5001) == MIB
    driver.time.pass_by(21 * 3600)
    driver.ticks(70)
    assert world.mirrored != []
    assert world.on_flash(5000) == 0


def test_failing_moves_suspend_the_mover_and_it_recovers(
    driver: Driver, expect_log: ExpectLog
) -> None:
    expect_log("inode .* could not be moved")
    expect_log("too many moves fail: nothing is moved for the next 30 s")
    world = driver.world
    world.fill(range(1, 31), name="/archive/a", mirrored=1)
    world.broken = set(range(1, 31))
    driver.apply("rules: [{name: archive, match: {path: /archive/**}, head: none}]")
    driver.ticks(5)
    assert driver.engine.state().suspended
    assert driver.engine.state().failed >= 5
    failed = driver.engine.state().failed
    driver.ticks(20)
    assert driver.engine.state().failed == failed
    world.broken = set()
    driver.ticks(600)
    assert not driver.engine.state().suspended
    assert world.used == 0


def test_a_steady_state_moves_nothing(tmp_path: Path) -> None:
    """An epoch over more than flash holds, again and again: at first files come, then none."""
    driver = Driver(tmp_path, capacity=20 * MIB)
    world = driver.world
    files = range(1, 40 * PER_MIB + 1)
    world.fill(files, prefix=0, mirrored=1)
    driver.apply(FLASH)
    driver.ticks()
    moves = []
    for _ in range(8):
        before = len(world.placed)
        for start in range(0, len(files), 20):
            world.read(*files[start : start + 20])
            driver.ticks(3, 4)
        moves.append(len(world.placed) - before)
    assert moves[0] >= 11 * PER_MIB
    assert moves[1:] == [0] * 7
    assert 11 * MIB < world.used <= 12 * MIB


def test_an_idle_volume_is_left_in_peace(driver: Driver) -> None:
    driver.world.fill(range(1, 50 * PER_MIB), mirrored=1)
    driver.apply(FLASH)
    driver.ticks(2000)
    assert not driver.world.placed
    assert not driver.world.mirrored


def test_heat_is_kept_over_a_restart(driver: Driver, tmp_path: Path) -> None:
    driver.world.fill(range(1, 11))
    driver.apply(FLASH)
    driver.ticks()
    driver.world.read(3)
    driver.ticks()
    driver.engine.stop()
    again = Driver(tmp_path)
    again.world.inodes = driver.world.inodes
    again.apply(FLASH)
    again.ticks()
    assert again.engine._context.heat.look(3, again.time.now) is not None
    assert again.engine._context.heat.look(4, again.time.now) is None


def test_a_damaged_snapshot_is_left_out(
    driver: Driver, tmp_path: Path, expect_log: ExpectLog
) -> None:
    expect_log("index.db.heat: a heat snapshot of 8 bytes is cut off")
    (tmp_path / "index.db.heat").write_bytes(b"not heat")
    driver.apply(FLASH)
    driver.ticks()
    assert driver.engine.state().heat_memory == pytest.approx(MIB, rel=0.01)


def test_a_policy_is_known_while_it_is_taken_up(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a plan that is asked for just then would say that there is none."""
    known: list[bool] = []
    monkeypatch.setattr(HeatFile, "load", lambda *_: known.append(driver.engine.policy is not None))
    driver.apply(FLASH)
    driver.ticks()
    assert known == [True]


def since(driver: Driver) -> int | None:
    return driver.engine.state().flash_only_since


def test_the_oldest_file_that_only_flash_has_is_known_without_a_policy(driver: Driver) -> None:
    world = driver.world
    world.add(1, changed=LONG_AGO - 5 * SECOND, mirrored=1)
    world.add(2, changed=LONG_AGO - 4 * SECOND, prefix=0)
    world.add(3, changed=LONG_AGO)
    world.add(2 * EXPOSURE_SPAN, changed=LONG_AGO - 3 * SECOND)
    driver.ticks()
    assert since(driver) is None  # the first round has not ended
    driver.ticks()
    assert since(driver) == LONG_AGO - 3 * SECOND
    read = driver.metrics.registry.get_sample_value
    assert read("tierfs_flash_only_oldest_timestamp_seconds") == START / SECOND - 3603


def test_when_all_is_mirrored_there_is_none(driver: Driver) -> None:
    driver.world.fill(range(1, 101))
    driver.ticks()
    assert since(driver) == LONG_AGO
    driver.apply("mirror: async")
    driver.ticks(40)
    assert since(driver) is None
    assert (
        driver.metrics.registry.get_sample_value("tierfs_flash_only_oldest_timestamp_seconds") == 0
    )


@dataclass
class Worked:
    """A thread's processor time, of which each look at it takes 100 us, and how long it rested."""

    seconds: float = 0.0
    unrested: float = 0.0
    longest: float = 0.0

    def thread_time(self) -> float:
        self.seconds += 1e-4
        self.unrested += 1e-4
        self.longest = max(self.longest, self.unrested)
        return self.seconds

    def sleep(self, seconds: float) -> None:
        assert seconds >= STEP_S
        self.unrested = 0.0


def test_an_engine_that_looks_at_many_files_lets_other_threads_go_on(driver: Driver) -> None:
    worked = Worked()
    clocks = replace(driver.time.clocks, thread_time=worked.thread_time, sleep=worked.sleep)
    driver.engine = driver.begin(clocks)
    driver.world.fill(range(1, 1000))
    driver.apply(FLASH)
    for read in (range(0), range(1, 500)):
        worked.seconds = worked.longest = 0.0
        driver.world.read(*read)
        driver.ticks()
        assert worked.seconds > 20 * STEP_S
        assert worked.longest < 2 * STEP_S
        driver.time.pass_by(REST_S / 2)
