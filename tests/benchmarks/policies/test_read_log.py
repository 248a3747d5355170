"""Recorded access logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.policies.simulate import Access, read_log
from tierfs.common.errors import UsageError
from tierfs.common.units import SECOND
from tierfs.tiering.access_log import beginning_line

LOG = """# seconds inode bytes
100.5 7 4096
103   8 100 w   # new

102 7 8192
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "access.log"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_log(tmp_path: Path) -> None:
    made = read_log(written(tmp_path, LOG))
    assert made.accesses == [
        Access(0, 7, 8192),
        Access(3 * SECOND // 2, 7, 8192),
        Access(5 * SECOND // 2, 8, 100, write=True),
    ]
    assert (made.name, made.stored, made.counted_from) == ("access.log", 8292, 0)


def test_only_the_head_is_on_flash(tmp_path: Path) -> None:
    made = read_log(written(tmp_path, LOG), head=4096)
    assert {access.size for access in made.accesses} == {4096, 100}


BAD = ["1 2", "x 2 3", "1 0 3", "1 2 0", "1 -2 3", "1 2 3 r", "1 2 3 w w", "inf 2 3", "1e3 2 3",
       "1 9999999999999999999 3", "1 2 99999999999999999999", "\udcff 1 2"]  # fmt: skip


@pytest.mark.parametrize("line", BAD)
def test_a_wrong_line_is_told_with_its_place(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, b"1 1 1\n\n" + line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(UsageError, match=r"access.log:3:1: .* is not an access; write SECONDS"):
        read_log(path)


def test_a_log_without_an_access_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no access; a line is: SECONDS INODE BYTES"):
        read_log(written(tmp_path, "# nothing\n"))


def test_a_log_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere cannot be read: No such file"):
        read_log(tmp_path / "nowhere")


def test_the_log_of_a_mount(tmp_path: Path) -> None:
    lines = [
        beginning_line(4096, 10**9).strip(),
        b"file 7 size=5000 mtime=1.0 uid=0 gid=0 head=4096 path=/a",
        b"1 7 10000 x4",
        b"2 8 100 w",
        b"gone 8",
    ]
    made = read_log(written(tmp_path, b"\n".join(lines) + b"\n"))
    assert [(access.ino, access.size, access.write) for access in made.accesses] == [
        (7, 5000, False),
        (8, 100, True),
    ]
