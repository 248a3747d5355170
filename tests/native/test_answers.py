"""What is answered natively says what pyfuse3 would say of the same row."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.metadata.rows import inode
from tests.native.rig import Rig
from tests.native.wire import Attr, AttrOut, Entry, Op, getattr_in, statfs_fields
from tierfs.common.times import EARLIEST, LATEST
from tierfs.common.units import SECOND
from tierfs.daemon.adapter import absent, entry_attributes
from tierfs.metadata.inodes import ROOT, Inode

MODES = [
    stat.S_IFREG | 0o4755,
    stat.S_IFDIR | 0o1777,
    stat.S_IFLNK | 0o777,
    stat.S_IFIFO | 0o600,
    stat.S_IFSOCK | 0o600,
    stat.S_IFBLK | 0o660,
    stat.S_IFCHR | 0o666,
]
times = st.integers(EARLIEST * SECOND, LATEST * SECOND)
words = st.integers(0, 2**32 - 1)
inodes = st.builds(
    Inode,
    ino=st.integers(2, 2**62),
    mode=st.sampled_from(MODES),
    uid=words,
    gid=words,
    nlink=st.integers(0, 2**31),
    size=st.one_of(st.integers(0, 10000), st.integers(0, 2**63 - 1)),
    rdev=st.builds(os.makedev, st.integers(0, 4095), st.integers(0, 255)),
    atime=times,
    mtime=times,
    ctime=times,
    prefix=st.sampled_from([0, 65536, 2**63 - 1]),
    version=st.integers(0, 2**62),
    parent=st.just(ROOT),
    target=st.one_of(st.none(), st.binary(max_size=9)),
    sparse=st.integers(0, 1),
    mirrored=st.integers(0, 1),
    btime=times,
    adopted=st.integers(0, 1),
)


def expected(row: Inode) -> Attr:
    """``struct fuse_attr`` as libfuse makes it of pyfuse3's attributes (convert_stat)."""
    told = entry_attributes(row)
    (atime, atimensec), (mtime, mtimensec), (ctime, ctimensec) = (
        divmod(time, SECOND) for time in (row.atime, row.mtime, row.ctime)
    )
    return Attr(
        ino=told.st_ino,
        size=told.st_size,
        blocks=told.st_blocks,
        atime=atime % 2**64,
        mtime=mtime % 2**64,
        ctime=ctime % 2**64,
        atimensec=atimensec,
        mtimensec=mtimensec,
        ctimensec=ctimensec,
        mode=told.st_mode,
        nlink=told.st_nlink,
        uid=told.st_uid,
        gid=told.st_gid,
        rdev=told.st_rdev,
        blksize=told.st_blksize,
        flags=0,
    )


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(row=inodes)
def test_lookup_and_getattr_of_any_inode(rig: Rig, row: Inode) -> None:
    rig.router.put_inode(row)
    rig.router.put_dentry(ROOT, b"name", row.ino)
    told = entry_attributes(row)
    entry = Entry.parse(rig.kernel.ask(Op.LOOKUP, ROOT, b"name\0").body)
    assert entry == Entry(
        nodeid=row.ino,
        generation=told.generation,
        entry_valid=int(told.entry_timeout),
        attr_valid=int(told.attr_timeout),
        entry_valid_nsec=0,
        attr_valid_nsec=0,
        attr=expected(row),
    )
    if row.sparse:
        assert rig.forwarded(Op.GETATTR, row.ino, getattr_in()).nodeid == row.ino
    else:
        reply = rig.kernel.ask(Op.GETATTR, row.ino, getattr_in())
        assert AttrOut.parse(reply.body) == AttrOut(int(told.attr_timeout), 0, expected(row))


def test_an_absent_name_is_remembered_by_the_kernel(rig: Rig) -> None:
    rig.router.put_dentry(ROOT, b"gone", 0)
    entry = Entry.parse(rig.kernel.ask(Op.LOOKUP, ROOT, b"gone\0").body)
    assert (entry.nodeid, entry.entry_valid) == (0, int(absent().entry_timeout))
    assert rig.router.lookup_count(0) == 0


