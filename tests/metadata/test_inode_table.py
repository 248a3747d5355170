from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress

import pytest

from tests.metadata.conftest import OpenIndex
from tests.metadata.rows import add, inode
from tests.support.faulty_os import FaultyOs, Point
from tierfs.common.errors import FsError
from tierfs.metadata.index import Index


class Undo(Exception):
    """Rolls a transaction back."""


def test_the_cache_is_bounded(open_index: OpenIndex) -> None:
    index = open_index(cache_entries=10)
    made = [add(index, b"%d" % number) for number in range(100)]
    assert len(index.inodes._cache) == 10
    assert [index.inodes.get(each.ino) for each in made] == made
    for number in range(100):
        index.dentries.find(1, b"%d" % number)
    assert len(index.inodes._cache) == 10


def test_a_listing_does_not_fill_the_cache(index: Index) -> None:
    for number in range(20):
        add(index, b"%d" % number)
    index.inodes.forget_cached()
    assert len(list(index.dentries.after(1, 0))) == 20
    assert index.inodes._cache == {}


def test_what_rolls_back_was_never_there(index: Index) -> None:
    kept = add(index, b"kept")
    with suppress(Undo), index.transaction():
        index.inodes.update(kept._replace(size=9))
        index.inodes.insert(inode(5000))
        index.xattrs.put(kept.ino, b"user.a", b"v")
        index.dentries.delete(1, b"kept")
        index.inodes.delete(kept.ino)
        raise Undo
    assert index.inodes.get(kept.ino) == kept
    assert index.dentries.find(1, b"kept") == kept
    assert index.inodes.find(5000) is None
    assert index.xattrs.names(kept.ino) == []


def test_a_rollback_forgets_only_what_was_touched(index: Index) -> None:
    kept, touched = add(index, b"kept"), add(index, b"touched")
    with suppress(Undo), index.transaction():
        index.inodes.change(touched, size=9)
        raise Undo
    assert kept.ino in index.inodes._cache
    assert touched.ino not in index.inodes._cache
    assert index.inodes.get(touched.ino) == touched


def test_names_that_roll_back_are_not_remembered(index: Index) -> None:
    first, second = add(index, b"first"), add(index, b"second")
    with suppress(Undo), index.transaction():
        index.dentries.insert(1, b"new", first.ino, 5000)
        index.dentries.rename(1, b"first", b"renamed", first.ino)
        index.dentries.point(1, b"second", first.ino)
        raise Undo
    with index.transaction():
        assert index.dentries.find_within(1, b"new") is None
        assert index.dentries.find_within(1, b"renamed") is None
        assert index.dentries.find_within(1, b"first") == first
        assert index.dentries.find_within(1, b"second") == second


def test_names_are_known_by_what_the_transaction_made(index: Index) -> None:
    first, second = add(index, b"first"), add(index, b"second")
    with index.transaction():
        assert not index.dentries.rename(1, b"first", b"second", first.ino)
        index.dentries.point(1, b"second", first.ino)
        assert index.dentries.find_within(1, b"second") == first
        index.dentries.move((1, b"second"), (first.ino, b"moved"), second.ino, 5000)
        assert index.dentries.find_within(1, b"second") is None
        assert index.dentries.find_within(first.ino, b"moved") == second


def test_more_names_than_are_remembered(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tierfs.metadata.dentries.MOST_KNOWN", 3)
    made = [add(index, b"%d" % number) for number in range(10)]
    assert len(index.dentries._known) <= 3
    with index.transaction():
        assert [index.dentries.find_within(1, b"%d" % number) for number in range(10)] == made


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
