"""The table's bound, and what stays in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.metadata.rows import inode
from tests.native.rig import Rig, make_router
from tests.native.wire import Entry, Op
from tierfs.metadata.inodes import ROOT
from tierfs.native._router import Router

LIMIT = 2 << 20
FIRST = 1000
CORRELATED_S = 2
"""As in cache_entries.c: uses that follow each other faster than this count as one."""


@pytest.fixture
def small(scratch: Path) -> Iterator[Rig]:
    """With little memory."""
    with Rig(scratch, memory=LIMIT) as rig:
        rig.initialise()
        yield rig
    rig.forget()


def cache_rows(router: Router, ino: int) -> None:
    router.put_inode(inode(ino))
    router.put_dentry(ROOT, b"name-%d" % ino, ino)


def known(rig: Rig, inos: range) -> set[int]:
    """Those whose names are found; what is forwarded is answered with an error."""
    found = set()
    for ino in inos:
        unique = rig.kernel.request(Op.LOOKUP, ROOT, b"name-%d\0" % ino)
        while rig.kernel.is_silent():
            if not rig.pyfuse3.is_silent():
                rig.pyfuse3.reply(rig.pyfuse3.request(), error=5)
        reply = rig.kernel.reply()
        assert reply.unique == unique
        if not reply.error:
            assert Entry.parse(reply.body).nodeid == ino
            found.add(ino)
    return found


def test_memory_is_bounded(small: Rig) -> None:
    router = small.router
    for ino in range(FIRST, FIRST + 200_000):
        cache_rows(router, ino)
    counters = router.counters()
    assert counters.memory <= LIMIT
    assert counters.evictions == 200_000 - counters.inodes
    assert counters.dentries == counters.inodes > 4000


@pytest.mark.parametrize("length", [10, 255])
def test_absent_names_are_bounded(small: Rig, length: int) -> None:
    router = small.router
    for number in range(100_000):
        router.put_dentry(ROOT, b"%d" % number + b"n" * (length - 6), 0)
    counters = router.counters()
    assert counters.memory <= LIMIT
    assert counters.dentries > 100


def test_names_of_one_inode_are_bounded(small: Rig) -> None:
    """It is never evicted for its own sake, so its names are."""
    router = small.router
    router.put_inode(inode(7))
    for number in range(100_000):
        router.put_dentry(ROOT, b"link-%d" % number, 7)
    assert router.counters().memory <= LIMIT


def test_large_attributes_are_bounded(small: Rig) -> None:
    """Also where they alone take the room: the queues count inodes, not what belongs to them."""
    router = small.router
    for ino in [*range(FIRST, FIRST + 2000), *range(FIRST, FIRST + 2000)]:
        cache_rows(router, ino)
        router.put_xattrs(ino, [(b"user.large", bytes(8000))])
    counters = router.counters()
    assert counters.memory <= LIMIT
    assert counters.inodes > 100


def test_lookup_counts_leave_the_rest_less_room(small: Rig) -> None:
    """They cannot be dropped: with more than fit, hardly anything is cached."""
    router = small.router
    for ino in range(1, 300_000):
        router.add_lookups(ino)
    for ino in [*range(FIRST, FIRST + 100), *range(FIRST, FIRST + 100)]:
        cache_rows(router, ino)
        router.put_inode(inode(ino, size=1))
    assert router.counters().inodes == 1


@pytest.mark.parametrize("limit", [0, 1, 1 << 18, 1 << 19])
def test_hardly_any_memory(scratch: Path, limit: int) -> None:
    router = make_router(scratch, scratch, limit)
    for ino in range(FIRST, FIRST + 3000):
        cache_rows(router, ino)
        router.put_xattrs(ino, [(b"user.a", bytes(ino % 512))])
        router.put_dentry(ROOT, b"absent-%d" % ino, 0)
        if ino % 3 == 0:
            router.put_inode(inode(ino - 1))
    assert router.counters().inodes >= 1


def test_what_is_used_again_survives_a_scan(small: Rig) -> None:
    hot = range(FIRST, FIRST + 500)
    for ino in hot:
        cache_rows(small.router, ino)
    time.sleep(CORRELATED_S + 1)
    assert known(small, hot) == set(hot)
    for ino in range(10 * FIRST, 10 * FIRST + 100_000):
        cache_rows(small.router, ino)
    assert len(known(small, hot)) > 0.95 * len(hot)


def test_one_pass_does_not_survive_the_next(small: Rig) -> None:
    """What one open(2) asks for in a row is one use, and does not keep a file."""
    once = range(FIRST, FIRST + 500)
    for ino in once:
        cache_rows(small.router, ino)
        assert known(small, range(ino, ino + 1)) == {ino}
    for ino in range(10 * FIRST, 10 * FIRST + 100_000):
        cache_rows(small.router, ino)
    assert len(known(small, once)) < 0.05 * len(once)


def test_nothing_is_left_of_what_was_cleared(small: Rig) -> None:
    router = small.router
    before = router.counters().memory
    for ino in range(FIRST, FIRST + 500):
        cache_rows(router, ino)
        router.put_xattrs(ino, [(b"user.a", b"1")])
    router.put_dentry(ROOT, b"absent", 0)
    router.add_lookups(FIRST)
    router.clear()
    counters = router.counters()
    assert (counters.inodes, counters.dentries, counters.known_inodes) == (0, 0, 1)
    assert counters.memory == before


def test_what_is_being_put_is_not_evicted(small: Rig) -> None:
    """Though it is the oldest of all, and what is added to it is what takes the room."""
    router, ino = small.router, FIRST
    while not router.counters().evictions:
        cache_rows(router, ino)
        ino += 1
    oldest = FIRST + 1  # FIRST was evicted
    router.put_xattrs(oldest, [(b"user.large", bytes(8000))])
    assert known(small, range(oldest, oldest + 1)) == {oldest}
