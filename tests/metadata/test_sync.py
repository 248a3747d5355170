"""One descriptor of the log for all: what the kernel says of it once must reach everybody."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from tests.metadata.conftest import OpenIndex
from tests.metadata.rows import add
from tests.support.faulty_os import FaultyOs, Point
from tierfs.common.errors import IndexFailed
from tierfs.common.metrics import Metrics
from tierfs.common.osio import Os
from tierfs.metadata.index import Index

P = ParamSpec("P")
T = TypeVar("T")

CALLERS = 8


class ReportsOnce(Os):
    """As Linux does with one descriptor: the first sync after a failed write says so, no other.

    A sync waits a moment for others, which begin as well if nothing holds them back.
    """

    def __init__(self) -> None:
        self.failing = False
        self.begun = 0
        self._mutex = threading.Lock()
        self._together = threading.Barrier(CALLERS)

    def call(self, label: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if label != "index.sync" or not self.failing:
            return function(*args, **kwargs)
        with self._mutex:
            self.begun += 1
            first = self.begun == 1
        with contextlib.suppress(threading.BrokenBarrierError):
            self._together.wait(0.5)
        if first:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return function(*args, **kwargs)


class Slow(Os):
    """Counts syncs, and holds each until it is released."""

    def __init__(self) -> None:
        self.holds = False
        self.begun = 0
        self.entered = threading.Event()
        self.released = threading.Event()

    def call(self, label: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if label == "index.sync" and self.holds:
            self.begun += 1
            self.entered.set()
            assert self.released.wait(10)
        return function(*args, **kwargs)


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except IndexFailed as exc:
        return f"errno {exc.errno}"
    return "synced"


def test_everybody_who_waited_is_told_of_a_failure(open_index: OpenIndex) -> None:
    """Ten programs that fsync at once, on a device that begins to fail."""
    once = ReportsOnce()
    index = open_index(once)
    add(index, b"a")
    once.failing = True
    with ThreadPoolExecutor(CALLERS) as threads:
        said = list(threads.map(lambda _: outcome(index.sync), range(CALLERS)))
    assert said == [f"errno {errno.EIO}"] * CALLERS


def test_who_comes_during_a_sync_waits_for_the_next_and_shares_it(open_index: OpenIndex) -> None:
    slow = Slow()
    index = open_index(slow)
    slow.holds = True
    started = threading.Barrier(CALLERS)

    def sync() -> None:
        started.wait(10)
        index.sync()

    with ThreadPoolExecutor(CALLERS) as threads:
        first = threads.submit(index.sync)
        assert slow.entered.wait(10)
        # Committed after the sync began, so that one is not enough for them.
        others = [threads.submit(sync) for _ in range(CALLERS - 1)]
        started.wait(10)
        assert wait(others, timeout=0.3).done == set()
        slow.released.set()
        for future in [first, *others]:
            future.result(10)
    assert slow.begun == 2


def _with_a_log_that_cannot_be_synced(open_index: OpenIndex) -> Index:
    faulty = FaultyOs()
    index = open_index(faulty)
    for number in range(300):
        add(index, b"%0200d" % number)
    faulty.clear()
    faulty.fail(Point("index.sync"), errno.EIO)
    return index


def test_no_checkpoint_is_made_of_a_log_that_could_not_be_synced(open_index: OpenIndex) -> None:
    """Pages of the log that the device refused may be read back as they were before."""
    index = _with_a_log_that_cannot_be_synced(open_index)
    size = index.path.stat().st_size
    with pytest.raises(IndexFailed):
        index.sync()
    with pytest.raises(IndexFailed, match="mount the volume again"):
        index.checkpoint(0)
    assert index.path.stat().st_size == size


def test_a_checkpoint_that_meets_the_failure_first_does_not_swallow_it(
    open_index: OpenIndex,
) -> None:
    """SQLite syncs the log by a descriptor of its own, and forgets that it failed."""
    index = _with_a_log_that_cannot_be_synced(open_index)
    size = index.path.stat().st_size
    with pytest.raises(IndexFailed):
        index.checkpoint(0)
    assert index.path.stat().st_size == size
    assert outcome(index.sync) == f"errno {errno.EIO}"


def test_a_transaction_that_would_empty_the_log_fails_after_a_failed_sync(
    open_index: OpenIndex,
) -> None:
    faulty = FaultyOs()
    index = open_index(faulty)
    add(index, b"a")
    index.limit_log(index.log_size() - 1)
    faulty.clear()
    faulty.fail(Point("index.sync"), errno.EIO)
    with pytest.raises(IndexFailed):
        add(index, b"b")
    assert index.dentries.find(1, b"b") is None


def test_a_log_that_was_left_is_written_again(home: Path, open_index: OpenIndex) -> None:
    """What a device refused stands in the page cache as if it had been written."""
    first = open_index()
    made = add(first, b"a")
    left = Path(f"{first.path}-wal").read_bytes()
    copy = home / "copy"
    copy.mkdir()
    (copy / "index.db").write_bytes(first.path.read_bytes())
    (copy / "index.db-wal").write_bytes(left)
    faulty = FaultyOs()
    second = Index(copy / "index.db", faulty, Metrics())
    try:
        assert second.inodes.get(made.ino) == made
        add(second, b"b")
        second.sync()
        written = faulty.labels.index("index.pwrite")
        assert "index.sync" in faulty.labels[written:]
    finally:
        second.close()
