"""Long work in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.proc import wait_until
from tests.support.scheduling import shortest_slice, slice_of
from tierfs.common.errors import ConfigError, IndexFailed, NotMounted, TierfsError
from tierfs.common.priority import LOW, LOWEST
from tierfs.daemon import workers as module
from tierfs.daemon.worker import Passed
from tierfs.daemon.workers import Workers, run_in_worker

pytestmark = pytest.mark.once


def doubled(number: int) -> int:
    return 2 * number


def priority() -> tuple[int, int, str]:
    return os.getsid(0), os.getpriority(os.PRIO_PROCESS, 0), of_session()


def of_session() -> str:
    """The nice value of this session; empty where Linux has no groups of sessions, or not here."""
    autogroup = Path("/proc/self/autogroup")
    # It is there and empty for a session that was begun before all others, as in a container.
    words = autogroup.read_text().split() if autogroup.exists() else []
    return words[-1] if words else ""


def refuse() -> None:
    raise ConfigError("policy.yaml:1:1: wrong")


def fail() -> None:
    raise IndexFailed(28, "metadata index: full")


def vanish() -> None:
    os.kill(os.getpid(), 9)


def hang() -> None:
    time.sleep(600)


def slice_ns() -> int:
    return slice_of(0)


def test_whoever_wakes_up_preempts_the_process() -> None:
    before = slice_of(0)
    for nice in (LOW, LOWEST):
        assert run_in_worker(slice_ns, nice=nice) == shortest_slice()
    assert slice_of(0) == before


def test_a_function_is_called_in_another_process_which_comes_after_others() -> None:
    assert run_in_worker(doubled, 21) == 42
    mine, before, _ = priority()
    for nice in (LOW, LOWEST):
        session, niceness, group = run_in_worker(priority, nice=nice)
        assert session != mine
        assert niceness == nice
        assert group in {str(nice), ""}
    assert priority()[:2] == (mine, before)


def slowly(data: bytes) -> bytes:
    time.sleep(0.5)
    return data


def test_much_goes_in_and_comes_out() -> None:
    data = bytes(3_000_000)
    assert run_in_worker(slowly, data) == data


def test_its_error_is_raised_here() -> None:
    with pytest.raises(ConfigError, match=r"policy\.yaml:1:1: wrong"):
        run_in_worker(refuse)
    with pytest.raises(IndexFailed, match="full") as failed:
        run_in_worker(fail)
    assert failed.value.errno == 28


def test_a_process_that_is_killed_is_told_of() -> None:
    with pytest.raises(TierfsError, match="was killed by SIGKILL; try again"):
        run_in_worker(vanish)


def test_work_is_given_up_when_the_mount_ends() -> None:
    start = time.monotonic()
    with pytest.raises(NotMounted):
        run_in_worker(hang, cancelled=lambda: time.monotonic() > start + 1)
    assert time.monotonic() < start + 30


# ------------------------------------------------------------------ one that stays


@pytest.fixture
def workers() -> Iterator[Workers]:
    with closing(Workers()) as made:
        yield made


def is_there(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def say(number: int, what: bytes) -> tuple[int, int]:
    os.write(number, what)
    return os.getpid(), len(descriptors())


def gain_priority() -> int:
    os.setpriority(os.PRIO_PROCESS, 0, LOW)
    return os.getpid()


def until_made(begun: Path, made: Path) -> int:
    begun.touch()
    while not made.exists():
        time.sleep(0.01)
    return os.getpid()


@contextmanager
def busy(workers: Workers, home: Path) -> Iterator[list[int | str]]:
    """Two processes have a task meanwhile; their numbers, or errors, are there behind it."""
    outcomes: list[int | str] = []
    begun, made = [home / "1", home / "2"], home / "made"

    def run(file: Path) -> None:
        try:
            outcomes.append(workers.run(until_made, file, made))
        except TierfsError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=run, args=(file,)) for file in begun]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(file.exists() for file in begun), what="the begin of two tasks")
    yield outcomes
    made.touch()
    for thread in threads:
        thread.join()


def in_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_a_process_stays_for_the_next_task_whoever_asks(workers: Workers) -> None:
    pids: list[int] = []
    for _ in range(3):
        in_thread(lambda: pids.append(workers.run(os.getpid)))
    with pytest.raises(ConfigError, match="wrong"):
        workers.run(refuse)
    pids.append(workers.run(os.getpid))
    assert len(set(pids)) == 1
    assert pids[0] != os.getpid()


def test_each_task_is_given_copies_of_descriptors_which_are_closed_behind_it(
    workers: Workers,
) -> None:
    reading, writing = os.pipe()
    try:
        said = [workers.run(say, Passed(writing), what) for what in (b"a", b"b", b"c")]
        assert os.read(reading, 10) == b"abc"
    finally:
        os.close(writing)
        assert os.read(reading, 1) == b"", "the process has the pipe open"
        os.close(reading)
    assert len(set(said)) == 1


def test_a_priority_that_one_task_gained_is_not_that_of_the_next(workers: Workers) -> None:
    pid = workers.run(gain_priority)
    session, niceness, group = workers.run(priority)
    assert (session, niceness) == (pid, LOWEST)
    assert group in {str(LOWEST), ""}


def test_no_task_waits_for_another_and_one_process_stays(workers: Workers, tmp_path: Path) -> None:
    with busy(workers, tmp_path) as outcomes:
        pids = [workers.run(os.getpid)]
    pids += [pid for pid in outcomes if isinstance(pid, int)]
    assert len(set(pids)) == 3
    assert sum(map(is_there, pids)) == 1


def test_a_process_that_was_killed_is_replaced(workers: Workers) -> None:
    pid = workers.run(os.getpid)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_there(pid), what="the end of a process")
    assert workers.run(doubled, 21) == 42
    with pytest.raises(TierfsError, match="was killed by SIGKILL; try again"):
        workers.run(vanish)
    with pytest.raises(NotMounted):
        workers.run(hang, cancelled=lambda: True)
    assert workers.run(doubled, 21) == 42
    assert not is_there(pid)


def test_a_process_that_has_grown_or_waited_long_ends(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_there_after(workers, "MOST_KEPT", 0, monkeypatch)
    pid = workers.run(os.getpid)
    assert is_there(pid)
    assert workers.run(os.getpid) == pid
    monkeypatch.setattr(module, "KEPT_S", 0.1)
    assert workers.run(os.getpid) == pid
    wait_until(lambda: not is_there(pid), what="the end of a process")


def is_there_after(
    workers: Workers, name: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> bool:
    with monkeypatch.context() as patched:
        patched.setattr(module, name, value)
        return is_there(workers.run(os.getpid))


def test_none_is_left_when_they_are_closed(workers: Workers, tmp_path: Path) -> None:
    with busy(workers, tmp_path) as outcomes:
        idle = workers.run(os.getpid)
        assert is_there(idle)
        workers.close()
        assert not is_there(idle)
        wait_until(lambda: len(outcomes) == 2, what="the end of two tasks")
    assert outcomes == ["a worker process was killed by SIGKILL; try again"] * 2
    with pytest.raises(TierfsError, match="cannot be started"):
        workers.run(os.getpid)


PARENT = """
import os, sys
from tierfs.daemon.workers import Workers
print(Workers().run(os.getpid), flush=True)
sys.stdin.read()
"""


def test_a_process_that_waits_dies_with_the_daemon() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_there(pid)
        parent.kill()
    wait_until(lambda: not is_there(pid), what="the end of a process")
