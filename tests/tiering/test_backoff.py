"""Files that are left alone for a while: after a failure, and after a change."""

from __future__ import annotations

from tests.tiering.fake_world import START
from tierfs.common.units import DAY, SECOND
from tierfs.tiering.context import FIRST_REST, Backoff, Debounce
from tierfs.tiering.model import DEBOUNCE, Waiting


def test_a_file_that_fails_rests_longer_and_longer() -> None:
    backoff, now = Backoff(), 0
    backoff.fail(7, now)
    assert backoff.holds(7, FIRST_REST - 1)
    assert not backoff.holds(7, FIRST_REST)
    for _ in range(20):
        backoff.fail(7, now)
    assert backoff.holds(7, DAY - 1)
    assert not backoff.holds(7, DAY)
    backoff.clear(7)
    assert not backoff.holds(7, now)


def test_the_memory_of_failures_is_bounded() -> None:
    backoff = Backoff(remembered=10)
    for ino in range(100):
        backoff.later(ino, SECOND, Waiting("room"))
    assert [ino for ino in range(100) if backoff.holds(ino, 0)] == list(range(90, 100))


def test_files_settle_after_their_last_change() -> None:
    debounce = Debounce()
    debounce.add([1, 2], 0)
    debounce.add([1], SECOND)
    assert debounce.ready(DEBOUNCE - 1, 10) == []
    assert debounce.ready(DEBOUNCE, 10) == [2]
    assert debounce.ready(DEBOUNCE + SECOND, 10) == [1]
    assert len(debounce) == 0


def test_the_memory_of_changes_is_bounded() -> None:
    debounce = Debounce(remembered=10)
    debounce.add(range(100), 0)
    assert debounce.lost
    assert debounce.ready(DEBOUNCE, 1000) == list(range(90, 100))


def test_a_clock_that_is_set_back_holds_no_file_for_long() -> None:
    future, now = START + 1000 * DAY, START
    debounce, backoff = Debounce(), Backoff()
    debounce.add([1], future)
    debounce.add([2], now)
    backoff.fail(1, future)
    assert backoff.holds(1, future)
    assert not backoff.holds(1, now)
    assert debounce.ready(now, 10) == [1]
    assert debounce.ready(now + DEBOUNCE, 10) == [2]
