"""The drive, on a clock that the tests set."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from functools import partial

import pytest

from tests.benchmarks.disk.model import Drive, Geometry, SimulatedDisk, assumptions
from tierfs.common.units import KIB, MIB

MS = 1e-3
CAPACITY = 4 * 10**12
PLAIN = Geometry(read_ahead=0)


def access(drive: Drive, now: float, address: int, length: int = 64 * KIB) -> float:
    return drive.access(now, address, length, CAPACITY).total


def test_random_seeks_take_the_average_that_was_asked_for() -> None:
    chance = random.Random(7)
    distances = [abs(chance.random() - chance.random()) * CAPACITY for _ in range(20_000)]
    seeks = [PLAIN.seek_s(distance, CAPACITY) for distance in distances]
    assert statistics.mean(seeks) == pytest.approx(8.5 * MS, rel=0.01)


def test_the_ends_of_the_seek_curve() -> None:
    assert PLAIN.seek_s(CAPACITY, CAPACITY) == pytest.approx(18 * MS)
    assert PLAIN.seek_s(2 * CAPACITY, CAPACITY) == pytest.approx(18 * MS)
    assert PLAIN.seek_s(PLAIN.track, CAPACITY) == pytest.approx(1 * MS, rel=0.01)
    assert PLAIN.seek_s(PLAIN.track - 1, CAPACITY) == 0


def test_a_longer_seek_takes_longer() -> None:
    seeks = [PLAIN.seek_s(part / 100 * CAPACITY, CAPACITY) for part in range(1, 101)]
    assert seeks == sorted(seeks)


def test_the_mean_rotation_is_half_a_turn() -> None:
    chance, drive, now, waits = random.Random(3), Drive(PLAIN), 0.0, []
    for _ in range(5_000):
        cost = drive.access(now, chance.randrange(CAPACITY), KIB, CAPACITY)
        assert 0 <= cost.rotation < PLAIN.turn_s
        waits.append(cost.rotation)
        now += cost.total + chance.random() * 10 * MS
    assert statistics.mean(waits) == pytest.approx(PLAIN.turn_s / 2, rel=0.03)


def test_the_first_byte_comes_by_when_its_angle_is_under_the_head() -> None:
    drive, address = Drive(PLAIN), 1_234_567_890_123
    cost = drive.access(0.3, address, KIB, CAPACITY)
    at_the_byte = 0.3 + cost.seek + cost.rotation
    assert PLAIN.angle(at_the_byte) == pytest.approx(address % PLAIN.track / PLAIN.track)


def test_going_on_where_the_last_access_ended_costs_the_transfer_alone() -> None:
    drive, now = Drive(PLAIN), 1.0
    now += access(drive, now, 10**12)
    for number in range(1, 5):
        cost = access(drive, now, 10**12 + number * 64 * KIB)
        assert cost == pytest.approx(64 * KIB / 180e6)
        now += cost + 3 * MS


def test_without_read_ahead_a_gap_costs_a_rotation() -> None:
    drive = Drive(PLAIN)
    now = 1.0 + access(drive, 1.0, 10**12)
    cost = drive.access(now, 10**12 + 128 * KIB, 64 * KIB, CAPACITY)
    assert cost.seek == 0
    assert cost.rotation == pytest.approx(64 * KIB / 180e6)  # the gap passes under the head


def test_what_the_idle_head_has_read_ahead_costs_nothing() -> None:
    drive = Drive(Geometry(read_ahead=1 * MIB))
    now = 1.0 + access(drive, 1.0, 10**12)
    at_once = Drive(Geometry(read_ahead=1 * MIB))
    access(at_once, 1.0, 10**12)
    assert access(at_once, now, 10**12 + 64 * KIB) == pytest.approx(64 * KIB / 180e6)
    assert access(drive, now + 1.0, 10**12 + 64 * KIB) == 0
    # The buffer ends 1 MiB behind the first access; the head has stopped there.
    late = access(drive, now + 2.0, 10**12 + 128 * KIB, 2 * MIB)
    assert late == pytest.approx(MIB / 180e6)


def test_what_is_further_away_than_the_read_ahead_needs_a_positioning() -> None:
    drive = Drive(Geometry(read_ahead=1 * MIB))
    now = 1.0 + access(drive, 1.0, 10**12)
    cost = drive.access(now, 10**12 + 64 * KIB + 2 * MIB, KIB, CAPACITY)
    assert cost.rotation > 0
    backwards = drive.access(now + 1.0, 10**12, KIB, CAPACITY)
    assert backwards.seek + backwards.rotation > 0


def test_requests_are_served_one_after_the_other() -> None:
    disk = SimulatedDisk(PLAIN, "fifo")
    first, second = disk.read(5.0, 10**12, KIB), disk.read(5.0, 3 * 10**12, KIB)
    one = disk.next(5.0, CAPACITY)
    assert one is not None
    assert one.request is first
    # The caller wakes up late; the second has begun when the first was done.
    two = disk.next(one.done_at + 0.5, CAPACITY)
    assert two is not None
    assert two.request is second
    assert one.done_at < two.done_at < one.done_at + 30 * MS
    assert disk.next(9.0, CAPACITY) is None
    assert disk.counters.queue_s == pytest.approx(one.done_at - 5.0)
    assert disk.counters.deepest == 2


def test_the_mean_of_random_reads_is_seek_half_a_turn_and_transfer() -> None:
    chance, disk, now = random.Random(1), SimulatedDisk(Geometry(), "fifo"), 0.0
    for _ in range(5_000):
        disk.read(now, chance.randrange(CAPACITY), 64 * KIB)
        turn = disk.next(now, CAPACITY)
        assert turn is not None
        now = turn.done_at + chance.random() * MS
    seen = disk.counters
    assert seen.reads == 5_000
    assert seen.read_bytes == 5_000 * 64 * KIB
    total = (seen.seek_s + seen.rotation_s + seen.transfer_s) / seen.reads
    assert total == pytest.approx((8.5 + 4.17 + 0.36) * MS, rel=0.02)


def test_an_elevator_serves_a_deep_queue_in_less_time() -> None:
    def serve_all(disk: SimulatedDisk) -> float:
        chance = random.Random(5)
        for _ in range(64):
            disk.read(0.0, chance.randrange(CAPACITY), KIB)
        last = 0.0
        while turn := disk.next(last, CAPACITY):
            last = turn.done_at
        return last

    assert serve_all(SimulatedDisk(PLAIN, "elevator")) < 0.8 * serve_all(
        SimulatedDisk(PLAIN, "fifo")
    )


def test_a_full_drive_spreads_its_files_over_the_whole_stroke() -> None:
    small, large = SimulatedDisk(PLAIN), SimulatedDisk(Geometry(capacity=CAPACITY, read_ahead=0))
    for disk in (small, large):
        disk.read(0.0, 10**9 - KIB, KIB)
        disk.next(0.0, 10**9)
    assert small.counters.seek_s == pytest.approx(18 * MS, rel=0.01)
    assert large.counters.seek_s < 2 * MS


def test_a_write_takes_its_transfer_and_leaves_the_head_where_it_is() -> None:
    disk = SimulatedDisk(PLAIN)
    disk.read(0.0, 10**12, KIB)
    read = disk.next(0.0, CAPACITY)
    assert read is not None
    disk.write(read.done_at, 1_800_000)
    written = disk.next(read.done_at, CAPACITY)
    assert written is not None
    assert written.done_at - read.done_at == pytest.approx(10 * MS)
    disk.read(written.done_at, 10**12 + KIB, KIB)
    disk.next(written.done_at, CAPACITY)
    assert disk.counters.sequential == 1
    assert disk.counters.written_bytes == 1_800_000


def test_at_scale_0_nobody_waits_and_all_is_counted() -> None:
    disk = SimulatedDisk(PLAIN, scale=0)
    disk.read(5.0, 10**12, KIB)
    turn = disk.next(5.0, CAPACITY)
    assert turn is not None
    assert turn.done_at == 5.0
    assert disk.counters.seek_s > 0


@pytest.mark.parametrize(
    "wrong",
    [
        partial(Geometry, rpm=0.0),
        partial(Geometry, rate=-1.0),
        partial(Geometry, settle_s=0.01),
        partial(Geometry, full_seek_s=0.008),
        partial(Geometry, average_seek_s=0.005),
        partial(Geometry, average_seek_s=0.012),
        partial(Geometry, read_ahead=-1),
    ],
)
def test_a_drive_that_cannot_be_is_refused(wrong: Callable[[], Geometry]) -> None:
    with pytest.raises(ValueError, match=r"must|negative|curve"):
        wrong()


def test_the_assumptions_tell_every_parameter() -> None:
    text = "\n".join(assumptions(SimulatedDisk(Geometry(capacity=4 * 10**12), "fifo", scale=0.5)))
    for part in ("7200 rpm", "8.33 ms", "8.5 ms", "180 MB/s", "3.64TiB", "first come", "0.5"):
        assert part in text
