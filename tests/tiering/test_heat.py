"""The heat table: counts, visits, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.common.units import DAY, SECOND
from tierfs.tiering.heat import SLOT_BYTES, Heat, Visits, Warmth

HOUR = 3600 * SECOND


def known_to(heat: Heat) -> list[int]:
    return [ino for ino in heat.slots.ino if ino]


def test_reads_and_bytes_halve_with_the_half_life() -> None:
    heat = Heat(8, half_life=HOUR)
    heat.feed([(7, 4, 400)], now=DAY)
    assert heat.look(7, DAY) == Warmth(4.0, 400.0)
    assert heat.look(7, DAY + 2 * HOUR) == Warmth(1.0, 100.0)


def test_later_reads_are_added_to_what_is_left() -> None:
    heat = Heat(8, half_life=HOUR)
    heat.feed([(7, 4, 400)], now=0)
    heat.feed([(7, 1, 100)], now=HOUR)
    assert heat.look(7, HOUR) == Warmth(3.0, 300.0)


def test_the_mean_of_intervals_between_visits() -> None:
    heat = Heat(8)
    for second in (0, 10, 30):
        heat.feed([(7, 1, 1)], now=second * SECOND)
    assert heat.visits(7, 35 * SECOND) == Visits(2, 15.0, 5.0)
    assert heat.typical == 15.0


def test_pieces_read_one_after_the_other_are_one_visit() -> None:
    heat = Heat(8, visit=10 * SECOND)
    for second in range(9):
        heat.feed([(7, 1, 100)], now=second * SECOND)
    assert heat.visits(7, 9 * SECOND) == Visits(0, 0.0, 9.0)
    assert heat.look(7, 0) == Warmth(9.0, 900.0)


def test_a_file_that_is_read_all_the_time_is_visited_again_and_again() -> None:
    heat = Heat(8, visit=10 * SECOND)
    for second in range(51):
        heat.feed([(7, 1, 100)], now=second * SECOND)
    assert heat.visits(7, 50 * SECOND) == Visits(5, 10.0, 0.0)


def test_a_clock_that_is_set_back_stops_no_count() -> None:
    heat = Heat(8)
    heat.feed([(7, 1, 1)], now=DAY)
    heat.feed([(7, 1, 1)], now=0)
    heat.feed([(7, 1, 1)], now=20 * SECOND)
    assert heat.visits(7, 20 * SECOND) == Visits(1, 20.0, 0.0)


def test_nothing_is_known_of_others() -> None:
    heat = Heat(8)
    heat.feed([(7, 0, 0), (0, 1, 1)], now=0)
    assert heat.look(7, 0) is None
    assert heat.visits(0, 0) is None
    assert known_to(heat) == []


def test_a_file_is_forgotten() -> None:
    heat = Heat(8)
    heat.feed([(7, 1, 1), (8, 1, 1)], now=0)
    heat.forget(7)
    heat.forget(9)
    assert heat.look(7, 0) is None
    assert known_to(heat) == [8]


def test_memory_is_what_was_said() -> None:
    heat = Heat(1000)
    assert heat.capacity == 1000
    assert heat.memory == 29 * 1000 == SLOT_BYTES * 1000
    arrays = sum(column.itemsize * len(column) for column in heat.slots.columns)
    heat.feed([(ino, 1, 1) for ino in range(1, 5000)], now=0)
    assert sum(column.itemsize * len(column) for column in heat.slots.columns) == arrays
    assert arrays == heat.memory


def test_a_table_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="1 file or more, not 0"):
        Heat(0)


def read_each(heat: Heat, inos: range, begin: int) -> int:
    """Read every file once, one a second; the time after that."""
    for number, ino in enumerate(inos):
        heat.feed([(ino, 1, 1)], now=(begin + number) * SECOND)
    return begin + len(inos)


def test_a_scan_does_not_wash_out_what_is_read_often() -> None:
    heat, now = Heat(400), 0
    for _ in range(4):
        now = read_each(heat, range(1, 101), now)
    known = [ino for ino in range(1, 101) if heat.visits(ino, now * SECOND)]
    assert len(known) > 95
    for start in range(10_000, 11_000, 100):
        now = read_each(heat, range(start, start + 100), now)
        now = read_each(heat, range(1, 101), now)
    still = [ino for ino in known if heat.visits(ino, now * SECOND)]
    assert len(still) >= 0.95 * len(known)


def test_of_a_cycle_larger_than_the_table_most_of_the_table_is_known_by_interval() -> None:
    heat, now = Heat(400), 0
    for _ in range(10):
        now = read_each(heat, range(1, 1601), now)
    known = [heat.visits(ino, now * SECOND) for ino in range(1, 1601)]
    returned = [visits for visits in known if visits and visits.intervals]
    assert len(returned) > 300
    assert {round(visits.interval) for visits in returned} == {1600}


def test_new_files_replace_those_that_no_longer_come() -> None:
    heat, now = Heat(400), 0
    for _ in range(3):
        now = read_each(heat, range(1, 401), now)
    for _ in range(20):
        now = read_each(heat, range(1001, 1401), now)
    new = [ino for ino in range(1001, 1401) if heat.visits(ino, now * SECOND)]
    assert len(new) > 300


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 5), st.integers(0, 10**12))))
def test_a_file_is_in_the_table_once_and_counts_are_sums(rows: list[tuple[int, int, int]]) -> None:
    heat = Heat(1000)
    heat.feed(rows, now=0)
    known = known_to(heat)
    assert sorted(known) == sorted({ino for ino, _, _ in rows})
    for ino in known:
        warmth = heat.look(ino, 0)
        assert warmth is not None
        assert warmth.reads == sum(reads for one, reads, _ in rows if one == ino)
