"""Who comes in, and who goes."""

from __future__ import annotations

from tierfs.common.units import GIB, KIB, SECOND
from tierfs.policy.model import Evict
from tierfs.tiering.heat import Heat
from tierfs.tiering.replacement import (
    REFUSED,
    Admission,
    Item,
    admit,
    enough,
    resident_worth,
)

NOW = 10_000 * SECOND
SIZE = 64 * KIB


def visited(*every: int) -> Heat:
    """A table in which file n was visited every ``every[n - 1]`` seconds until now, or once (0)."""
    heat = Heat(1024)
    times = [
        (second, ino)
        for ino, step in enumerate(every, 1)
        for second in (range(10_000, 0, -step) if step else [10_000])
    ]
    for second, ino in sorted(times):
        heat.feed([(ino, 1, SIZE)], now=second * SECOND)
    return heat


def item(ino: int, size: int = SIZE, evict: Evict = "heat", rank: int = 0) -> Item:
    return Item(ino, size, 0, evict, rank)


def test_while_there_is_room_everybody_comes_in() -> None:
    assert admit(Heat(8), item(1), SIZE, [], NOW) == Admission(admit=True)


def test_a_file_read_more_often_takes_the_place_of_another() -> None:
    heat = visited(10, 1000)
    assert admit(heat, item(1), 0, [item(2)], NOW) == Admission(admit=True, evict=(item(2),))
    assert admit(heat, item(2), 0, [item(1)], NOW) == REFUSED


def test_equal_files_do_not_push_one_another_out() -> None:
    heat = visited(100, 100, 90)
    assert admit(heat, item(1), 0, [item(2)], NOW) == REFUSED
    assert admit(heat, item(3), 0, [item(2)], NOW) == REFUSED


def test_a_file_read_once_comes_in_for_one_that_is_long_overdue_only() -> None:
    heat = visited(100, 100, 0)
    assert admit(heat, item(3), 0, [item(2)], NOW) == REFUSED
    later = NOW + 5_000 * SECOND
    heat.feed([(4, 1, SIZE)], now=later)
    assert admit(heat, item(4), 0, [item(2)], later).evict == (item(2),)


def test_a_written_file_takes_the_place_of_those_that_never_came_back() -> None:
    heat = visited(100, 0)
    unread = item(9)
    assert admit(heat, item(5), 0, [item(2)], NOW, written=True).evict == (item(2),)
    assert admit(heat, item(5), 0, [unread], NOW, written=True).evict == (unread,)
    assert admit(heat, item(5), 0, [item(1)], NOW, written=True) == REFUSED


def test_small_files_are_worth_more_for_each_byte() -> None:
    heat = visited(100, 100)
    small, large = item(1, 16 * KIB), item(2)
    assert admit(heat, small, 0, [large], NOW).evict == (large,)
    assert admit(heat, large, 0, [small, small, small, small], NOW) == REFUSED


def test_a_file_of_gigabytes_does_not_go_for_a_small_one_that_is_hardly_hotter() -> None:
    heat = visited(90, 100)
    assert admit(heat, item(1), 0, [item(2, 10 * GIB)], NOW) == REFUSED


def test_as_many_go_as_are_needed() -> None:
    heat = visited(10, 2000, 2000, 2000)
    to_evict = [item(2, 30 * KIB), item(3, 30 * KIB), item(4, 30 * KIB)]
    assert admit(heat, item(1), 10 * KIB, to_evict, NOW).evict == tuple(to_evict[:2])
    assert admit(heat, item(1), 0, to_evict[:2], NOW) == REFUSED
    assert enough(to_evict, 0) == ()


def test_a_lower_class_goes_whatever_its_heat_and_a_higher_one_never() -> None:
    heat = visited(1000, 10)
    assert admit(heat, item(1, rank=1), 0, [item(2)], NOW).evict == (item(2),)
    assert admit(heat, item(2), 0, [item(1, rank=1)], NOW) == REFUSED


def test_in_an_lru_class_the_newer_one_wins() -> None:
    heat = visited(0, 10)
    mine, other = item(1, evict="lru"), item(2, evict="lru")
    assert admit(heat, mine, 0, [other], NOW).evict == (other,)


def test_an_lru_file_is_worth_as_if_it_was_read_once_in_its_age() -> None:
    heat = visited(10)
    later = NOW + 15 * SECOND
    heated, aged = (resident_worth(heat, item(1, evict=way), later) for way in ("heat", "lru"))
    assert heated.density > 1.4 * aged.density
