"""The leader runs on the core of the one thread that makes requests, and elsewhere otherwise."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.fastpath.rig import PATIENCE_S, Answering, Rig
from tests.fastpath.test_reads import forget
from tests.fastpath.wire import Op, ReadIn, Request, getattr_in
from tests.index.rows import inode
from tierfs.base.extents import WHOLE_FILE

FILE: Final = 100
ENOUGH: Final = 80
"""Requests in a row after which a client is followed."""
MANY: Final = 1100
"""Requests after which it is looked again where it runs."""

CORES = sorted(os.sched_getaffinity(0))


class Led:
    """A router, and the number of the thread that leads it."""

    def __init__(self, rig: Rig, leader: int) -> None:
        self.rig = rig
        self.leader = leader

    def runs_on(self, cores: Collection[int]) -> bool:
        """Whether the leader may soon run there and nowhere else: it moves after its reply."""
        end = time.monotonic() + PATIENCE_S
        while os.sched_getaffinity(self.leader) != set(cores) and time.monotonic() < end:
            time.sleep(0.001)
        return os.sched_getaffinity(self.leader) == set(cores)

    def ask(self, times: int, opcode: int = Op.GETATTR, body: bytes = b"", pid: int = 0) -> None:
        """Requests of one thread, each after the last one's reply."""
        kernel = self.rig.kernel
        for _ in range(times):
            kernel.unique += 2
            client = pid or threading.get_native_id()
            request = Request(opcode, kernel.unique, FILE, body or getattr_in(), pid=client)
            kernel.send(request.pack())
            assert kernel.reply().unique == kernel.unique


def threads() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/task")}


@pytest.fixture
def led(scratch: Path) -> Iterator[Led]:
    """A router of one worker that knows one file."""
    before = threads()
    with Rig(scratch, workers=1) as rig:
        (leader,) = threads() - before
        rig.initialise()
        rig.put_object(rig.heads, FILE, b"x" * 8192)
        rig.router.put_inode(inode(FILE, size=8192, prefix=WHOLE_FILE))
        yield Led(rig, leader)
    rig.forget()


@pytest.fixture(params=CORES)
def core(request: pytest.FixtureRequest) -> Iterator[int]:
    """The core that this thread is bound to."""
    os.sched_setaffinity(0, {request.param})
    yield request.param
    os.sched_setaffinity(0, CORES)


@pytest.fixture
def several() -> None:
    """Without a choice of cores there is none to make."""
    assert len(CORES) > 1, "these tests want two cores"


@pytest.mark.usefixtures("several")
class TestOneClient:
    def test_it_is_followed_after_some_requests(self, led: Led, core: int) -> None:
        led.ask(10)
        assert led.runs_on(CORES)
        led.ask(ENOUGH)
        assert led.runs_on([core])

    def test_it_is_followed_to_another_core(self, led: Led) -> None:
        for core in CORES:
            os.sched_setaffinity(0, {core})
            led.ask(MANY)
            assert led.runs_on([core])
        os.sched_setaffinity(0, CORES)

    def test_another_one_ends_it(self, led: Led, core: int) -> None:
        led.ask(ENOUGH)
        led.ask(1, pid=os.getpid() + 1)
        assert led.runs_on(CORES)
        assert core in CORES

    def test_requests_of_the_kernel_itself_do_not(self, led: Led, core: int) -> None:
        led.ask(ENOUGH)
        kernel = led.rig.kernel
        kernel.unique += 2
        kernel.send(Request(Op.GETATTR, kernel.unique, FILE, getattr_in(), pid=0).pack())
        assert kernel.reply().unique == kernel.unique
        assert led.runs_on([core])

    def test_a_stream_ends_it(self, led: Led, core: int) -> None:
        led.ask(ENOUGH, Op.READ, ReadIn(0, 0, 4096).pack())
        assert led.runs_on([core])
        led.ask(1, Op.READ, ReadIn(0, 4096, 4096).pack())
        assert led.runs_on(CORES)

    def test_a_request_that_is_passed_on_ends_it(self, led: Led, core: int) -> None:
        led.ask(ENOUGH)
        assert led.runs_on([core])
        answering = Answering(led.rig.pyfuse3, {})
        answering.start()
        led.ask(1, Op.UNLINK, b"n\0")
        assert led.runs_on(CORES)


@pytest.mark.usefixtures("several")
def test_clients_that_take_turns_are_not_followed(led: Led) -> None:
    for _ in range(ENOUGH):
        led.ask(1)
        led.ask(1, pid=os.getpid() + 1)
    assert led.runs_on(CORES)


@pytest.mark.usefixtures("several")
def test_a_client_that_is_nowhere_is_not_followed(led: Led) -> None:
    led.ask(ENOUGH, pid=2**22 + 1)  # beyond the largest number of a thread
    assert led.runs_on(CORES)


@pytest.mark.usefixtures("several")
def test_it_stays_within_the_cores_allowed(led: Led, core: int) -> None:
    others = set(CORES) - {core}
    os.sched_setaffinity(led.leader, others)
    led.ask(MANY)
    assert led.runs_on(others)


@pytest.mark.usefixtures("several")
def test_threads_that_it_starts_run_on_all_cores(tmp_path: Path) -> None:
    """They inherit the cores of the thread that makes them, which is bound to the client's."""
    before = threads()
    with Rig(tmp_path, workers=1) as rig:
        (leader,) = threads() - before
        rig.initialise()
        at = rig.put_object(rig.heads, FILE, b"x" * 8192)
        rig.router.put_inode(inode(FILE, size=8192, prefix=WHOLE_FILE))
        led = Led(rig, leader)

        def client() -> int:
            os.sched_setaffinity(0, CORES[:1])
            led.ask(ENOUGH)
            assert led.runs_on(CORES[:1])
            forget(at)
            led.ask(1, Op.READ, ReadIn(0, 0, 4096).pack())
            return threading.get_native_id()

        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(client).result(PATIENCE_S)
            started = threads() - before - {leader, asking}
            assert started
            assert all(os.sched_getaffinity(thread) == set(CORES) for thread in started)
    rig.forget()


@pytest.mark.usefixtures("several")
def test_cores_that_somebody_chooses_meanwhile_hold(led: Led, core: int) -> None:
    led.ask(ENOUGH)
    others = set(CORES) - {core}
    os.sched_setaffinity(led.leader, others)
    led.ask(MANY)
    assert led.runs_on(others)
    led.ask(1, pid=os.getpid() + 1)
    assert led.runs_on(others)
