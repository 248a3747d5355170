from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.faulty_os import FaultyOs, Killed, Point
from tierfs.common.osio import SYSTEM


def divide(number: int, *, by: int) -> float:
    return number / by


def test_a_call_is_the_function_itself() -> None:
    assert SYSTEM.call("any.label", divide, 6, by=3) == 2
    with pytest.raises(ZeroDivisionError):
        SYSTEM.call("any.label", divide, 6, by=0)


def test_a_bound_call_costs_nothing_until_somebody_listens() -> None:
    assert SYSTEM.bound("any.label", divide) is divide
    faulty = FaultyOs()
    faulty.fail(Point("a.call", 1), errno.EIO)
    bound = faulty.bound("a.call", divide)
    assert bound(6, by=3) == 2
    with pytest.raises(OSError, match="Input/output error"):
        bound(6, by=3)


def test_one_call_fails_and_the_next_does_not() -> None:
    faulty = FaultyOs()
    faulty.fail(Point("a.call", 1), errno.EIO)
    assert faulty.call("a.call", divide, 6, by=3) == 2
    with pytest.raises(OSError, match="Input/output error") as failed:
        faulty.call("a.call", divide, 6, by=3)
    assert failed.value.errno == errno.EIO
    assert faulty.call("a.call", divide, 6, by=3) == 2
    assert faulty.points() == [Point("a.call", 0), Point("a.call", 1), Point("a.call", 2)]


def test_a_full_filesystem_stays_full() -> None:
    faulty = FaultyOs()
    faulty.full = {"flash.pwrite"}
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            faulty.call("flash.pwrite", divide, 6, by=3)
    assert faulty.call("disk.pwrite", divide, 6, by=3) == 2


def test_a_short_write_tells_how_short(tmp_path: Path) -> None:
    faulty = FaultyOs()
    faulty.write_short(Point("flash.pwrite"), 3)
    with (tmp_path / "file").open("wb", buffering=0) as file:
        assert faulty.call("flash.pwrite", os.pwrite, file.fileno(), b"abcdef", 0) == 3
    assert (tmp_path / "file").read_bytes() == b"abc"


@pytest.mark.parametrize(("moment", "made"), [("before", []), ("after", [1])])
def test_the_dead_call_nothing(moment: str, made: list[int]) -> None:
    faulty = FaultyOs()
    calls: list[int] = []
    seen: list[list[int]] = []
    faulty.kill(
        Point("a.call"), "before" if moment == "before" else "after", lambda: seen.append(calls[:])
    )
    for _ in range(2):
        with pytest.raises(Killed):
            faulty.call("a.call", calls.append, 1)
    assert seen == [made]
    assert calls == made
