from __future__ import annotations

import errno
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

import pytest

from tierfs.common.sync import GroupSync

WAITERS = 6
PATIENCE = 10
MOMENT = 0.2
"""Seconds in which what must not happen would have happened."""


class Device:
    """Syncs when it is told to, each time as it is told; notes which writes each sync covers."""

    def __init__(self) -> None:
        self.written = 0
        self.covered: list[int] = []
        self.outcomes: list[BaseException | None] = []
        self.entered = threading.Semaphore(0)
        self._go = threading.Semaphore(0)

    def sync(self) -> None:
        self.covered.append(self.written)
        self.entered.release()
        assert self._go.acquire(timeout=PATIENCE)
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            raise outcome

    def let_go(self, outcome: BaseException | None = None) -> None:
        """Let the sync that is under way, or the next one, end so."""
        self.outcomes.append(outcome)
        self._go.release()

    def wait_for_sync(self) -> None:
        assert self.entered.acquire(timeout=PATIENCE)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def call(device: Device) -> Iterator[Callable[[], Future[None]]]:
    """Writes something and asks for a sync, in a thread of its own."""
    group = GroupSync(device.sync)
    with ThreadPoolExecutor(WAITERS + 2) as threads:

        def sync(started: threading.Event) -> None:
            started.set()
            group()

        def calling() -> Future[None]:
            device.written += 1
            started = threading.Event()
            future = threads.submit(sync, started)
            assert started.wait(PATIENCE)
            return future

        yield calling


def refused() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))


def test_who_comes_later_is_served_by_a_later_sync(
    device: Device, call: Callable[[], Future[None]]
) -> None:
    first = call()
    device.wait_for_sync()
    others = [call() for _ in range(WAITERS)]
    device.let_go()
    first.result(PATIENCE)
    device.wait_for_sync()
    assert wait(others, MOMENT).done == set()
    device.let_go()
    for other in others:
        other.result(PATIENCE)
    assert device.covered == [1, 1 + WAITERS]


def test_a_failure_is_told_to_everybody_who_waited(
    device: Device, call: Callable[[], Future[None]]
) -> None:
    """Also to who waits for the next sync: what failed may be theirs, and is reported once."""
    callers = [call()]
    device.wait_for_sync()
    callers += [call() for _ in range(WAITERS)]
    wait(callers, MOMENT)
    device.let_go(refused())
    for caller in callers:
        with pytest.raises(OSError, match="Input/output error") as failed:
            caller.result(PATIENCE)
        assert failed.value.errno == errno.EIO
    assert device.covered == [1]


def test_a_failure_is_forgotten_by_who_comes_after_it(
    device: Device, call: Callable[[], Future[None]]
) -> None:
    """Whether it sticks is up to the owner of the descriptor."""
    device.let_go(refused())
    with pytest.raises(OSError, match="Input/output error"):
        call().result(PATIENCE)
    device.let_go()
    call().result(PATIENCE)
    assert device.covered == [1, 2]


def test_a_thread_that_dies_in_a_sync_leaves_it_to_the_others(
    device: Device, call: Callable[[], Future[None]]
) -> None:
    first = call()
    device.wait_for_sync()
    second = call()
    device.let_go(MemoryError())
    with pytest.raises(MemoryError):
        first.result(PATIENCE)
    device.wait_for_sync()
    device.let_go()
    second.result(PATIENCE)
    assert device.covered == [1, 2]


def test_whoever_is_served_was_served_by_a_sync_that_began_after_the_call() -> None:
    """Many at once, of whose syncs some fail."""
    clock, mutex = itertools.count(), threading.Lock()
    begun: list[int] = []
    chance = random.Random(1)

    def sync() -> None:
        with mutex:
            time, fails = next(clock), chance.random() < 0.2
        os.sched_yield()
        if fails:
            raise refused()
        with mutex:
            begun.append(time)

    group = GroupSync(sync)

    def call() -> None:
        with mutex:
            called = next(clock)
        with suppress(OSError):
            group()
            with mutex:
                assert any(time > called for time in begun)

    with ThreadPoolExecutor(WAITERS) as threads:
        calls = [threads.submit(call) for _ in range(3000)]
        for each in calls:
            each.result(PATIENCE)
    assert begun
