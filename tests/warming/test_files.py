from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tierfs.base.errors import NotMounted
from tierfs.warming.caches import PAGE
from tierfs.warming.files import Files, Opened, tail_ranges
from tierfs.warming.heads import Heads
from tierfs.warming.names import ELSEWHERE, GONE, SPECIAL
from tierfs.warming.order import Found
from tierfs.warming.tally import Sum, Tally

HEAD = 2 * PAGE
SIZE = 10 * PAGE


class FixedHeads(Heads):
    """Every filesystem is a tierfs mount with heads of HEAD bytes."""

    def length(self, _device: int, _file: int | bytes) -> int | None:
        return HEAD


def files(tally: Tally, *, tails: bool = False, heads: Heads | None = None) -> Files:
    return Files(heads or FixedHeads(), tally, tails=tails, stopped=lambda: False)


def at(path: Path) -> Found:
    return Found(1, 1, os.fsencode(path), was_cached=True)


def sparse_file(path: Path, *pages: int) -> Path:
    """A file of ten pages, with data in some of them."""
    with path.open("wb") as file:
        for page in pages:
            os.pwrite(file.fileno(), b"x" * PAGE, page * PAGE)
        os.ftruncate(file.fileno(), SIZE)
    return path


def ranges(path: Path, *, has_holes: bool) -> list[tuple[int, int]]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return list(tail_ranges(Opened(descriptor, HEAD, SIZE, has_holes)))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ((), []),
        ((0,), []),
        ((1, 2), [(2, 3)]),
        ((0, 4, 5, 9), [(4, 6), (9, 10)]),
    ],
)
def test_holes_of_a_tail_are_left_out(
    scratch: Path, pages: tuple[int, ...], expected: list[tuple[int, int]]
) -> None:
    found = ranges(sparse_file(scratch / "file", *pages), has_holes=True)
    assert [(start // PAGE, end // PAGE) for start, end in found] == expected


def test_without_holes_a_tail_is_one_range(scratch: Path) -> None:
    assert ranges(sparse_file(scratch / "file", 3), has_holes=False) == [(HEAD, SIZE)]


def test_warming_counts_what_was_read(scratch: Path) -> None:
    tally = Tally()
    (scratch / "small").write_bytes(b"x" * 100)
    (scratch / "empty").touch()
    (scratch / "large").write_bytes(b"x" * SIZE)
    for name in ("small", "empty", "large"):
        files(tally).warm(at(scratch / name))
    assert (tally.files, tally.warm_names) == (3, 3)
    assert tally.head == Sum(2, 2, 100 + HEAD, 100 + HEAD)
    assert tally.tail == Sum(1, 0, SIZE - HEAD, 0)
    assert tally.is_warm(tails=False)
    assert not tally.is_warm(tails=True)


def test_tails_are_read_when_asked_for(scratch: Path) -> None:
    tally = Tally()
    files(tally, tails=True).warm(at(sparse_file(scratch / "file", 0, 1, 5)))
    assert tally.tail == Sum(1, 1, PAGE, PAGE)


def test_checking_reads_nothing(scratch: Path) -> None:
    """A read of the holes in memory would fill them, and the next check would find them warm."""
    tally = Tally()
    for _ in range(2):
        files(tally).check(at(sparse_file(scratch / "file", 0, 5)))
    assert tally.head == Sum(2, 0, 2 * HEAD, 2 * PAGE)
    assert tally.tail == Sum(2, 2, 2 * PAGE, 2 * PAGE)
    assert not tally.is_warm(tails=False)


def test_what_changed_since_it_was_found(scratch: Path) -> None:
    tally = Tally()
    os.mkfifo(scratch / "fifo")
    (scratch / "link").symlink_to("fifo")
    for name in ("fifo", "link", "missing"):
        files(tally).warm(at(scratch / name))
    assert tally.skipped == {SPECIAL: 1, GONE: 1}
    assert [problem.path for problem in tally.problems] == [os.fsencode(scratch / "link")]
    assert tally.files == 0


def test_a_file_elsewhere_is_left_alone(scratch: Path) -> None:
    tally = Tally()
    (scratch / "file").touch()
    files(tally, heads=Heads()).warm(at(scratch / "file"))
    assert tally.skipped == {ELSEWHERE: 1}


def test_a_file_that_is_cut_meanwhile_ends_there(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scratch / "file").write_bytes(b"x" * SIZE)
    read = os.preadv

    def cut(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        os.truncate(scratch / "file", HEAD + 1)
        return read(descriptor, buffers, offset)

    monkeypatch.setattr("os.preadv", cut)
    tally = Tally()
    files(tally, tails=True).warm(at(scratch / "file"))
    assert tally.tail == Sum(1, 1, 1, 1)


def test_a_dead_daemon_ends_it_all(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(*_args: object) -> int:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    (scratch / "file").touch()
    monkeypatch.setattr("os.preadv", dead)
    (scratch / "file").write_bytes(b"x")
    with pytest.raises(NotMounted, match="file cannot be reached: the daemon"):
        files(Tally()).warm(at(scratch / "file"))
