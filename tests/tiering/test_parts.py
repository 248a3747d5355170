"""A file of lines that is bounded."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.faulty_os import FaultyOs, Point
from tierfs.tiering.access_log import older
from tierfs.tiering.access_recorder import RotatingLog

FIRST = b"begin\n"
LINE = b"0123456789abcde\n"


def size_of(path: Path) -> int:
    return sum(part.stat().st_size for part in (path, older(path)) if part.exists())


def fill(parts: RotatingLog, lines: int) -> None:
    for _ in range(lines):
        if not parts.fits(LINE):
            parts.turn()
        parts.add(LINE)


def test_it_never_grows_beyond_its_size(tmp_path: Path) -> None:
    path = tmp_path / "sub/log"
    parts = RotatingLog(path, 200, FIRST)
    for _ in range(50):
        fill(parts, 1)
        assert size_of(path) <= 200
    parts.close()
    assert older(path).read_bytes() == FIRST + 5 * LINE
    assert path.read_bytes().startswith(FIRST + LINE)
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_goes_on_where_it_ended_behind_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"torn")
    RotatingLog(path, 200, FIRST).close()
    RotatingLog(path, 200, FIRST).close()
    assert path.read_bytes() == b"torn\n" + FIRST + FIRST


def test_a_part_that_is_full_is_turned_when_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(6 * LINE)
    RotatingLog(path, 200, FIRST).close()
    assert (older(path).read_bytes(), path.read_bytes()) == (6 * LINE, FIRST)


def test_parts_from_a_time_when_more_was_allowed_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(20 * LINE)
    older(path).write_bytes(20 * LINE)
    RotatingLog(path, 200, FIRST).close()
    assert path.read_bytes() == FIRST
    assert not older(path).exists()


def test_of_lines_longer_than_a_part_whole_ones_are_kept(tmp_path: Path) -> None:
    parts = RotatingLog(tmp_path / "log", 200, FIRST)
    parts.add(20 * LINE)
    parts.close()
    assert (tmp_path / "log").read_bytes() == FIRST + 5 * LINE


def test_a_mount_over_its_directory_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    parts = RotatingLog(tmp_path / "in/log", 200, FIRST)
    (tmp_path / "in").rename(tmp_path / "hidden")
    (tmp_path / "in").mkdir()
    fill(parts, 12)
    parts.close()
    assert sorted(os.listdir(tmp_path / "hidden")) == ["log", "log.1"]
    assert os.listdir(tmp_path / "in") == []


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link") as caught:
        RotatingLog(tmp_path / "log", 200, FIRST)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("label", ["access_log.open", "access_log.write", "access_log.rename"])
def test_an_error_is_told_and_leaves_no_descriptor(tmp_path: Path, label: str) -> None:
    os_, before = FaultyOs(), len(os.listdir("/proc/self/fd"))
    os_.fail(Point(label, 0), errno.EIO)
    with pytest.raises(OSError, match="Input/output"):  # noqa: PT012 - at any of the steps
        parts = RotatingLog(tmp_path / "log", 200, FIRST, os_)
        try:
            parts.turn()
        finally:
            parts.close()
    assert len(os.listdir("/proc/self/fd")) == before
