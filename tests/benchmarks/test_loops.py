from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks.loops import (
    create_files,
    get_xattrs,
    miss_xattrs,
    read_at,
    read_files,
    read_stream,
    stat_files,
    walk,
    write_stream,
)
from tierfs.common.errors import DamageFound

LABEL = "user.bench.label"


@pytest.fixture
def paths(tmp_path: Path) -> list[bytes]:
    """Three files of five bytes."""
    made = [tmp_path / name for name in ("a", "b", "c")]
    for path in made:
        path.write_bytes(b"12345")
    return [os.fsencode(path) for path in made]


def test_whole_files_are_read(paths: list[bytes]) -> None:
    assert read_files(paths, 5) == 15


@pytest.mark.parametrize("content", [b"1234", b"123456", b""])
def test_a_file_of_another_length_is_refused(paths: list[bytes], content: bytes) -> None:
    Path(os.fsdecode(paths[1])).write_bytes(content)
    with pytest.raises(DamageFound, match=rf"b: {len(content)} bytes instead of 5"):
        read_files(paths, 5)
    with pytest.raises(DamageFound, match=rf"b: {len(content)} bytes instead of 5"):
        stat_files(paths, 5)


def test_a_missing_file_is_an_error(paths: list[bytes]) -> None:
    os.unlink(paths[2])
    with pytest.raises(FileNotFoundError):
        read_files(paths, 5)


def test_stats_are_counted(paths: list[bytes]) -> None:
    assert stat_files(paths, 5) == 3


def test_xattrs_must_be_those_that_were_set(paths: list[bytes]) -> None:
    for path in paths:
        os.setxattr(path, LABEL, b"mitosis")
    assert get_xattrs(paths, LABEL, b"mitosis") == 3
    with pytest.raises(DamageFound, match="not what was written"):
        get_xattrs(paths, LABEL, b"meiosis")
    with pytest.raises(DamageFound, match="never set"):
        miss_xattrs(paths, LABEL)


def test_absent_xattrs_are_asked_for(paths: list[bytes]) -> None:
    assert miss_xattrs(paths, LABEL) == 3
    with pytest.raises(FileNotFoundError):
        miss_xattrs([b"/nowhere"], LABEL)


def test_a_walk_finds_all_files(tmp_path: Path, paths: list[bytes]) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "d").touch()
    assert walk(os.fsencode(tmp_path)) == len(paths) + 1


def test_a_stream_is_written_and_read(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "stream")
    assert write_stream(path, 10, b"abc") == 10
    assert (tmp_path / "stream").read_bytes() == b"abcabcabca"
    assert read_stream(path, 10, 4) == 10
    assert read_at(path, [0, 8, 4], 2) == 6


def test_a_stream_of_another_length_is_refused(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "stream")
    write_stream(path, 10, b"abc")
    with pytest.raises(DamageFound, match="10 bytes instead of 11"):
        read_stream(path, 11, 4)
    with pytest.raises(DamageFound, match="10 bytes instead of 12"):
        read_at(path, [8], 4)


def test_files_are_created_once(tmp_path: Path) -> None:
    made = [os.fsencode(tmp_path / name) for name in ("a", "b")]
    assert create_files(made, b"xyz") == 2
    assert (tmp_path / "b").read_bytes() == b"xyz"
    with pytest.raises(FileExistsError):
        create_files(made, b"xyz")
