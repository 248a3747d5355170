"""The files of a range of inode numbers, for whoever looks through all of them bit by bit."""

from __future__ import annotations

import stat

from tests.metadata.rows import inode
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode
from tierfs.metadata.reader import IndexReader

LAST = 105


def fill(index: Index) -> dict[int, Inode]:
    """Some inodes of every sort from 100 to 105."""
    rows = [
        inode(100, size=5),
        inode(101, size=5, prefix=0),
        inode(102, size=0),
        inode(103, mode=stat.S_IFDIR | 0o755, size=4096),
        inode(104, size=5, nlink=0),
        inode(LAST, size=10**6)._replace(mtime=2**63 + 5),
    ]
    with index.transaction():
        for row in rows:
            index.inodes.insert(row)
    return {row.ino: row for row in rows}


def test_an_empty_table(reader: IndexReader) -> None:
    assert reader.last_inode() == 0
    assert reader.files(0, 1000, on_flash=False) == ([], 0)


def test_files_with_a_name_in_their_order(index: Index, reader: IndexReader) -> None:
    rows = fill(index)
    assert reader.last_inode() == LAST
    assert reader.files(0, 1000, on_flash=False) == (
        [rows[ino] for ino in (100, 101, 102, LAST)],
        0,
    )
    assert reader.files(0, 1000, on_flash=True) == ([rows[100], rows[LAST]], 0)


def test_one_span_after_the_other(index: Index, reader: IndexReader) -> None:
    fill(index)
    found, after, calls = [], 99, 0
    while True:
        rows, after = reader.files(after, 2, on_flash=False)
        found += [row.ino for row in rows]
        calls += 1
        if not after:
            break
    assert found == [100, 101, 102, LAST]
    assert calls == 3


def test_a_gap_is_gone_through(index: Index, reader: IndexReader) -> None:
    fill(index)
    assert reader.files(0, 50, on_flash=True) == ([], 50)


def test_nobody_waits_for_it(index: Index, reader: IndexReader) -> None:
    """It sees what is committed, and not what another is about to commit."""
    rows = fill(index)
    with index.transaction():
        index.inodes.update(rows[100]._replace(size=7))
        assert reader.files(0, 100, on_flash=True)[0] == [rows[100]]
    assert reader.files(0, 100, on_flash=True)[0][0].size == 7


def test_bytes_by_directory(index: Index, reader: IndexReader) -> None:
    with index.transaction():
        for row in (
            inode(100, size=10, prefix=4, parent=7),
            inode(101, size=2**62, prefix=2**62, parent=7)._replace(mirrored=True),
            inode(102, size=2**62, prefix=2**62, parent=7),
            inode(103, size=5, prefix=0, parent=8),
            inode(104, size=5, nlink=0, parent=8),
            inode(105, mode=stat.S_IFDIR | 0o755, size=4096, parent=8),
        ):
            index.inodes.insert(row)
    assert reader.bytes_by_directory(99, 10) == {
        7: (3, 2**63 + 10, 2**63 + 4, 2**62),
        8: (1, 5, 0, 0),
    }
    assert reader.parents(99, 10) == {105: 8}
    assert reader.bytes_by_directory(105, 10) == {}
