"""Files without a name: O_TMPFILE of open(2), and linkat(2) of what it opened."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.fs.calls import DIRECTORY, FILE, ME, fails, make, names_in
from tests.fs.consistency import all_inodes, check, content
from tests.fs.scenarios import pattern
from tests.fs.test_acl import EXTENDED
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.fs import acl
from tierfs.metadata.inodes import ROOT

DATA = pattern(10_000)


def nameless(volume: LooseVolume, parent: int = ROOT, *, exclusive: bool = False) -> int:
    inode = volume.fs.names.make_nameless(parent, FILE, ME, exclusive=exclusive)
    assert inode.nlink == 0
    volume.fs.data.write(inode.ino, 0, DATA)
    return inode.ino


def is_gone(volume: LooseVolume, ino: int) -> bool:
    objects = volume.flash_object(ino), volume.disk_object(ino)
    return ino not in all_inodes(volume) and not any(path.exists() for path in objects)


def test_it_lives_until_it_is_forgotten(small: LooseVolume) -> None:
    before = small.fs.attributes.get(ROOT)
    ino = nameless(small)
    small.fs.reclaimer.drain()
    assert small.fs.reads.read(ino, 0, 20_000) == DATA
    assert names_in(small) == []
    assert small.fs.attributes.get(ROOT) == before
    small.fs.names.forget(ino)
    small.fs.reclaimer.drain()
    assert is_gone(small, ino)
    check(small, trimmed=True)


def test_it_may_get_a_name_once(small: LooseVolume) -> None:
    ino = nameless(small)
    assert small.fs.names.link(ino, ROOT, b"name").nlink == 1
    small.fs.names.forget(ino, 2)
    small.fs.reclaimer.drain()
    assert content(small, b"name") == DATA
    small.fs.names.lookup(ROOT, b"name")
    small.fs.names.unlink(ROOT, b"name")
    with fails(errno.ENOENT):
        small.fs.names.link(ino, ROOT, b"again")
    small.fs.names.forget(ino)
    small.fs.reclaimer.drain()
    assert is_gone(small, ino)
    check(small, trimmed=True)


def test_it_gets_no_name_where_that_was_said(small: LooseVolume) -> None:
    ino = nameless(small, exclusive=True)
    with fails(errno.ENOENT):
        small.fs.names.link(ino, ROOT, b"name")
    assert names_in(small) == []


def test_a_name_that_is_taken_leaves_it_nameless(small: LooseVolume) -> None:
    make(small, b"name")
    ino = nameless(small)
    with fails(errno.EEXIST):
        small.fs.names.link(ino, ROOT, b"name")
    assert small.fs.names.link(ino, ROOT, b"other").nlink == 1


def test_a_commit_that_fails_leaves_it_nameless(small: LooseVolume) -> None:
    ino = nameless(small)
    small.os.clear()
    small.os.fail(Point("index.commit"), errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        small.fs.names.link(ino, ROOT, b"name")
    small.os.clear()
    assert small.fs.names.link(ino, ROOT, b"name").nlink == 1
    check(small)


def test_a_file_that_lost_its_name_is_no_nameless_one(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    small.fs.names.unlink(ROOT, b"file")
    with fails(errno.ENOENT):
        small.fs.names.link(ino, ROOT, b"again")


def test_it_inherits_what_a_named_one_does(small: LooseVolume) -> None:
    folder = make(small, b"folder", DIRECTORY | stat.S_ISGID).ino
    small.fs.xattrs.set(folder, acl.DEFAULT, acl.render(EXTENDED))
    named = make(small, b"named", FILE, folder)
    inode = small.fs.names.make_nameless(folder, FILE, ME, exclusive=False)
    for field in ("mode", "uid", "gid", "prefix", "parent"):
        assert getattr(inode, field) == getattr(named, field)
    access = small.fs.xattrs.get(named.ino, acl.ACCESS)
    assert small.fs.xattrs.get(inode.ino, acl.ACCESS) == access


def test_where_none_can_be_made(small: LooseVolume) -> None:
    folder, file = make(small, b"folder", DIRECTORY).ino, make(small, b"file").ino
    small.fs.names.rmdir(ROOT, b"folder")
    for parent, code in ((folder, errno.ENOENT), (file, errno.ENOTDIR), (10**6, errno.ESTALE)):
        with fails(code):
            small.fs.names.make_nameless(parent, FILE, ME, exclusive=False)


def test_a_crash_frees_it_unless_it_has_a_name(small: LooseVolume, home: Path) -> None:
    lost, kept = nameless(small), nameless(small)
    small.fs.names.link(kept, ROOT, b"kept")
    survivor = small.copy(home / "crashed")
    survivor.open()
    try:
        assert is_gone(survivor, lost)
        assert content(survivor, b"kept") == DATA
        check(survivor, trimmed=True)
    finally:
        survivor.close()
