"""Long work in a process of its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.scheduling import shortest_slice, slice_of
from tierfs.common.errors import ConfigError, IndexFailed, NotMounted, TierfsError
from tierfs.common.priority import LOW, LOWEST
from tierfs.daemon.worker import run_in_worker

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
