"""Lines of an access log: what is written is read back, and what is damaged is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.base.durations import SECOND
from tierfs.tiering.access_log import (
    LONGEST,
    BadLine,
    Beginning,
    FileFacts,
    Gone,
    Use,
    beginning_line,
    file_line,
    gone_line,
    parse,
    use_line,
)

names = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)
numbers = st.integers(0, 2**63 - 1)


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
