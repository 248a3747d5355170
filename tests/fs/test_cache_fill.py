"""Directories in which names are missed are published as a whole, and no more than is worth it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fs.calls import DIRECTORY, FILE, ME
from tests.fs.test_cache_updater import Opened
from tierfs.fs.cache_fill import AHEAD, PAGE, PATIENCE, RECOVERY_S, REMEMBERED, CacheFill
from tierfs.metadata.cache_updater import ABSENT
from tierfs.metadata.inodes import ROOT


class Seconds:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def opened(home: Path) -> Iterator[Opened]:
    made = Opened(home / "volume")
    yield made
    made.volume.close()


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def fill(opened: Opened, clock: Seconds) -> CacheFill:
    return CacheFill(opened.volume.index, clock)


def full_directory(opened: Opened, files: int) -> int:
    """A directory of which nothing is published."""
    directory = opened.fs.names.make(ROOT, b"d", DIRECTORY, ME).ino
    with opened.volume.index.transaction():
        for number in range(files):
            opened.fs.names.make(directory, b"%06d" % number, FILE, ME)
    opened.cache.clear()
    return directory


def miss(fill: CacheFill, directory: int, times: int) -> int:
    """Miss so often, publishing all that is due; returns the pages that were."""
    pages = 0
    for _ in range(times):
        fill.missed_in(directory)
        while not fill.idle:
            fill.fill()
            pages += 1
    return pages


def test_a_few_misses_publish_nothing(opened: Opened, fill: CacheFill) -> None:
    directory = full_directory(opened, 10)
    assert miss(fill, directory, PATIENCE - 1) == 0
    assert opened.cache.dentries == {}


def test_the_next_one_publishes_the_whole_directory(opened: Opened, fill: CacheFill) -> None:
    files = 2 * PAGE + 10
    directory = full_directory(opened, files)
    assert miss(fill, directory, PATIENCE) == 3
    assert directory in opened.cache.complete
    assert opened.cache.lookup(directory, b"none") == ABSENT
    assert len(opened.cache.dentries) == files
    assert all(pairs == [] for pairs in opened.cache.xattrs.values())
    opened.cache.check(opened.volume.index)


@pytest.mark.parametrize("files", [PAGE - 1, PAGE, PAGE + 1])
def test_the_last_page_may_be_full(opened: Opened, fill: CacheFill, files: int) -> None:
    directory = full_directory(opened, files)
    miss(fill, directory, PATIENCE)
    assert directory in opened.cache.complete
    assert len(opened.cache.dentries) == files


def test_misses_of_inodes_count_for_their_directory(opened: Opened, fill: CacheFill) -> None:
    directory = full_directory(opened, 3)
    ino = opened.fs.names.lookup(directory, b"000000").ino
    for _ in range(PATIENCE):
        fill.missed(ino)
    assert not fill.idle
    fill.fill()
    assert directory in opened.cache.complete


def test_the_root_is_in_no_directory(fill: CacheFill) -> None:
    for _ in range(PATIENCE):
        fill.missed(ROOT)
        fill.missed(2**40)
    assert fill.idle


def test_a_large_directory_is_published_as_misses_come(opened: Opened, fill: CacheFill) -> None:
    directory = full_directory(opened, (PATIENCE + 3) * AHEAD)
    miss(fill, directory, PATIENCE)
    assert len(opened.cache.dentries) == PATIENCE * AHEAD
    assert directory not in opened.cache.complete
    miss(fill, directory, 1)
    assert len(opened.cache.dentries) == (PATIENCE + 1) * AHEAD
    miss(fill, directory, 3)
    assert directory in opened.cache.complete


def test_changes_between_two_pages_are_not_missed(opened: Opened, fill: CacheFill) -> None:
    directory = full_directory(opened, 2 * PAGE)
    for _ in range(PATIENCE):
        fill.missed_in(directory)
    fill.fill()
    names = opened.fs.names
    names.make(directory, b"000000-new", FILE, ME)
    names.unlink(directory, b"000001")
    names.rename(directory, b"%06d" % (2 * PAGE - 1), directory, b"000002-moved")
    names.rename(directory, b"000003", directory, b"999999")
    while not fill.idle:
        fill.fill()
    assert directory in opened.cache.complete
    opened.cache.check(opened.volume.index)


def test_one_that_is_complete_is_not_read_again(opened: Opened, fill: CacheFill) -> None:
    directory = full_directory(opened, 5)
    miss(fill, directory, PATIENCE)
    opened.cache.evict(1)
    calls = opened.cache.calls
    assert miss(fill, directory, PATIENCE) == 1
    assert opened.cache.calls <= calls + 2


def test_one_that_does_not_fit_earns_fewer_and_fewer_rows(
    opened: Opened, fill: CacheFill, clock: Seconds
) -> None:
    directory = full_directory(opened, 4 * PAGE - 1)
    pages = []
    for _ in range(5):
        pages.append(miss(fill, directory, 2 * PATIENCE))
        opened.cache.clear()
    assert pages[0] >= 4
    assert max(pages[1:]) <= pages[0] / 2
    assert sum(pages[1:]) < 2 * pages[0]
    clock.now += RECOVERY_S + 1
    assert miss(fill, directory, 4 * PAGE) >= 4


def test_memory_is_bounded(fill: CacheFill) -> None:
    for directory in range(2, REMEMBERED + 100):
        for _ in range(PATIENCE):
            fill.missed_in(directory)
    assert len(fill._directories) == REMEMBERED
    assert set(fill._due) <= set(fill._directories)
