"""Programs end when their time is up, and their failures are told."""

from __future__ import annotations

import os

import pytest

from tests.support.proc import (
    ProgramFailed,
    kill_process,
    processes_naming,
    run,
    running,
    start,
    stop,
)


def test_output_comes_back() -> None:
    assert run(["cat"], stdin="hello").stdout == "hello"


def test_failure_shows_the_output() -> None:
    with pytest.raises(ProgramFailed, match=r"exit status 3\n[^$]*why"):
        run(["sh", "-c", "echo why >&2; exit 3"])


def test_time_limit_kills_the_whole_group() -> None:
    with pytest.raises(ProgramFailed, match="still running"):
        run(["sh", "-c", "sleep 4711.25; true"], timeout=0.3)
    assert processes_naming("4711.25") == []


def test_missing_program_is_a_failure() -> None:
    with pytest.raises(ProgramFailed, match="make setup"):
        run(["no-such-program"])


def test_killed_process_is_not_running() -> None:
    process = start(["sleep", "60"])
    assert running(process.pid)
    kill_process(process.pid)
    assert not running(process.pid)
    stop(process)


def test_own_process_is_left_out() -> None:
    assert os.getpid() not in processes_naming("python")
