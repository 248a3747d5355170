"""Daemons are found, pinned, and waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks.processes import (
    Pin,
    daemons_of,
    pinned,
    processor_seconds,
    run_readers,
    settle,
)
from tests.benchmarks.runner import SideTurn
from tests.benchmarks.scenario import Side
from tests.support.fixtures import MakeMount
from tierfs.common.errors import DamageFound, TierfsError

THREADS = """
import threading
import time
for _ in range(3):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("ready", flush=True)
{end}
"""


def started(end: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", THREADS.format(end=end)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def resting() -> Iterator[int]:
    """A process of four threads that do nothing."""
    with started("time.sleep(60)") as process:
        yield process.pid
        process.kill()


@pytest.fixture
def busy() -> Iterator[int]:
    """A process that never rests."""
    with started("while True: pass") as process:
        yield process.pid
        process.kill()


def affinities(pid: int) -> list[set[int]]:
    tasks = Path("/proc", str(pid), "task").iterdir()
    return [os.sched_getaffinity(int(task.name)) for task in tasks]


def test_every_thread_is_pinned_and_let_go(resting: int) -> None:
    usable = os.sched_getaffinity(0)
    core = min(usable)
    with pinned(core) as pin:
        assert pin
        pin.apply([resting])
        assert affinities(resting) == [{core}] * 4
        pin.apply([resting])
    assert affinities(resting) == [usable] * 4


def test_a_process_that_has_ended_is_passed_over(resting: int) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    pin = Pin(0)
    pin.apply([gone.pid, resting])
    pin.undo()


def test_a_process_of_somebody_else_cannot_be_pinned(
    resting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int, _cores: set[int]) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.sched_setaffinity", refuse)
    with pytest.raises(TierfsError, match=f"process {resting} belongs to another user"):
        Pin(0).apply([resting])


def test_processor_time_is_that_of_all_threads(busy: int, resting: int) -> None:
    before = processor_seconds(busy), processor_seconds(resting)
    deadline = time.monotonic() + 60
    while processor_seconds(busy) < before[0] + 0.5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # It may not have been quite asleep when it said so.
    assert processor_seconds(resting) < before[1] + 0.25


def test_processor_time_of_threads_that_ended_counts() -> None:
    work = "import threading, time; t = threading.Thread(target=sum, args=[range(10**7)]); {end}"
    with subprocess.Popen(
        [sys.executable, "-c", work.format(end="t.start(); t.join(); print(); time.sleep(60)")],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        alone = (Path("/proc", str(process.pid), "schedstat")).read_text("ascii").split()[0]
        try:
            assert processor_seconds(process.pid) > int(alone) / 1e9 + 0.05
        finally:
            process.kill()


def test_a_lap_counts_the_processor_time_of_readers_and_daemons(busy: int) -> None:
    turn = SideTurn(Side("busy", Path("/"), daemons=(busy,)), 0, None, ())
    lap = turn.timed([partial(time.sleep, 0.3)])
    assert lap.processor > 0.05
    both = [partial(subprocess.run, [sys.executable, "-c", "sum(range(10**7))"])] * 2
    assert run_readers(both).processor > 0.1
    assert run_readers([partial(time.sleep, 0.3)]).processor < 0.1


def test_nobody_waits_for_a_process_that_has_ended() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert processor_seconds(gone.pid) == 0


def test_processes_at_rest_are_not_waited_for_long(resting: int, busy: int) -> None:
    began = time.monotonic()
    settle([resting], seconds=60)
    settle([], seconds=60)
    assert time.monotonic() - began < 60
    settle([busy], seconds=0.2)


def test_the_daemon_of_a_mount_is_found(make_mount: MakeMount) -> None:
    mount = make_mount()
    assert mount.pid in daemons_of(mount.path)


def test_a_plain_directory_has_no_daemon(tmp_path: Path) -> None:
    assert daemons_of(tmp_path) == frozenset()


def sleep() -> int:
    time.sleep(0.2)
    return os.getpid()


def test_readers_run_at_once_each_in_a_process_of_its_own() -> None:
    lap = run_readers([sleep, sleep, sleep])
    assert len({*lap.results, os.getpid()}) == 4
    assert lap.seconds >= 0.2


def test_results_keep_their_order() -> None:
    assert run_readers([lambda: "a", lambda: "b"]).results == ("a", "b")


def missing() -> None:
    os.stat("/nowhere/at/all")


def damaged() -> None:
    raise DamageFound("/x: 3 bytes instead of 4")


def test_an_error_of_a_reader_is_raised_here() -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere/at/all"):
        run_readers([sleep, missing])
    with pytest.raises(DamageFound, match="3 bytes instead of 4"):
        run_readers([damaged])


def test_a_mistake_of_a_reader_is_told() -> None:
    with pytest.raises(TierfsError, match="a reader failed: ZeroDivisionError"):
        run_readers([lambda: 1 / 0])


def test_a_killed_reader_is_told() -> None:
    with pytest.raises(TierfsError, match="killed"):
        run_readers([lambda: os.kill(os.getpid(), signal.SIGKILL)])
