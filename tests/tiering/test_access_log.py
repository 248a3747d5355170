"""An access log: its lines, and reading it back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.common.errors import UsageError
from tierfs.common.units import SECOND
from tierfs.tiering.access_log import (
    LONGEST,
    TOLD,
    BadLine,
    Beginning,
    FileFacts,
    Gone,
    Recording,
    Use,
    beginning_line,
    file_line,
    gone_line,
    parse,
    use_line,
)

names = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)

numbers = st.integers(0, 2**63 - 1)


BAD = {
    b"1 2": "is not an access",
    b"1 2 3 x0": "is not an access",
    b"1 0 3": "is not an access",
    b"1 2 3 w x2": "is not an access",
    b"file 7 size=1 mtime=1.0 uid=1": "lacks gid=",
    b"file 7 size=1 mtime=1.0 uid=1 gid=1 head=-1": "'-1'",
    b"file 7 size=1 mtime=x uid=1 gid=1 head=1": "has a time of change that is none",
    b"file 0 size=1": "is out of range",
    b"file x": "is not an access",
    b"fil 7 size=1": "is not an access",
    b"log 1 head=one": "'one'",
}


@given(
    time=st.integers(0, 10**12 - 1), ino=st.integers(1, 2**63 - 1), size=st.integers(1, 2**63 - 1),
    reads=st.integers(1, 10**9 - 1), write=st.booleans(),
)  # fmt: skip
def test_uses_come_back(time: int, ino: int, size: int, reads: int, *, write: bool) -> None:
    use = Use(time * SECOND // 1000, ino, size, 1 if write else reads, write)
    assert parse(use_line(use)) == use


@given(
    ino=st.integers(1, 2**63 - 1), size=numbers, owner=st.integers(0, 2**32 - 1), head=numbers,
    modified=st.integers(-(10**20), 10**20), paths=st.lists(names, max_size=3),
    xattrs=st.lists(st.tuples(names, st.binary(max_size=20)), max_size=3),
)  # fmt: skip
def test_facts_come_back(
    ino: int, size: int, owner: int, head: int, modified: int, paths: list[bytes],
    xattrs: list[tuple[bytes, bytes]],
) -> None:  # fmt: skip
    facts = FileFacts(ino, size, modified, owner, owner, head, tuple(paths), tuple(xattrs))
    line = file_line(facts)
    assert parse(line) == facts
    assert line.count(b"\n") == 1
    assert line.isascii()


def test_they_are_readable() -> None:
    facts = FileFacts(
        7, 81920, 1_500_000_000, 1000, 100, 65536, (b"/in/a b#.tif",), ((b"user.x", b"hot=1"),)
    )
    assert file_line(facts) == (
        b"file 7 size=81920 mtime=1.500000000 uid=1000 gid=100 head=65536 "
        b"path=/in/a%20b%23.tif xattr:user.x=hot%3D1\n"
    )
    assert use_line(Use(12_250_999_999, 4711, 65536, 3)) == b"12.250 4711 65536 x3\n"
    assert beginning_line(65536, 10**9) == b"log 1 head=65536 flash=1000000000\n"
    assert parse(beginning_line(1, 2)) == Beginning(1, 1, 2)
    assert parse(gone_line(9)) == Gone(9)


def test_a_file_with_endless_names_still_has_a_line_of_bounded_length() -> None:
    paths = tuple(b"\xff" * 4096 for _ in range(9))
    line = file_line(FileFacts(7, 1, 1, 1, 1, 0, paths, ((b"user.a", b"b"),)))
    read = parse(line)
    assert isinstance(read, FileFacts)
    assert len(line) <= LONGEST
    assert read.paths == paths[: len(read.paths)]
    assert len(read.paths) == 2
    assert read.xattrs == ()


@pytest.mark.parametrize("line", [b"", b"\n", b"  # 1 2 3\n", b"#file 1\n"])
def test_some_lines_say_nothing(line: bytes) -> None:
    assert parse(line) is None


@pytest.mark.parametrize("line", BAD)
def test_a_damaged_line_is_told(line: bytes) -> None:
    with pytest.raises(BadLine, match=BAD[line]):
        parse(line)


@given(st.binary(max_size=60) | st.from_regex(r"\A(file|log|gone|12\.5) [0-9]+( [a-z:=0-9]*)*\Z"))
def test_no_bytes_make_another_error(line: bytes | str) -> None:
    try:
        parse(line if isinstance(line, bytes) else line.encode())
    except BadLine:
        return


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
