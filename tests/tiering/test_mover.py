"""The mover's threads, rates and suspension, with a clock of the test's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.guards.logs import ExpectLog
from tests.support.proc import wait_until
from tests.tiering.fake_world import FakeTime
from tierfs.common.errors import FsError
from tierfs.common.units import KIB, MIB
from tierfs.fs.migration_plan import Migrated
from tierfs.policy.model import Mover as Limits
from tierfs.policy.tier_policy import DEFAULT_MOVER
from tierfs.tiering.model import Done, Job, Step
from tierfs.tiering.mover import LONGEST_SUSPENDED_S, SUSPENDED_S, Mover, Suspension, TokenBucket

LIMITS = replace(DEFAULT_MOVER, rate=None, concurrency=3, suspend_on_errors=None)


class SlowMoves:
    """Moves that wait until they are let go, chunk by chunk."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.running: set[int] = set()
        self.most = 0
        self.freed = 100
        self.fail = False
        self._mutex = threading.Lock()

    def place(
        self, ino: int, prefix: int, *, keep_mirror: bool, paced: Callable[[int], None]
    ) -> Migrated:
        assert keep_mirror
        if self.fail:
            raise FsError(5)
        with self._mutex:
            self.running.add(ino)
            self.most = max(self.most, len(self.running))
        try:
            while not self.gate.wait(0.01):
                paced(1)
            return Migrated(ino, "moved", 100, 0 if prefix else self.freed)
        finally:
            self.running.discard(ino)

    def mirror(self, inos: Sequence[int], *, paced: Callable[[int], None]) -> list[Migrated]:
        paced(1)
        return [Migrated(ino, "failed" if ino % 2 else "moved", 1) for ino in inos]


@contextmanager
def running(moves: SlowMoves, limits: Limits = LIMITS) -> Iterator[Mover]:
    mover = Mover(moves, limits)
    try:
        yield mover
    finally:
        mover.stop()


def evict(ino: int) -> Job:
    return Job("evict", (Step("evict", ino, 0, 100),))


def swap(ino: int, victim: int) -> Job:
    return Job("promote", (Step("evict", victim, 0, 100), Step("promote", ino, MIB, 100)))


def drained(mover: Mover, count: int) -> list[Done]:
    done: list[Done] = []

    def enough() -> bool:
        done.extend(mover.drain())
        return len(done) >= count

    wait_until(enough, what=f"{count} steps end")
    return done


def test_as_many_jobs_at_a_time_as_allowed() -> None:
    moves = SlowMoves()
    with running(moves) as mover:
        for ino in range(10):
            assert mover.add(evict(ino + 1))
        wait_until(lambda: len(moves.running) == 3, what="three jobs are under way")
        moves.gate.set()
        assert {done.step.ino for done in drained(mover, 10)} == set(range(1, 11))
    assert moves.most == 3


def test_fewer_at_a_time_after_a_change() -> None:
    moves = SlowMoves()
    with running(moves) as mover:
        mover.add(evict(1))
        wait_until(lambda: bool(moves.running), what="a job is under way")
        mover.apply(replace(LIMITS, concurrency=1))
        moves.gate.set()
        drained(mover, 1)
        moves.gate.clear()
        moves.most = 0
        for ino in range(2, 8):
            assert mover.add(evict(ino))
        time.sleep(0.1)
        moves.gate.set()
        drained(mover, 6)
    assert moves.most == 1


def test_stopping_abandons_what_is_under_way() -> None:
    moves = SlowMoves()
    with running(moves) as mover:
        for ino in range(10):
            mover.add(evict(ino + 1))
        wait_until(lambda: len(moves.running) == 3, what="three jobs are under way")
        mover.stop()
        assert not moves.running
        assert mover.drain() == []
        assert not mover.add(evict(99))


def test_stopping_does_not_wait_for_the_rate() -> None:
    moves = SlowMoves()
    with running(moves, replace(LIMITS, rate=1)) as mover:
        mover.add(evict(1))
        wait_until(lambda: bool(moves.running), what="a job is under way")
        started = time.monotonic()
        mover.stop()
        assert time.monotonic() - started < 60  # paced bytes alone would take longer each


def test_a_file_is_in_one_job_at_a_time() -> None:
    moves = SlowMoves()
    with running(moves) as mover:
        assert mover.add(swap(1, 2))
        assert not mover.add(evict(2))
        assert mover.queue.is_busy(2)
        assert mover.queue.growth == 0
        moves.gate.set()
        drained(mover, 2)
        wait_until(lambda: not mover.queue.is_busy(2), what="the file is free again")


def test_nothing_comes_when_too_little_went() -> None:
    moves = SlowMoves()
    moves.gate.set()
    moves.freed = 99
    with running(moves) as mover:
        mover.add(swap(1, 2))
        assert [done.outcome for done in drained(mover, 2)] == ["moved", "no-room"]


def test_a_batch_tells_of_each_file() -> None:
    with running(SlowMoves()) as mover:
        mover.add(Job("mirror", tuple(Step("mirror", ino, 0, 1) for ino in (1, 2, 3))))
        done = {one.step.ino: one.outcome for one in drained(mover, 3)}
    assert done == {1: "error", 2: "moved", 3: "error"}


def test_failures_are_told_and_do_not_end_a_thread(expect_log: ExpectLog) -> None:
    expect_log("inode 1 could not be moved")
    moves = SlowMoves()
    moves.fail = True
    with running(moves) as mover:
        mover.add(evict(1))
        assert drained(mover, 1)[0].outcome == "error"
        moves.fail = False
        moves.gate.set()
        wait_until(lambda: mover.add(evict(1)), what="the first job has left the file")
        assert drained(mover, 1)[0].outcome == "moved"


def test_operations_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    moves = SlowMoves()
    moves.gate.set()
    with running(moves, replace(LIMITS, operations=50)) as mover:
        taken: list[int] = []

        def take(tokens: int) -> float:
            taken.append(tokens)
            return 0.0

        monkeypatch.setattr(mover._operations, "take", take)
        mover.add(evict(1))
        mover.add(Job("mirror", tuple(Step("mirror", ino, 0, 1) for ino in (2, 4, 6))))
        drained(mover, 4)
    assert sorted(taken) == [1, 3]


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
