"""Reading a log back: both parts, damage, versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tierfs.base.errors import UsageError
from tierfs.tiering.access_log import TOLD, Recording, Use, beginning_line
from tierfs.tiering.simulator.access_log import read_log


def written(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def test_the_older_part_comes_first(tmp_path: Path) -> None:
    path = written(tmp_path / "log", b"2 1 1")
    written(tmp_path / "log.1", b"1 1 1")
    assert [line.time for line in Recording(path) if isinstance(line, Use)] == [10**9, 2 * 10**9]


def test_damaged_lines_are_passed_over_and_told_with_their_place(tmp_path: Path) -> None:
    path = written(tmp_path / "log", b"1 1 1", b"file 7 size=1", b"\xff\x1b\x00", b"2 1 1", b"3 1")
    written(tmp_path / "log.1", b"x" * 100)
    recording = Recording(path)
    assert len(list(recording)) == len(list(recording)) == 2
    told = [str(damaged).replace(str(tmp_path), "") for damaged in recording.damaged]
    hint = "is not an access; write SECONDS INODE BYTES, then w for a write"
    assert told[0].startswith(f'/log.1:1:1: "{"x" * 40}" {hint}')
    assert told[1] == '/log:2:1: "file 7 size=1" lacks uid=, as if it was cut off'
    assert told[2].startswith(r'/log:3:1: "\xff\x1b\x00" is not an access')
    assert told[3].startswith('/log:5:1: "3 1" is not an access')
    assert recording.damaged_count == 4


def test_of_very_many_damaged_lines_a_few_are_told(tmp_path: Path) -> None:
    recording = Recording(written(tmp_path / "log", *[b"?"] * 1000))
    assert list(recording) == []
    assert (len(recording.damaged), recording.damaged_count) == (TOLD, 1000)


def test_a_newer_log_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "log", b"# so", b"log 2 head=1 flash=1", b"what ever comes")
    with pytest.raises(UsageError, match="log:2:1: the log is of version 2; this tierfs reads"):
        list(Recording(path))


def test_a_recorded_log_is_a_workload_too(tmp_path: Path) -> None:
    path = written(
        tmp_path / "log",
        beginning_line(4096, 10**9).strip(),
        b"file 7 size=5000 mtime=1.0 uid=0 gid=0 head=4096 path=/a",
        b"1 7 10000 x4",
        b"2 8 100 w",
        b"gone 8",
    )
    made = read_log(path)
    assert [(access.ino, access.size, access.write) for access in made.accesses] == [
        (7, 5000, False),
        (8, 100, True),
    ]
