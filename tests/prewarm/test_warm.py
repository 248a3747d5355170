"""Reading files, and the threads that do."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tierfs.common.errors import NotMounted
from tierfs.prewarm.caches import PAGE
from tierfs.prewarm.counts import Counts, PartCounts
from tierfs.prewarm.find import ELSEWHERE, GONE, SPECIAL, Found, HeadLengths
from tierfs.prewarm.warm import FileWarmer, Opened, ThreadPool, tail_ranges

HEAD = 2 * PAGE
SIZE = 10 * PAGE


class FixedHeadLengths(HeadLengths):
    """Every filesystem is a tierfs mount with heads of HEAD bytes."""

    def length(self, _device: int, _file: int | bytes) -> int | None:
        return HEAD


def files(counts: Counts, *, tails: bool = False, heads: HeadLengths | None = None) -> FileWarmer:
    return FileWarmer(heads or FixedHeadLengths(), counts, tails=tails, stopped=lambda: False)


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
    counts = Counts()
    (scratch / "small").write_bytes(b"x" * 100)
    (scratch / "empty").touch()
    (scratch / "large").write_bytes(b"x" * SIZE)
    for name in ("small", "empty", "large"):
        files(counts).warm(at(scratch / name))
    assert (counts.files, counts.warm_names) == (3, 3)
    assert counts.head == PartCounts(2, 2, 100 + HEAD, 100 + HEAD)
    assert counts.tail == PartCounts(1, 0, SIZE - HEAD, 0)
    assert counts.is_warm(tails=False)
    assert not counts.is_warm(tails=True)


def test_tails_are_read_when_asked_for(scratch: Path) -> None:
    counts = Counts()
    files(counts, tails=True).warm(at(sparse_file(scratch / "file", 0, 1, 5)))
    assert counts.tail == PartCounts(1, 1, PAGE, PAGE)


def test_checking_reads_nothing(scratch: Path) -> None:
    """A read of the holes in memory would fill them, and the next check would find them warm."""
    counts = Counts()
    for _ in range(2):
        files(counts).check(at(sparse_file(scratch / "file", 0, 5)))
    assert counts.head == PartCounts(2, 0, 2 * HEAD, 2 * PAGE)
    assert counts.tail == PartCounts(2, 2, 2 * PAGE, 2 * PAGE)
    assert not counts.is_warm(tails=False)


def test_what_changed_since_it_was_found(scratch: Path) -> None:
    counts = Counts()
    os.mkfifo(scratch / "fifo")
    (scratch / "link").symlink_to("fifo")
    for name in ("fifo", "link", "missing"):
        files(counts).warm(at(scratch / name))
    assert counts.skipped == {SPECIAL: 1, GONE: 1}
    assert [problem.path for problem in counts.problems] == [os.fsencode(scratch / "link")]
    assert counts.files == 0


def test_a_file_elsewhere_is_left_alone(scratch: Path) -> None:
    counts = Counts()
    (scratch / "file").touch()
    files(counts, heads=HeadLengths()).warm(at(scratch / "file"))
    assert counts.skipped == {ELSEWHERE: 1}


def test_a_file_that_is_cut_meanwhile_ends_there(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scratch / "file").write_bytes(b"x" * SIZE)
    read = os.preadv

    def cut(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        os.truncate(scratch / "file", HEAD + 1)
        return read(descriptor, buffers, offset)

    monkeypatch.setattr("os.preadv", cut)
    counts = Counts()
    files(counts, tails=True).warm(at(scratch / "file"))
    assert counts.tail == PartCounts(1, 1, 1, 1)


def test_a_dead_daemon_ends_it_all(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(*_args: object) -> int:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    (scratch / "file").touch()
    monkeypatch.setattr("os.preadv", dead)
    (scratch / "file").write_bytes(b"x")
    with pytest.raises(NotMounted, match="file cannot be reached: the daemon"):
        files(Counts()).warm(at(scratch / "file"))


def pool(items: Iterator[int], work: Callable[[int], None], jobs: int = 4) -> ThreadPool[int]:
    return ThreadPool(items, work, jobs, threading.Event())


def test_everything_is_done_once() -> None:
    done: list[int] = []
    pool(iter(range(1000)), done.append).run(lambda: None)
    assert sorted(done) == list(range(1000))


def test_so_many_are_at_work_and_no_more() -> None:
    together = threading.Barrier(3, timeout=20)
    at_work, most = 0, 0
    counting = threading.Lock()

    def work(_item: int) -> None:
        nonlocal at_work, most
        with counting:
            at_work += 1
            most = max(most, at_work)
        together.wait()
        with counting:
            at_work -= 1

    pool(iter(range(30)), work, jobs=3).run(lambda: None)
    assert most == 3


def test_work_is_taken_in_order() -> None:
    """While one job is kept busy by the first item, the other gets all the rest in order."""
    done: list[int] = []
    last = threading.Event()

    def work(item: int) -> None:
        if item == 0:
            assert last.wait(20)
        else:
            done.append(item)
        if item == 99:
            last.set()

    pool(iter(range(100)), work, jobs=2).run(lambda: None)
    assert done == list(range(1, 100))


def test_an_error_ends_it() -> None:
    def work(item: int) -> None:
        if item == 10:
            raise ValueError("ten")

    with pytest.raises(ValueError, match="ten"):
        pool(itertools.count(), work).run(lambda: None)


def test_an_error_of_the_items_ends_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        pool(items(), lambda _item: None).run(lambda: None)


def test_an_interrupt_ends_it() -> None:
    taken: list[int] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool(itertools.count(), taken.append).run(interrupt)
    count = len(taken)
    assert threading.active_count() == 1
    assert len(taken) == count
