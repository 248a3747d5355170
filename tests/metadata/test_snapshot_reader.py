"""Another process's view of the index: the state of the last checkpoint, and never half of one."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.metadata.rows import add, inode
from tierfs.common.errors import IndexFailed
from tierfs.metadata import reader, wal
from tierfs.metadata.index import Index
from tierfs.metadata.reader import SnapshotReader
from tierfs.metadata.wal import NO_LIMIT


def count(snapshot: SnapshotReader) -> int:
    """How many names there are."""
    ((found,),) = snapshot._rows("SELECT count(*) FROM entry")
    return int(found)


@pytest.fixture
def snapshot(index: Index) -> Iterator[SnapshotReader]:
    add(index, b"first")
    with closing(SnapshotReader(index.path, index.checkpoint_for_snapshot())) as found:
        yield found


def test_it_shows_the_last_checkpoint_and_follows_every_one(
    index: Index, snapshot: SnapshotReader
) -> None:
    before = snapshot.consistently(snapshot.last_inode)
    later = add(index, b"later").ino
    assert snapshot.consistently(snapshot.last_inode) == before
    index.checkpoint_for_snapshot()
    assert snapshot.consistently(snapshot.last_inode) == later


def test_what_a_checkpoint_came_into_is_read_again(index: Index, snapshot: SnapshotReader) -> None:
    later: list[int] = []

    def read() -> int:
        found = snapshot.last_inode()
        if not later:
            later.append(add(index, b"later").ino)
            index.checkpoint_for_snapshot()
        return found

    assert snapshot.consistently(read) == later[0]


def test_a_checkpoint_of_nothing_comes_in_between_nothing(
    index: Index, snapshot: SnapshotReader
) -> None:
    seen: list[int] = []

    def read() -> int:
        seen.append(snapshot.last_inode())
        if len(seen) % 3:
            index.checkpoint(NO_LIMIT)
        return len(seen)

    assert snapshot.consistently(read) == 1
    later = add(index, b"later").ino
    index.checkpoint(NO_LIMIT)
    assert snapshot.consistently(read) == 2
    assert seen[-1] == later
    with suppress(IndexFailed), index.transaction():
        add(index, b"never")
        raise IndexFailed(5, "not stored")
    index.checkpoint(NO_LIMIT)
    assert snapshot.consistently(snapshot.last_inode) == later


def test_an_error_counts_only_if_no_checkpoint_came_in_between(
    index: Index, snapshot: SnapshotReader
) -> None:
    calls = 0

    def read() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            add(index, b"later")
            index.checkpoint_for_snapshot()
        if calls <= 2:
            raise IndexFailed(5, "malformed")
        return calls

    with pytest.raises(IndexFailed, match="malformed"):
        snapshot.consistently(read)
    assert calls == 2
    assert snapshot.consistently(read) == 3


def test_a_checkpoint_that_copied_a_part_of_the_log_is_waited_for(index: Index) -> None:
    """A reader keeps pages out of the file that were changed again since it began."""

    def counted() -> int:
        with closing(SnapshotReader(index.path, index.checkpoint_for_snapshot())) as snapshot:
            return snapshot.consistently(lambda: count(snapshot))

    names = [sha256(b"%d" % number).digest() for number in range(3000)]  # all over the tree
    for name in names[:1000]:
        add(index, name)
    index.checkpoint(NO_LIMIT)
    for name in names[1000:2000]:
        add(index, name)
    with (
        ThreadPoolExecutor() as pool,
        closing(sqlite3.connect(index.path, isolation_level=None)) as older,
    ):
        older.execute("BEGIN")
        older.execute("SELECT count(*) FROM entry").fetchall()
        for name in names[2000:2020]:
            add(index, name)
        index.checkpoint(NO_LIMIT)
        with closing(sqlite3.connect(f"file:{index.path}?immutable=1", uri=True)) as torn:
            assert torn.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)]
        assert not index.is_settled
        found = pool.submit(counted)
        with pytest.raises(TimeoutError):
            found.result(timeout=0.2)
        older.execute("COMMIT")
        index.checkpoint(NO_LIMIT)
        assert found.result(timeout=60) == 2020
    assert index.is_settled


def test_a_checkpoint_waits_a_little_for_a_reader(index: Index, snapshot: SnapshotReader) -> None:
    with (
        ThreadPoolExecutor() as pool,
        closing(
            sqlite3.connect(index.path, isolation_level=None, check_same_thread=False)
        ) as older,
    ):
        older.execute("BEGIN")
        older.execute("SELECT count(*) FROM entry").fetchall()
        add(index, b"later")
        made = pool.submit(index.checkpoint, NO_LIMIT)
        time.sleep(2 * wal.PAUSE_S)
        assert not made.done()
        older.execute("COMMIT")
        made.result(timeout=60)
        assert index.is_settled
    assert count(snapshot) == 2


def test_it_keeps_no_checkpoint_from_emptying_the_log(
    index: Index, snapshot: SnapshotReader
) -> None:
    def read() -> int:
        with index.transaction():
            index.inodes.insert(inode(5000))
        return snapshot.last_inode()

    snapshot.consistently(read)
    index.checkpoint(0)
    assert index.log_size() == 0


def test_a_file_that_changes_while_it_is_opened_is_opened_again(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of the cache is set for a schema that is read first, of pages of two states."""
    connect = SnapshotReader._connect
    torn: list[int] = []
    names = [b"beside", b"beside again"]

    def connect_beside(self: SnapshotReader, path: Path) -> sqlite3.Connection:
        if not torn:
            torn.append(add(index, names.pop()).ino)
            index.checkpoint_for_snapshot()
            raise sqlite3.DatabaseError("database disk image is malformed")
        return connect(self, path)

    monkeypatch.setattr(SnapshotReader, "_connect", connect_beside)
    add(index, b"first")
    with closing(SnapshotReader(index.path, index.checkpoint_for_snapshot())) as found:
        assert found.consistently(found.last_inode) == torn[0]
        torn.clear()
        add(index, b"later")
        index.checkpoint_for_snapshot()
        assert found.consistently(found.last_inode) == torn[0]


def test_a_copy_into_which_a_checkpoint_came_is_made_again(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(index, b"first")
    checkpoints = index.checkpoint_for_snapshot()
    copies: list[Path] = []

    def copy(source: Path, target: Path) -> Path:
        copied = shutil.copyfile(source, target)
        copies.append(copied)
        if len(copies) == 1:
            add(index, b"later")
            index.checkpoint_for_snapshot()
        return copied

    monkeypatch.setattr(reader, "shutil", SimpleNamespace(copyfile=copy))
    reader.copy_snapshot(index.path, tmp_path / "copy", checkpoints)
    assert len(copies) == 2
    with closing(sqlite3.connect(f"file:{tmp_path / 'copy'}?immutable=1", uri=True)) as connection:
        names = connection.execute("SELECT name FROM entry ORDER BY name").fetchall()
    assert names == [(b"first",), (b"later",)]
