"""Another process's view of the index: what the last checkpoint folded in, and never half of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.metadata.rows import add, inode
from tierfs.common.errors import IndexFailed
from tierfs.metadata.index import Index
from tierfs.metadata.reader import SnapshotReader
from tierfs.metadata.wal import CheckpointSeqlockReader


@pytest.fixture
def folded(index: Index) -> Iterator[SnapshotReader]:
    add(index, b"first")
    with (
        closing(CheckpointSeqlockReader(index.checkpoint_for_snapshot())) as seen,
        closing(SnapshotReader(index.path, seen)) as found,
    ):
        yield found


def test_it_shows_what_was_folded_and_follows_every_checkpoint(
    index: Index, folded: SnapshotReader
) -> None:
    before = folded.consistently(folded.last_inode)
    later = add(index, b"later").ino
    assert folded.consistently(folded.last_inode) == before
    index.checkpoint_for_snapshot()
    assert folded.consistently(folded.last_inode) == later


def test_what_a_checkpoint_came_into_is_read_again(index: Index, folded: SnapshotReader) -> None:
    later: list[int] = []

    def read() -> int:
        found = folded.last_inode()
        if not later:
            later.append(add(index, b"later").ino)
            index.checkpoint_for_snapshot()
        return found

    assert folded.consistently(read) == later[0]


def test_an_error_counts_only_if_no_checkpoint_came_in_between(
    index: Index, folded: SnapshotReader
) -> None:
    calls = 0

    def read() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            index.checkpoint_for_snapshot()
        if calls <= 2:
            raise IndexFailed(5, "malformed")
        return calls

    with pytest.raises(IndexFailed, match="malformed"):
        folded.consistently(read)
    assert calls == 2
    assert folded.consistently(read) == 3


def test_it_keeps_no_checkpoint_from_emptying_the_log(index: Index, folded: SnapshotReader) -> None:
    def read() -> int:
        with index.transaction():
            index.inodes.insert(inode(5000))
        return folded.last_inode()

    folded.consistently(read)
    index.checkpoint(0)
    assert index.log_size() == 0
