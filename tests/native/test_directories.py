"""Directories that are cached as a whole: any other name is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.metadata.rows import inode
from tests.native.rig import Rig
from tests.native.wire import Entry, Op

DIRECTORY = 50
MODE = 0o40755


@pytest.fixture
def listed(rig: Rig) -> Rig:
    """With a complete directory of three names."""
    begin(rig)
    assert rig.router.complete_fill(DIRECTORY)
    return rig


def begin(rig: Rig) -> None:
    rig.router.put_inode(inode(DIRECTORY, mode=MODE))
    assert rig.router.begin_fill(DIRECTORY)
    for ino in (51, 52, 53):
        rig.router.put_inode(inode(ino, parent=DIRECTORY))
        rig.router.put_dentry(DIRECTORY, b"%d" % ino, ino)


def look_up(rig: Rig, name: bytes) -> int | None:
    """The inode number, 0: absent, None: forwarded."""
    unique = rig.kernel.request(Op.LOOKUP, DIRECTORY, name + b"\0")
    while rig.kernel.is_silent() and rig.pyfuse3.is_silent():
        pass
    if not rig.pyfuse3.is_silent():
        rig.pyfuse3.reply(rig.pyfuse3.request(), error=5)
    reply = rig.kernel.reply()
    assert reply.unique == unique
    return None if reply.error else Entry.parse(reply.body).nodeid


def test_other_names_are_absent(listed: Rig) -> None:
    assert [look_up(listed, name) for name in (b"51", b"53", b"54", b"5")] == [51, 53, 0, 0]


def test_it_stays_complete_while_it_is_changed(listed: Rig) -> None:
    listed.router.put_inode(inode(54, parent=DIRECTORY))
    listed.router.put_dentry(DIRECTORY, b"new", 54)
    listed.router.put_dentry(DIRECTORY, b"51", 0)  # unlink
    listed.router.put_dentry(DIRECTORY, b"52", 0)  # rename
    listed.router.put_dentry(DIRECTORY, b"moved", 52)
    listed.router.put_dentry(DIRECTORY, b"53", 54)  # rename over
    listed.router.put_inode(inode(DIRECTORY, mode=MODE, nlink=9))
    names = (b"new", b"51", b"52", b"moved", b"53", b"other")
    assert [look_up(listed, name) for name in names] == [54, 0, 0, 52, 54, 0]
    assert not listed.router.begin_fill(DIRECTORY)


def test_absent_names_take_no_room_in_it(listed: Rig) -> None:
    before = listed.router.counters()
    for number in range(1000):
        listed.router.put_dentry(DIRECTORY, b"absent-%d" % number, 0)
    assert listed.router.counters().dentries == before.dentries
    assert listed.router.counters().memory == before.memory


def test_a_name_that_is_dropped_may_exist(listed: Rig) -> None:
    listed.router.drop_dentry(DIRECTORY, b"51")
    assert [look_up(listed, name) for name in (b"51", b"52", b"other")] == [None, 52, None]


def test_dropping_a_name_that_is_not_cached_may_hide_one(listed: Rig) -> None:
    listed.router.drop_dentry(DIRECTORY, b"unknown")
    assert look_up(listed, b"unknown") is None


def test_an_inode_that_is_dropped_takes_its_names_along(listed: Rig) -> None:
    listed.router.drop_inode(52)
    assert [look_up(listed, name) for name in (b"51", b"52", b"other")] == [51, None, None]


def test_a_name_whose_inode_is_not_cached_may_exist(listed: Rig) -> None:
    listed.router.put_dentry(DIRECTORY, b"uncached", 99)
    assert look_up(listed, b"uncached") is None


def test_a_directory_that_is_dropped_is_complete_no_longer(listed: Rig) -> None:
    listed.router.drop_inode(DIRECTORY)
    assert [look_up(listed, b"51"), look_up(listed, b"other")] == [51, None]
    listed.router.put_inode(inode(DIRECTORY, mode=MODE))
    assert look_up(listed, b"other") is None
    assert not listed.router.complete_fill(DIRECTORY)


@pytest.mark.parametrize("loss", ["drop_dentry", "drop_inode", "uncached", "clear"])
def test_what_is_lost_while_it_is_cached(rig: Rig, loss: str) -> None:
    begin(rig)
    if loss == "drop_dentry":
        rig.router.drop_dentry(DIRECTORY, b"51")
    elif loss == "drop_inode":
        rig.router.drop_inode(51)
    elif loss == "uncached":
        rig.router.put_dentry(DIRECTORY, b"more", 99)
    else:
        rig.router.clear()
        rig.router.put_inode(inode(DIRECTORY, mode=MODE))
    assert not rig.router.complete_fill(DIRECTORY)
    assert look_up(rig, b"other") is None
    assert rig.router.begin_fill(DIRECTORY)


def test_a_directory_that_is_not_cached(rig: Rig) -> None:
    assert not rig.router.begin_fill(DIRECTORY)
    assert not rig.router.complete_fill(DIRECTORY)


def test_it_is_not_complete_before_that_is_said(rig: Rig) -> None:
    begin(rig)
    assert look_up(rig, b"other") is None


def test_eviction_ends_completeness(scratch: Path) -> None:
    with Rig(scratch, memory=1 << 20) as rig:
        rig.initialise()
        begin(rig)
        assert rig.router.complete_fill(DIRECTORY)
        for ino in range(1000, 20_000):
            rig.router.put_inode(inode(ino))
        assert look_up(rig, b"other") is None


def test_a_directory_that_does_not_fit_is_not_complete(scratch: Path) -> None:
    with Rig(scratch, memory=1 << 20) as rig:
        rig.initialise()
        begin(rig)
        for ino in range(1000, 20_000):
            rig.router.put_inode(inode(ino, parent=DIRECTORY))
            rig.router.put_dentry(DIRECTORY, b"%d" % ino, ino)
        assert not rig.router.complete_fill(DIRECTORY)
        assert look_up(rig, b"other") is None
