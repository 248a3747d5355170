from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress

import pytest

from tests.index.conftest import OpenIndex
from tests.index.rows import add, inode
from tests.support.faulty_os import FaultyOs, Point
from tierfs.base.errors import FsError
from tierfs.index.index import Index


class Undo(Exception):
    """Rolls a transaction back."""


def test_the_cache_is_bounded(open_index: OpenIndex) -> None:
    index = open_index(cache_entries=10)
    made = [add(index, b"%d" % number) for number in range(100)]
    assert len(index.inodes._cache) == 10
    assert [index.inodes.get(each.ino) for each in made] == made
    for number in range(100):
        index.entries.find(1, b"%d" % number)
    assert len(index.inodes._cache) == 10


def test_a_listing_does_not_fill_the_cache(index: Index) -> None:
    for number in range(20):
        add(index, b"%d" % number)
    index.inodes.forget_cached()
    assert len(list(index.entries.after(1, 0))) == 20
    assert index.inodes._cache == {}


def test_what_rolls_back_was_never_there(index: Index) -> None:
    kept = add(index, b"kept")
    with suppress(Undo), index.transaction():
        index.inodes.update(kept._replace(size=9))
        index.inodes.insert(inode(5000))
        index.xattrs.put(kept.ino, b"user.a", b"v")
        index.entries.delete(1, b"kept")
        index.inodes.delete(kept.ino)
        raise Undo
    assert index.inodes.get(kept.ino) == kept
    assert index.entries.find(1, b"kept") == kept
    assert index.inodes.find(5000) is None
    assert index.xattrs.names(kept.ino) == []


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_what_could_not_be_committed_was_never_there(open_index: OpenIndex, code: int) -> None:
    faulty = FaultyOs()
    index = open_index(faulty)
    kept = add(index, b"kept")
    faulty.clear()
    faulty.fail(Point("index.commit"), code)
    with pytest.raises(OSError, match=os.strerror(code)), index.transaction():
        index.inodes.update(kept._replace(size=9))
    assert index.inodes.get(kept.ino) == kept
    with index.transaction():
        index.inodes.update(kept._replace(size=10))
    assert index.inodes.get(kept.ino).size == 10


def test_a_nested_transaction_belongs_to_the_outer(index: Index) -> None:
    kept = add(index, b"kept")
    with suppress(Undo), index.transaction():
        with index.transaction():
            index.inodes.update(kept._replace(size=9))
        raise Undo
    assert index.inodes.get(kept.ino) == kept


def test_nobody_sees_what_is_not_committed(index: Index) -> None:
    kept = add(index, b"kept")
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.append(index.inodes.get(kept.ino).size))
    with suppress(Undo), index.transaction():
        index.inodes.update(kept._replace(size=9))
        reader.start()
        reader.join(0.05)
        assert seen == []
        raise Undo
    reader.join()
    assert seen == [0]


def test_an_inode_of_another_time_is_stale(index: Index) -> None:
    made = add(index, b"a")
    with index.transaction():
        index.inodes.delete(made.ino)
    with pytest.raises(FsError, match="Stale"):
        index.inodes.get(made.ino)


def test_the_orphans_are_the_inodes_without_a_name(index: Index) -> None:
    made = [add(index, b"%d" % number) for number in range(3)]
    with index.transaction():
        index.inodes.update(made[1]._replace(nlink=0))
    assert index.inodes.orphans() == [made[1].ino]


def test_columns_that_change_are_stored_and_the_others_kept(index: Index) -> None:
    made = add(index, b"a")
    with index.transaction():
        index.inodes.change(made, size=7, mtime=8, sparse=1)
    cached = index.inodes.get(made.ino)
    index.inodes.forget_cached()
    assert index.inodes.get(made.ino) == cached == made._replace(size=7, mtime=8, sparse=1)
