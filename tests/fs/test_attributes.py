from __future__ import annotations

import errno
import stat

import pytest

from tests.fs.calls import (
    DIRECTORY,
    FIFO,
    FILE,
    ME,
    SYMLINK,
    Somebody,
    fails,
    file_of,
    make,
)
from tests.support.volumes import LooseVolume
from tierfs.fs.attributes import Changes
from tierfs.fs.namespace import Owner
from tierfs.fs.permissions import PRIVILEGED, after_writing, set_by, without_set_id
from tierfs.metadata.inodes import ROOT

FIRST = -(2**31) * 10**9
LAST = 15_032_385_535 * 10**9
TIMES = {
    -1: -1,
    1_700_000_000_123_456_789: 1_700_000_000_123_456_789,
    FIRST + 10**9: FIRST + 10**9,
    FIRST + 7: FIRST,
    -(2**70): FIRST,
    2**63 - 1: 2**63 - 1,
    2**63: 2**63,
    LAST - 1: LAST - 1,
    LAST + 7: LAST,
    2**70: LAST,
}
"""What is kept of a time, in nanoseconds."""

SET_ID = stat.S_ISUID | stat.S_ISGID


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (0o100644, 0o100644),
        (0o104755, 0o100755),
        (0o102755, 0o100755),
        (0o102745, 0o102745),  # no execution for the group: a locking mark, kept
        (0o106711, 0o100711),
        (0o101777, 0o101777),
        (0o042755, 0o042755),
    ],
)
def test_what_is_left_of_set_id(before: int, after: int) -> None:
    assert without_set_id(before, 5, PRIVILEGED) == after
    assert without_set_id(before, 5, Somebody(5)) == after
    assert after_writing(before, 5, PRIVILEGED) == before
    assert after_writing(before, 5, Somebody(5)) == after


def test_set_group_id_is_for_members() -> None:
    assert without_set_id(0o102745, 5, Somebody()) == 0o100745
    assert set_by(0o102755, 5, Somebody()) == 0o100755
    assert set_by(0o102755, 5, Somebody(5)) == 0o102755


ACTS = {
    "truncate": Changes(size=3),
    "chown": Changes(uid=7),
    "chgrp": Changes(gid=7),
    "what precedes a write": Changes(),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_set_id_does_not_survive(small: LooseVolume, act: Changes) -> None:
    ino = file_of(small, b"program")
    small.fs.attributes.set(ino, Changes(mode=0o6755))
    small.fs.attributes.set(ino, act, caller=Somebody())
    assert small.fs.attributes.get(ino).mode == stat.S_IFREG | 0o755


def test_a_strangers_chmod_sets_no_group_id(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    inode = small.fs.attributes.set(ino, Changes(mode=0o6644), caller=Somebody())
    assert inode.mode == stat.S_IFREG | 0o4644


def test_set_id_survives_where_it_may(small: LooseVolume) -> None:
    ino = file_of(small, b"program")
    small.fs.attributes.set(ino, Changes(mode=0o6755))
    small.fs.attributes.set(ino, Changes(size=3), caller=PRIVILEGED)
    small.fs.data.write(ino, 0, b"P")
    small.fs.attributes.set(ino, Changes(atime=5, mtime=6))
    small.fs.reads.read(ino, 0, 3)
    assert small.fs.attributes.get(ino).mode & SET_ID == SET_ID
    directory = make(small, b"directory", DIRECTORY).ino
    small.fs.attributes.set(directory, Changes(mode=0o2755))
    small.fs.attributes.set(directory, Changes(uid=7))
    assert small.fs.attributes.get(directory).mode & stat.S_ISGID


def test_chown_and_chmod_in_one_call(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    inode = small.fs.attributes.set(ino, Changes(uid=7, mode=0o4711))
    assert (inode.uid, inode.mode) == (7, stat.S_IFREG | 0o4711)


def test_a_chmod_changes_no_type(small: LooseVolume) -> None:
    ino = make(small, b"directory", DIRECTORY).ino
    assert small.fs.attributes.set(ino, Changes(mode=0o100600)).mode == stat.S_IFDIR | 0o600


def test_a_set_group_id_directory_passes_its_group_on(small: LooseVolume) -> None:
    top = make(small, b"top", DIRECTORY).ino
    small.fs.attributes.set(top, Changes(gid=77, mode=0o2775))
    file, below = make(small, b"file", parent=top), make(small, b"below", DIRECTORY, top)
    assert (file.gid, file.mode) == (77, FILE)
    assert (below.gid, below.mode & stat.S_ISGID) == (77, stat.S_ISGID)
    assert make(small, b"elsewhere").gid == ME.gid


@pytest.mark.parametrize(("time", "kept"), TIMES.items())
def test_times_are_nanoseconds_and_clamped(small: LooseVolume, time: int, kept: int) -> None:
    ino = make(small, b"file").ino
    inode = small.fs.attributes.set(ino, Changes(atime=time, mtime=time))
    small.reopen()
    assert small.fs.attributes.get(ino) == inode
    assert (inode.atime, inode.mtime) == (kept, kept)


def test_a_new_inode_is_what_was_asked_for(small: LooseVolume) -> None:
    device = small.fs.names.make(ROOT, b"null", stat.S_IFCHR | 0o666, Owner(1, 2), rdev=0x103)
    assert (device.mode, device.rdev) == (stat.S_IFCHR | 0o666, 0x103)
    assert (device.uid, device.gid) == (1, 2)
    link = make(small, b"link", SYMLINK)
    assert (link.size, small.fs.attributes.readlink(link.ino)) == (6, b"target")
    assert (make(small, b"fifo", FIFO).size, make(small, b"dir", DIRECTORY).size) == (0, 4096)
    small.reopen()
    assert small.fs.attributes.get(device.ino) == device
    assert small.fs.attributes.readlink(link.ino) == b"target"


def test_readlink_of_what_is_no_link(small: LooseVolume) -> None:
    for mode in (FILE, DIRECTORY, FIFO):
        with fails(errno.EINVAL):
            small.fs.attributes.readlink(make(small, b"%d" % mode, mode).ino)


def test_an_inode_of_another_time(small: LooseVolume) -> None:
    with fails(errno.ESTALE):
        small.fs.attributes.get(999)
    with fails(errno.ESTALE):
        small.fs.attributes.set(999, Changes(mode=0o600))
    with fails(errno.ESTALE):
        small.fs.attributes.set(999, Changes(size=0))


def test_statfs_is_the_disk_tier_with_the_files_of_the_flash(small: LooseVolume) -> None:
    facts = small.fs.statfs()
    disk, flash = small.volume._disk.space(), small.volume._flash.space()
    assert facts.blocks == disk.capacity // 4096
    assert facts.files == flash.files
    assert facts.name_max == 255
