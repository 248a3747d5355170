"""The mover's threads: concurrency, stopping, a job's steps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.guards.logs import ExpectLog
from tests.support.proc import wait_until
from tierfs.base.errors import FsError
from tierfs.base.units import MIB
from tierfs.core.moves import Moved
from tierfs.policy.fields import NOTHING_GIVEN
from tierfs.policy.limits import Mover as Limits
from tierfs.policy.limits import mover_of
from tierfs.tiering.jobs import Done, Job, Step
from tierfs.tiering.mover import Mover

LIMITS = replace(mover_of(NOTHING_GIVEN), rate=None, concurrency=3, suspend_on_errors=None)


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
    ) -> Moved:
        assert keep_mirror
        if self.fail:
            raise FsError(5)
        with self._mutex:
            self.running.add(ino)
            self.most = max(self.most, len(self.running))
        try:
            while not self.gate.wait(0.01):
                paced(1)
            return Moved(ino, "moved", 100, 0 if prefix else self.freed)
        finally:
            self.running.discard(ino)

    def mirror(self, inos: Sequence[int], *, paced: Callable[[int], None]) -> list[Moved]:
        paced(1)
        return [Moved(ino, "failed" if ino % 2 else "moved", 1) for ino in inos]


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
