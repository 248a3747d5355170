"""Rates, suspension, rests: with a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiering.fake_world import FakeTime
from tierfs.base.durations import DAY, SECOND
from tierfs.base.units import KIB, MIB
from tierfs.tiering.context import FIRST_REST, Backoff, Debounce
from tierfs.tiering.mover import LONGEST_SUSPENDED_S, SUSPENDED_S, Suspension, TokenBucket
from tierfs.tiering.state import Waiting
from tierfs.tiering.target import DEBOUNCE


def copy(bucket: TokenBucket, time: FakeTime, chunks: list[int]) -> float:
    """Take chunk after chunk, waiting as told; returns the seconds that it took."""
    start = time.monotonic()
    for chunk in chunks:
        time.pass_by(bucket.take(chunk))
    return time.monotonic() - start


@settings(max_examples=40, deadline=None)
@given(
    rate=st.integers(64 * KIB, 1024 * MIB),
    chunks=st.lists(st.integers(1, MIB), min_size=1, max_size=20),
)
def test_the_rate_is_kept_within_one_percent(rate: int, chunks: list[int]) -> None:
    time = FakeTime()
    bucket = TokenBucket(rate, time.monotonic)
    bucket.take(rate)  # what may be taken at once is gone, and a second's worth owed
    chunks = [MIB, *chunks] * 10
    took = copy(bucket, time, chunks)
    assert (sum(chunks) + rate) / took == pytest.approx(rate, rel=0.01)


def test_a_rest_is_not_made_up_for() -> None:
    time = FakeTime()
    bucket = TokenBucket(MIB, time.monotonic)
    time.pass_by(3600)
    assert copy(bucket, time, [64 * KIB] * 160) > 9.9


def test_several_threads_keep_the_rate_together() -> None:
    time = FakeTime()
    bucket = TokenBucket(MIB, time.monotonic)
    assert [bucket.take(MIB) for _ in range(3)] == pytest.approx([1.0, 2.0, 3.0], abs=0.06)


def test_no_limit_and_another_limit() -> None:
    time = FakeTime()
    bucket = TokenBucket(None, time.monotonic)
    assert bucket.take(10**12) == 0
    bucket.set_rate(MIB)
    assert bucket.take(2 * MIB) == pytest.approx(2, abs=0.06)


def record(suspension: Suspension, now: float, outcomes: str) -> list[bool]:
    return [suspension.record(now, failed=outcome == "x") for outcome in outcomes]


def test_too_many_failures_suspend() -> None:
    suspension = Suspension(50.0)
    assert record(suspension, 0, "x.x.xx") == [False] * 4 + [True, False]
    assert suspension.holds(SUSPENDED_S - 1)
    assert not suspension.holds(SUSPENDED_S)


def test_few_failures_do_not() -> None:
    suspension = Suspension(50.0)
    assert not any(record(suspension, 0, "x..x." * 20))
    assert not any(record(Suspension(None), 0, "x" * 100))
    assert not any(record(Suspension(1.0), 0, "xxxx"))


def test_each_suspension_in_a_row_is_longer_and_success_ends_that() -> None:
    suspension, now, waits = Suspension(50.0), 0.0, []
    for _ in range(9):
        record(suspension, now, "x" * 5)
        waits.append(suspension.until - now)
        now = suspension.until
    assert waits[:3] == [SUSPENDED_S, 2 * SUSPENDED_S, 4 * SUSPENDED_S]
    assert waits[-1] == LONGEST_SUSPENDED_S
    record(suspension, now, "." * 20)
    record(suspension, now, "x" * 20)
    assert suspension.until - now == SUSPENDED_S


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
