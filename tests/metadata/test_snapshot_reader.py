"""Another process's view of the index: the state of the last checkpoint, and never half of one."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.metadata.rows import add, inode
from tierfs.common.errors import IndexFailed
from tierfs.metadata import reader
from tierfs.metadata.index import Index
from tierfs.metadata.reader import SnapshotReader
from tierfs.metadata.wal import NO_LIMIT


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
