from __future__ import annotations

import os
import signal
import time

import pytest

from tierfs.base.errors import DamageFound, TierfsError
from tierfs.bench.framework.readers import run_readers


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
