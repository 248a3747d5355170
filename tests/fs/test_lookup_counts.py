from __future__ import annotations

import errno
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fs.calls import fails, file_of, make
from tests.fs.consistency import all_inodes
from tests.support.volumes import LooseVolume
from tierfs.fs.lookup_counts import PAGE, LookupCounter
from tierfs.metadata.inodes import ROOT

INODES = 10_000
FEW_BYTES = 400
"""Less than half of what the kernel spends on an inode (struct fuse_inode and a dentry)."""

numbers = st.integers(1, 5) | st.integers(PAGE - 2, PAGE + 2) | st.just(2**62)
steps = st.one_of(
    st.tuples(st.just("add"), numbers, st.just(1)),
    st.tuples(st.just("drop"), numbers, st.integers(1, 4)),
    st.tuples(st.just("orphan"), numbers, st.just(1)),
)


@given(st.lists(steps, max_size=60))
@settings(deadline=None)
def test_counts_are_those_of_a_counter(sequence: list[tuple[str, int, int]]) -> None:
    counter, expected = LookupCounter(), Counter[int]()
    orphans: set[int] = set()
    for action, ino, count in sequence:
        if action == "add":
            counter.add(ino)
            expected[ino] += 1
        elif action == "drop":
            known = expected[ino]
            expected[ino] = max(0, known - count)
            last = expected[ino] == 0 and ino in orphans
            counter.drop(ino, count)
            assert counter.forgotten() == [ino] * last
            orphans -= {ino} if last else set()
        else:
            assert counter.orphan(ino) == (expected[ino] == 0)
            orphans |= {ino} if expected[ino] else set()
        assert counter.count(ino) == expected[ino]
    pages = {ino // PAGE for ino, count in expected.items() if count}
    assert set(counter._pages) == pages, "memory for inodes that the kernel does not know"


def test_every_answer_is_a_reference(small: LooseVolume) -> None:
    names = small.fs.names
    ino = make(small, b"a").ino
    names.lookup(ROOT, b"a")
    names.link(ino, ROOT, b"b")
    names.lookup(ROOT, b"b")
    assert small.fs.lookup_counts.count(ino) == 4
    with fails(errno.ENOENT):
        names.lookup(ROOT, b"c")
    names.rename(ROOT, b"a", ROOT, b"c")
    small.fs.attributes.get(ino)
    assert small.fs.lookup_counts.count(ino) == 4


def test_a_file_lives_until_it_has_no_name_and_is_forgotten(small: LooseVolume) -> None:
    names, reclaimer = small.fs.names, small.fs.reclaimer
    ino = file_of(small, b"data")
    names.link(ino, ROOT, b"other name")
    names.unlink(ROOT, b"file")
    names.forget(ino, 1)
    names.unlink(ROOT, b"other name")
    reclaimer.drain()
    assert small.fs.reads.read(ino, 0, 10) == b"data"
    assert small.fs.attributes.get(ino).nlink == 0
    names.forget(ino, 1)
    reclaimer.drain()
    assert ino not in all_inodes(small)
    assert not small.flash_object(ino).exists()
    with fails(errno.ESTALE):
        small.fs.reads.read(ino, 0, 10)


def test_a_directory_lives_as_long(small: LooseVolume) -> None:
    ino = make(small, b"directory", 0o040755).ino
    small.fs.names.rmdir(ROOT, b"directory")
    small.fs.reclaimer.drain()
    assert small.fs.attributes.get(ino).nlink == 0
    with fails(errno.ENOENT):
        make(small, b"late", parent=ino)
    small.fs.names.forget(ino)
    small.fs.reclaimer.drain()
    assert ino not in all_inodes(small)


def test_a_replaced_file_lives_as_long(small: LooseVolume) -> None:
    old, new = file_of(small, b"old", b"old"), file_of(small, b"new", b"new")
    small.fs.names.rename(ROOT, b"new", ROOT, b"old")
    small.fs.reclaimer.drain()
    assert small.fs.reads.read(old, 0, 10) == b"old"
    small.fs.names.forget(old)
    small.fs.reclaimer.drain()
    assert all_inodes(small) == [ROOT, new]


@pytest.mark.parametrize("distance", [1, 10, 1000])
def test_an_inode_takes_few_bytes(distance: int) -> None:
    """A program that takes few files out of many looks up inodes that lie far apart."""
    counts = LookupCounter()
    tracemalloc.start()
    try:
        for number in range(INODES):
            counts.add(16 + number * distance)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < INODES * FEW_BYTES