def test_a_row_replaces_the_one_before(rig: Rig) -> None:
    rig.router.put_inode(inode(7, size=1))
    rig.router.put_inode(inode(7, size=2))
    assert AttrOut.parse(rig.kernel.ask(Op.GETATTR, 7, getattr_in()).body).attr.size == 2
    assert rig.router.counters().inodes == 1


def test_dots_and_too_long_names_are_forwarded(rig: Rig) -> None:
    rig.router.put_inode(inode(7))
    for name in (b".", b"..", b"/", b"n" * 256):
        request = rig.forwarded(Op.LOOKUP, ROOT, name + b"\0")
        assert request.body == name + b"\0"


def test_a_name_of_any_bytes(rig: Rig) -> None:
    rig.router.put_inode(inode(7))
    for name in (b"\xff\xfe", b"a/b"[:1], b" ", b"...", b"n" * 255):
        rig.router.put_dentry(ROOT, name, 7)
        assert Entry.parse(rig.kernel.ask(Op.LOOKUP, ROOT, name + b"\0").body).nodeid == 7
        rig.router.drop_dentry(ROOT, name)
        rig.forwarded(Op.LOOKUP, ROOT, name + b"\0")


def test_opening_is_refused_for_good(rig: Rig) -> None:
    for opcode in (Op.OPEN, Op.OPENDIR, Op.CREATE, Op.FLUSH, Op.IOCTL):
        assert rig.kernel.ask(opcode, 7, bytes(64)).error == errno.ENOSYS


@pytest.mark.parametrize("opcode", [Op.WRITE, Op.SETATTR])
def test_what_is_being_changed_python_tells(rig: Rig, opcode: Op) -> None:
    """Between the publication and the reply the kernel would forget a new size again."""
    rig.router.put_inode(inode(7))
    rig.router.put_inode(inode(8))
    unique = rig.kernel.request(opcode, 7, bytes(88))
    change = rig.pyfuse3.request()
    rig.forwarded(Op.GETATTR, 7, getattr_in())
    assert rig.kernel.ask(Op.GETATTR, 8, getattr_in()).error == 0
    rig.pyfuse3.reply(change, bytes(104))
    assert rig.kernel.reply().unique == unique
    assert rig.kernel.ask(Op.GETATTR, 7, getattr_in()).error == 0


def test_room_is_told_for_a_time(rig: Rig) -> None:
    fields = (1, 2, 3, 4, 5, 4096, 255, 512)
    rig.forwarded(Op.STATFS, ROOT)
    rig.router.put_statfs(fields, 3600.0)
    assert statfs_fields(rig.kernel.ask(Op.STATFS, ROOT).body) == fields
    rig.router.put_statfs(fields, 0.0)
    rig.forwarded(Op.STATFS, ROOT)


@pytest.mark.parametrize("valid_s", [-1.0, float("nan"), float("-inf")])
def test_room_that_is_not_valid_is_not_told(rig: Rig, valid_s: float) -> None:
    rig.router.put_statfs((1, 2, 3, 4, 5, 6, 7, 8), valid_s)
    rig.forwarded(Op.STATFS, ROOT)


def test_room_that_is_valid_for_ever(rig: Rig) -> None:
    rig.router.put_statfs((1, 2, 3, 4, 5, 6, 7, 8), float("inf"))
    assert statfs_fields(rig.kernel.ask(Op.STATFS, ROOT).body)[0] == 1


def test_a_number_that_no_inode_has_is_refused(rig: Rig) -> None:
    with pytest.raises(ValueError, match="inode number"):
        rig.router.put_inode(inode(0))
    with pytest.raises(ValueError, match="inode number"):
        rig.router.add_lookups(0)
