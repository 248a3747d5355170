from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from tests.fs.calls import DIRECTORY, FIFO, FILE, SYMLINK, fails, file_of, make, names_in
from tests.fs.consistency import check
from tests.support.volumes import LooseVolume
from tierfs.fs.directory import LINK_MAX
from tierfs.fs.namespace import BY_NUMBER
from tierfs.metadata.inodes import ROOT

GOOD = [b"a", b"...", b" ", b"\xff\xfe\x01", b"new\nline", "é".encode(), b"x" * 255]
BAD = [
    (b"", errno.EINVAL),
    (b".", errno.EINVAL),
    (b"..", errno.EINVAL),
    (b"/", errno.EINVAL),
    (b"a/b", errno.EINVAL),
    (b"a\0b", errno.EINVAL),
    (b"x" * 256, errno.ENAMETOOLONG),
    (b"/" * 256, errno.ENAMETOOLONG),
]


@pytest.mark.parametrize("mode", [FILE, DIRECTORY, SYMLINK, FIFO])
def test_a_name_is_any_bytes(small: LooseVolume, mode: int) -> None:
    made = {name: make(small, name, mode).ino for name in GOOD}
    small.reopen()
    assert {name: small.fs.names.lookup(ROOT, name).ino for name in GOOD} == made
    assert sorted(names_in(small)) == sorted(GOOD)


@pytest.mark.parametrize(("name", "code"), BAD)
def test_what_is_no_name_is_refused_everywhere(small: LooseVolume, name: bytes, code: int) -> None:
    names = small.fs.names
    ino = make(small, b"good").ino
    lookups: list[Callable[[], object]] = [lambda: names.lookup(ROOT, name)]
    calls: list[Callable[[], object]] = [
        *(lookups if name not in BY_NUMBER else []),  # found by number
        lambda: make(small, name),
        lambda: names.link(ino, ROOT, name),
        lambda: names.unlink(ROOT, name),
        lambda: names.rmdir(ROOT, name),
        lambda: names.rename(ROOT, name, ROOT, b"new"),
        lambda: names.rename(ROOT, b"good", ROOT, name),
    ]
    for call in calls:
        with fails(code):
            call()
    assert names_in(small) == [b"good"]


def test_a_name_can_be_made_once(small: LooseVolume) -> None:
    ino = make(small, b"a").ino
    for mode in (FILE, DIRECTORY, SYMLINK):
        with fails(errno.EEXIST):
            make(small, b"a", mode)
    with fails(errno.EEXIST):
        small.fs.names.link(ino, ROOT, b"a")


def test_only_a_directory_has_names(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    names = small.fs.names
    calls: list[Callable[[], object]] = [
        lambda: names.lookup(ino, b"a"),
        lambda: make(small, b"a", parent=ino),
        lambda: names.link(ino, ino, b"a"),
        lambda: names.unlink(ino, b"a"),
        lambda: names.rmdir(ino, b"a"),
        lambda: names.rename(ino, b"a", ROOT, b"b"),
        lambda: names.rename(ROOT, b"file", ino, b"b"),
    ]
    for call in calls:
        with fails(errno.ENOTDIR):
            call()


def test_what_is_removed_by_which_call(small: LooseVolume) -> None:
    names = small.fs.names
    top = make(small, b"directory", DIRECTORY).ino
    make(small, b"file")
    make(small, b"inside", parent=top)
    with fails(errno.EISDIR):
        names.unlink(ROOT, b"directory")
    with fails(errno.ENOTDIR):
        names.rmdir(ROOT, b"file")
    with fails(errno.ENOTEMPTY):
        names.rmdir(ROOT, b"directory")
    for call in (names.unlink, names.rmdir):
        with fails(errno.ENOENT):
            call(ROOT, b"nothing")
    names.unlink(top, b"inside")
    names.rmdir(ROOT, b"directory")
    names.unlink(ROOT, b"file")
    assert names_in(small) == []
    assert small.fs.attributes.get(ROOT).nlink == 2


def test_link_counts(small: LooseVolume) -> None:
    names, get = small.fs.names, small.fs.attributes.get
    ino = file_of(small, b"data", b"a")
    names.link(ino, ROOT, b"b")
    assert get(ino).nlink == 2
    names.unlink(ROOT, b"a")
    assert get(ino).nlink == 1
    assert small.fs.reads.read(names.lookup(ROOT, b"b").ino, 0, 10) == b"data"
    for number in range(3):
        make(small, b"directory %d" % number, DIRECTORY)
    assert get(ROOT).nlink == 5
    names.rmdir(ROOT, b"directory 1")
    assert get(ROOT).nlink == 4
    assert get(names.lookup(ROOT, b"directory 0").ino).nlink == 2
    check(small)


def test_what_cannot_be_linked(small: LooseVolume) -> None:
    top, ino = make(small, b"directory", DIRECTORY).ino, make(small, b"file").ino
    with fails(errno.EPERM):
        small.fs.names.link(top, ROOT, b"another")
    with small.index.transaction():
        small.index.inodes.update(small.index.inodes.get(ino)._replace(nlink=LINK_MAX))
    with fails(errno.EMLINK):
        small.fs.names.link(ino, ROOT, b"another")
    with small.index.transaction():
        small.index.inodes.update(small.index.inodes.get(ino)._replace(nlink=1))
    small.fs.names.unlink(ROOT, b"file")
    with fails(errno.ENOENT):
        small.fs.names.link(ino, ROOT, b"back again")


def test_nothing_is_made_in_a_removed_directory(small: LooseVolume) -> None:
    top = make(small, b"directory", DIRECTORY).ino
    ino = make(small, b"file").ino
    small.fs.names.rmdir(ROOT, b"directory")
    with fails(errno.ENOENT):
        make(small, b"a", parent=top)
    with fails(errno.ENOENT):
        small.fs.names.link(ino, top, b"a")
    with fails(errno.ENOENT):
        small.fs.names.rename(ROOT, b"file", top, b"a")


def test_inode_numbers_never_come_back(small: LooseVolume) -> None:
    seen: set[int] = set()
    for round_ in range(30):
        ino = make(small, b"file").ino
        assert ino not in seen
        seen.add(ino)
        small.fs.names.unlink(ROOT, b"file")
        small.fs.names.forget(ino)
        small.fs.reclaimer.drain()
        if round_ % 10 == 0:
            small.reopen()


def test_a_failed_call_changes_nothing(small: LooseVolume) -> None:
    make(small, b"a")
    small.clock.tick()
    before = small.fs.attributes.get(ROOT)
    with fails(errno.EEXIST):
        make(small, b"a", DIRECTORY)
    with fails(errno.ENOENT):
        small.fs.names.unlink(ROOT, b"b")
    assert small.fs.attributes.get(ROOT) == before
