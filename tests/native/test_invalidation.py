"""The kernel's attributes are invalidated where it may be about to cache older ones."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.metadata.rows import inode
from tests.native.rig import Rig
from tests.native.wire import Op, ReadIn, Request, getattr_in
from tierfs.metadata.inodes import ROOT, Inode

INO: Final = 70
INVAL_INODE: Final = 2
"""FUSE_NOTIFY_INVAL_INODE, where an error stands in a reply; the number of the request is 0."""

OURS, ANOTHER = 11, 12
"""Threads."""


def ask(rig: Rig, opcode: int, nodeid: int, body: bytes, thread: int) -> None:
    """A request by a thread, answered by whom it may."""
    rig.kernel.unique += 2
    request = Request(opcode, rig.kernel.unique, nodeid, body, pid=thread)
    rig.kernel.send(request.pack())
    if not rig.pyfuse3.is_silent(0.02):
        rig.pyfuse3.reply(rig.pyfuse3.request())
    assert rig.kernel.reply().unique == request.unique


def stat(rig: Rig, thread: int, ino: int = INO) -> None:
    """GETATTR."""
    ask(rig, Op.GETATTR, ino, getattr_in(), thread)


def change(rig: Rig, thread: int = OURS, ino: int = INO) -> None:
    """SETXATTR, which is forwarded."""
    ask(rig, Op.SETXATTR, ino, bytes(8) + b"user.a\0", thread)


def invalidated(rig: Rig) -> list[int]:
    """Of which inodes the kernel's attributes were invalidated since."""
    found = []
    while not rig.kernel.is_silent():
        length, kind, unique, ino, offset, size = struct.unpack("=IiQQqq", rig.kernel.receive())
        assert (length, kind, unique, offset, size) == (40, INVAL_INODE, 0, -1, 0)
        found.append(ino)
    return found


def row(ctime: int, *, nlink: int = 1, ino: int = INO) -> Inode:
    """The inode as it is after its change at that time."""
    return inode(ino, nlink=nlink)._replace(ctime=ctime)


@pytest.fixture
def known(rig: Rig) -> Rig:
    """The inode is cached, and every reply about it before has old attributes."""
    rig.router.put_inode(row(0))
    rig.router.change_inode(row(1))
    assert invalidated(rig) == [INO], "who got its attributes before is not known"
    return rig


def test_nobody_got_the_attributes(known: Rig) -> None:
    known.router.change_inode(row(2))
    assert invalidated(known) == []


def test_another_thread_got_the_attributes(known: Rig) -> None:
    stat(known, ANOTHER)
    change(known)
    known.router.change_inode(row(2))
    assert invalidated(known) == [INO]
    known.router.change_inode(row(3))
    assert invalidated(known) == [], "it has to send a GETATTR, whose reply has this change"


def test_the_thread_that_makes_the_change_was_the_only_recipient_attributes(known: Rig) -> None:
    stat(known, OURS)
    change(known, OURS)
    known.router.change_inode(row(2))
    assert invalidated(known) == []


def test_two_threads_got_the_attributes(known: Rig) -> None:
    for first, second in ((OURS, ANOTHER), (ANOTHER, OURS)):
        stat(known, first)
        stat(known, second)
        change(known, OURS)
        known.router.change_inode(row(first))
        assert invalidated(known) == [INO]


def test_a_page_of_a_mapping_is_written_by_nobody(known: Rig) -> None:
    stat(known, OURS)
    change(known, 0)
    known.router.change_inode(row(2))
    assert invalidated(known) == [INO]


def test_a_thread_that_we_do_not_see(known: Rig) -> None:
    """In another PID namespace each has the number 0."""
    stat(known, 0)
    change(known, 0)
    known.router.change_inode(row(2))
    assert invalidated(known) == [INO]


def test_a_lookup_tells_as_well(known: Rig) -> None:
    known.router.put_dentry(ROOT, b"name", INO)
    ask(known, Op.LOOKUP, ROOT, b"name\0", ANOTHER)
    known.router.change_inode(row(2))
    assert invalidated(known) == [INO]


def test_a_listing_tells_as_well(known: Rig) -> None:
    known.router.put_dentry(ROOT, b"name", INO)
    known.router.put_listing(ROOT, 0, [(b"name", 1 << 61, INO, row(1).mode)], True)  # noqa: FBT003
    ask(known, Op.READDIRPLUS, ROOT, ReadIn(0, 0, 4096).pack(), ANOTHER)
    known.router.change_inode(row(2))
    assert invalidated(known) == [INO]


@pytest.mark.parametrize("opcode", [Op.LOOKUP, Op.GETATTR])
def test_what_python_tells_is_not_seen_and_counts(known: Rig, opcode: int) -> None:
    if opcode == Op.LOOKUP:
        ask(known, Op.LOOKUP, ROOT, b"not cached\0", OURS)
    else:
        known.router.put_inode(row(1)._replace(sparse=1))
        stat(known, OURS)
    known.router.change_inode(row(2))
    assert invalidated(known) == [INO]


