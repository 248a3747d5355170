"""The file of the heat table: whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tests.support.faulty_os import FaultyOs, Point
from tierfs.base.durations import SECOND
from tierfs.tiering.heat import Heat
from tierfs.tiering.heat_file import HeatFile

NOW = 1000 * SECOND


def heat_of(*inos: int) -> Heat:
    heat = Heat(64)
    heat.feed([(ino, 1, 100) for ino in inos], NOW)
    return heat


def known(path: Path) -> set[int]:
    heat = Heat(64)
    HeatFile(path).load(heat)
    return set(heat.sweep(heat.capacity))


def test_it_comes_back(tmp_path: Path) -> None:
    assert HeatFile(tmp_path / "index.db").save(heat_of(1, 2))
    assert known(tmp_path / "index.db") == {1, 2}
    assert [path.name for path in tmp_path.iterdir()] == ["index.db.heat"]


def test_none_is_no_mistake(tmp_path: Path) -> None:
    assert known(tmp_path / "index.db") == set()


@pytest.mark.parametrize("step", ["open", "write", "sync", "rename"])
def test_a_failure_leaves_the_old_one(tmp_path: Path, step: str, expect_log: ExpectLog) -> None:
    expect_log("index.db.heat: cannot be written: .*No space left")
    assert HeatFile(tmp_path / "index.db").save(heat_of(1))
    broken = FaultyOs()
    broken.fail(Point(f"heat.{step}"), errno.ENOSPC)
    assert not HeatFile(tmp_path / "index.db", broken).save(heat_of(2))
    assert known(tmp_path / "index.db") == {1}
    assert [path.name for path in tmp_path.iterdir()] == ["index.db.heat"]


def test_one_that_cannot_be_read_is_left_out(tmp_path: Path, expect_log: ExpectLog) -> None:
    expect_log("index.db.heat: .*Input/output error")
    assert HeatFile(tmp_path / "index.db").save(heat_of(1))
    broken, heat = FaultyOs(), Heat(64)
    broken.fail(Point("heat.read"), errno.EIO)
    HeatFile(tmp_path / "index.db", broken).load(heat)
    assert set(heat.sweep(heat.capacity)) == set()
