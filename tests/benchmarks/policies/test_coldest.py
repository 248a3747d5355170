"""Which files the simulated tierfs remembers as the coldest."""

from __future__ import annotations

from tests.benchmarks.policies.policies import Coldest
from tests.tiering.test_replacement import NOW, SIZE, item, visited
from tierfs.common.units import SECOND
from tierfs.tiering.replacement import Item


def test_the_coldest_come_first() -> None:
    heat = visited(10, 500, 100, 0)
    heat.feed([(5, 1, SIZE)], now=NOW - 50 * SECOND)
    coldest = Coldest()
    unread, lower, kept = item(9), item(1, rank=-1), item(8, evict="never")
    coldest.offer(heat, [item(2), item(3), item(4), unread, lower, kept], NOW)
    assert [one.ino for one in coldest.first()] == [1, 9, 4, 2, 3]


def test_a_few_are_remembered_and_those_that_were_read_are_not() -> None:
    heat, coldest = visited(10, 20, 30, 40), Coldest(remembered=2)
    coldest.offer(heat, [item(1), item(3)], NOW)
    coldest.offer(heat, [item(2), item(4)], NOW)
    assert [one.ino for one in coldest.first()] == [4, 3]
    coldest.forget(4)
    coldest.forget(7)
    assert [one.ino for one in coldest.first()] == [3]


def test_of_those_of_which_nothing_is_expected_the_one_idle_longest_goes_whenever_seen() -> None:
    heat, coldest = visited(), Coldest()
    old, new = Item(1, SIZE, NOW), Item(2, SIZE, NOW + 10 * SECOND)
    coldest.offer(heat, [old], NOW)
    coldest.offer(heat, [new], NOW + 100 * SECOND)
    assert coldest.first() == [old, new]