def test_what_is_not_cached_counts(known: Rig) -> None:
    known.router.drop_inode(INO)
    known.router.change_inode(row(2))
    assert invalidated(known) == [INO]


def test_a_move_between_the_tiers_shows_nothing(known: Rig) -> None:
    stat(known, ANOTHER)
    known.router.change_inode(row(1)._replace(prefix=0, version=5))
    assert invalidated(known) == []
    known.router.change_inode(row(2))
    assert invalidated(known) == [INO]


def test_an_inode_without_a_name_is_not_invalidated(known: Rig) -> None:
    stat(known, ANOTHER)
    known.router.change_inode(row(2, nlink=0))
    assert invalidated(known) == []


def test_of_a_name_that_goes_the_kernel_takes_note_by_itself(known: Rig) -> None:
    """It lowers the link count that it has: one that is lower already would be lowered twice."""
    known.router.put_inode(row(2, nlink=2))
    stat(known, ANOTHER)
    known.router.change_inode(row(3, nlink=1))
    assert invalidated(known) == []


def test_a_rename_is_by_who_got_all_that_it_changes(known: Rig) -> None:
    directories = 80, 81
    for ino in directories:
        known.router.change_inode(row(1, ino=ino))
    known.router.put_dentry(80, b"old", INO)
    assert invalidated(known) == [80, 81]
    for rename, flags in ((12, b""), (45, bytes(8))):
        for thread, expected in ((OURS, []), (ANOTHER, [INO, 80, 81])):
            for ino in (INO, *directories):
                stat(known, thread, ino)
            body = struct.pack("=Q", 81) + flags + b"old\0new\0"
            ask(known, rename, 80, body, OURS)
            for ino in (INO, *directories):
                known.router.change_inode(row(rename * 100 + thread, ino=ino))
            assert invalidated(known) == expected


class Maker:
    """Functions for `Router.set_upcalls`: makes the inode, as the index does when it commits."""

    def __init__(self) -> None:
        self.rig: Rig | None = None
        self.changed_meanwhile = False
        """Whether somebody changes it between the commit and the reply."""

    def mknod(self, _parent: int, *_: object, **__: object) -> Inode:
        assert self.rig is not None
        self.rig.router.make_inode(row(1))
        if self.changed_meanwhile:
            self.rig.router.change_inode(row(2))
        return row(1)

    def close(self) -> None:
        """Nothing is under way."""


@pytest.fixture
def maker() -> Maker:
    """What answers MKNOD."""
    return Maker()


@pytest.fixture
def making(scratch: Path, maker: Maker) -> Iterator[Rig]:
    """A router of which MKNOD makes the inode."""
    with Rig(scratch, workers=1, functions=maker) as made:
        made.initialise()
        maker.rig = made
        yield made
    maker.rig = None
    made.forget()


def make(rig: Rig, thread: int = OURS) -> None:
    """MKNOD."""
    ask(rig, Op.MKNOD, ROOT, struct.pack("=IIII", 0o100644, 0, 0, 0) + b"made\0", thread)


@pytest.mark.parametrize(("maker_thread", "told"), [(OURS, []), (ANOTHER, [INO]), (0, [INO])])
def test_who_made_the_inode_was_the_only_recipient(
    making: Rig, maker_thread: int, told: list[int]
) -> None:
    make(making, maker_thread)
    change(making, OURS)
    making.router.change_inode(row(2))
    assert invalidated(making) == told


def test_who_made_the_inode_and_another_got_the_attributes(making: Rig) -> None:
    make(making, OURS)
    stat(making, ANOTHER)
    change(making, OURS)
    making.router.change_inode(row(2))
    assert invalidated(making) == [INO]


def test_a_new_inode_is_changed_before_the_reply_that_has_its_attributes(
    making: Rig, maker: Maker
) -> None:
    maker.changed_meanwhile = True
    making.kernel.request(Op.MKNOD, ROOT, struct.pack("=IIII", 0o100644, 0, 0, 0) + b"made\0")
    told = making.kernel.receive()
    assert struct.unpack_from("=IiQQ", told) == (40, INVAL_INODE, 0, INO)
    assert making.kernel.reply().error == 0


def test_an_inode_that_no_request_made(known: Rig) -> None:
    known.router.make_inode(row(1))
    change(known, OURS)
    known.router.change_inode(row(2))
    assert invalidated(known) == [INO]


def test_nobody_is_invalidated_after_the_end(known: Rig) -> None:
    stat(known, ANOTHER)
    known.router.stop()
    known.router.change_inode(row(2))
