"""What is kept back for removals on a filesystem without room."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.metadata.rows import inode
from tests.support.faulty_os import FaultyOs, Point
from tests.support.filesystems import fill, memory_filesystem
from tierfs.common.errors import IndexFailed
from tierfs.common.metrics import Metrics
from tierfs.fsck.check import Report
from tierfs.metadata.database import HOUSEKEEPING_INTERVAL
from tierfs.metadata.index import Index
from tierfs.metadata.integrity import IntegrityCheck, repairing
from tierfs.metadata.wal import LEAST_UNIT, MOST_UNIT, Preallocation, unit_of

MIB = 1024 * 1024


@pytest.fixture
def small_filesystem(home: Path) -> Iterator[Path]:
    """A filesystem of 8 MiB."""
    with memory_filesystem(home / "small", 8) as path:
        yield path


def opened(path: Path) -> Index:
    return Index(path / "index.db", FaultyOs(), Metrics())


def add_until_full(index: Index) -> int:
    """Make inodes with long names until there is no room; returns how many there are."""
    made = 0
    with suppress(IndexFailed):
        while True:
            with index.transaction():
                serial = index.new_serial()
                index.inodes.insert(inode(serial))
                index.dentries.insert(1, b"%0200d" % serial, serial, serial)
            made += 1
    return made


def remove_all(index: Index, filling: Path) -> int:
    """Remove every entry and inode; a stranger takes what becomes free."""
    removed = 0
    for (ino,) in index._database.rows("SELECT ino FROM inode WHERE ino > 1"):
        with index.transaction():
            index.dentries.delete(1, b"%0200d" % ino)
            index.inodes.delete(ino)
        removed += 1
        if removed % 50 == 0:
            fill(filling)
    return removed


@pytest.mark.parametrize("capacity", [0, MIB, 64 * MIB, 1 << 50])
def test_room_is_kept_in_proportion(capacity: int) -> None:
    assert LEAST_UNIT <= unit_of(capacity) <= MOST_UNIT
    assert unit_of(64 * MIB) == 512 * 1024


def test_everything_can_be_removed_where_nothing_can_be_made(small_filesystem: Path) -> None:
    with closing(opened(small_filesystem)) as index:
        with index.transaction():
            index.new_serial()
        fill(small_filesystem)
        made = add_until_full(index)
        assert made > 10
        with pytest.raises(IndexFailed) as failed, index.transaction():
            index.new_serial()
        assert failed.value.errno == errno.ENOSPC
        with pytest.raises(IndexFailed) as failed, index.transaction():
            index.xattrs.put(1, b"user.a", b"value")
        assert failed.value.errno == errno.ENOSPC
        fill(small_filesystem)
        assert remove_all(index, small_filesystem) == made


def test_large_attributes_leave_the_room_alone(small_filesystem: Path) -> None:
    """And their removal writes little: freed pages are not written over."""
    with closing(opened(small_filesystem)) as index:
        count = 0
        with suppress(IndexFailed):
            while True:
                with index.transaction():
                    index.xattrs.put(count, b"user.large", bytes(60_000))
                count += 1
        assert count > 30
        fill(small_filesystem)
        with index.transaction():
            for number in range(count):
                index.xattrs.delete_all(number)
        with index.transaction():
            index.xattrs.put(0, b"user.large", bytes(60_000))


def test_something_can_be_made_as_soon_as_there_is_room(small_filesystem: Path) -> None:
    with closing(opened(small_filesystem)) as index:
        fill(small_filesystem)
        add_until_full(index)
        (small_filesystem / "stranger").unlink()
        with index.transaction():
            index.new_serial()


def test_an_index_is_opened_on_a_full_filesystem(small_filesystem: Path) -> None:
    """What it needs was kept behind the database while nobody had it open."""
    with closing(opened(small_filesystem)) as index:
        made = add_until_full(index)
    fill(small_filesystem)
    with closing(opened(small_filesystem)) as index:
        fill(small_filesystem)
        assert remove_all(index, small_filesystem) == made


def test_what_a_crash_left_is_opened_on_a_full_filesystem(small_filesystem: Path) -> None:
    index = opened(small_filesystem)
    made = add_until_full(index)
    fill(small_filesystem)
    database = small_filesystem / "index.db"
    os.link(database, small_filesystem / "kept.db")
    os.link(f"{database}-wal", small_filesystem / "kept.db-wal")
    # What the dead had open has the same blocks; only SQLite's own view of the names is another.
    with closing(Index(small_filesystem / "kept.db", FaultyOs(), Metrics())) as survivor:
        assert len(survivor._database.rows("SELECT ino FROM inode")) == made
    with suppress(IndexFailed):
        index.close()


def test_a_check_needs_no_room_and_makes_no_file(small_filesystem: Path) -> None:
    with closing(opened(small_filesystem)) as index:
        add_until_full(index)
        fill(small_filesystem)
        before = sorted(os.listdir(small_filesystem))
        with closing(IntegrityCheck(index.path)) as inspection:
            assert inspection.problems(thorough=False) == []
        assert sorted(os.listdir(small_filesystem)) == before
    assert Report("").damage == ""


def test_a_repair_works_on_a_full_filesystem(small_filesystem: Path) -> None:
    with closing(opened(small_filesystem)) as index:
        add_until_full(index)
    fill(small_filesystem)
    with repairing(small_filesystem / "index.db") as repair:
        repair.raise_serial(1 << 40)


def test_a_filesystem_that_allocates_nothing_ahead_goes_without(home: Path) -> None:
    faulty = FaultyOs()
    for nth in range(100):
        faulty.fail(Point("index.fallocate", nth), errno.EOPNOTSUPP)
    with closing(Index(home / "index.db", faulty, Metrics())) as index:
        assert add_some(index, 5 * HOUSEKEEPING_INTERVAL) == 5 * HOUSEKEEPING_INTERVAL


def add_some(index: Index, count: int) -> int:
    for _ in range(count):
        with index.transaction():
            index.inodes.insert(inode(index.new_serial()))
    return count


def test_room_is_looked_after_now_and_then_only(home: Path) -> None:
    faulty = FaultyOs()
    with closing(Index(home / "index.db", faulty, Metrics())) as index:
        add_some(index, 1)
        faulty.clear()
        add_some(index, 10 * HOUSEKEEPING_INTERVAL)
        assert set(faulty.labels) == {"index.commit"}


def test_files_can_be_removed_though_others_take_what_a_checkpoint_frees(
    small_filesystem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SQLite cuts off behind the database is free until it is allocated again."""
    with closing(opened(small_filesystem)) as index:
        made = add_until_full(index)
        fill(small_filesystem)
        allocate = Preallocation.after_checkpoint

        def after_checkpoint(ours: Preallocation) -> None:
            fill(small_filesystem)  # a stranger was quicker
            allocate(ours)

        monkeypatch.setattr(Preallocation, "after_checkpoint", after_checkpoint)
        index.checkpoint(0)
        index.limit_log(0)
        with index.transaction():  # as the change feed, which grows with removals
            index._database.execute("INSERT INTO xattr VALUES (1, x'61', zeroblob(30000))")
        assert remove_all(index, small_filesystem) == made
