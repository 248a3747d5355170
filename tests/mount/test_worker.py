"""Long work in a process of its own."""

from __future__ import annotations

import os
import time

import pytest

from tierfs.common.errors import ConfigError, IndexFailed, NotMounted, TierfsError
from tierfs.daemon.worker import run_in_worker

pytestmark = pytest.mark.once


def doubled(number: int) -> int:
    return 2 * number


def priority() -> tuple[int, int, int]:
    return os.getpid(), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)


def refuse() -> None:
    raise ConfigError("policy.yaml:1:1: wrong")


def fail() -> None:
    raise IndexFailed(28, "metadata index: full")


def vanish() -> None:
    os.kill(os.getpid(), 9)


def hang() -> None:
    time.sleep(600)


def test_a_function_is_called_in_another_process_which_comes_after_others() -> None:
    assert run_in_worker(doubled, 21, idle=False) == 42
    process, nice, policy = run_in_worker(priority, idle=False)
    assert process != os.getpid()
    assert nice > os.getpriority(os.PRIO_PROCESS, 0)
    assert policy == os.SCHED_OTHER


def slowly(data: bytes) -> bytes:
    time.sleep(0.5)
    return data


def test_much_goes_in_and_comes_out() -> None:
    data = bytes(3_000_000)
    assert run_in_worker(slowly, data, idle=False) == data


def test_its_error_is_raised_here() -> None:
    with pytest.raises(ConfigError, match=r"policy\.yaml:1:1: wrong"):
        run_in_worker(refuse, idle=False)
    with pytest.raises(IndexFailed, match="full") as failed:
        run_in_worker(fail, idle=False)
    assert failed.value.errno == 28


def test_a_process_that_is_killed_is_told_of() -> None:
    with pytest.raises(TierfsError, match="was killed by SIGKILL; try again"):
        run_in_worker(vanish, idle=False)


def test_work_is_given_up_when_the_mount_ends() -> None:
    start = time.monotonic()
    with pytest.raises(NotMounted):
        run_in_worker(hang, idle=False, cancelled=lambda: time.monotonic() > start + 1)
    assert time.monotonic() < start + 30
