"""Rename: every kind onto every kind, with every flag, against rename(2)."""

from __future__ import annotations

import errno
import stat
from itertools import product

import pytest

from tests.fs.calls import DIRECTORY, FIFO, FILE, SYMLINK, fails, file_of, make, names_in
from tests.fs.consistency import check
from tests.support.volumes import LooseVolume
from tierfs.fs.namespace import EXCHANGE, NOREPLACE, WHITEOUT, Owner
from tierfs.metadata.inodes import ROOT

KINDS = {"file": FILE, "symlink": SYMLINK, "fifo": FIFO, "empty": DIRECTORY, "full": DIRECTORY}
DIRECTORIES = {"empty", "full"}


def put(volume: LooseVolume, parent: int, name: bytes, kind: str) -> int | None:
    """Make something of this kind, or nothing."""
    if kind == "nothing":
        return None
    ino = make(volume, name, KINDS[kind], parent).ino
    if kind == "full":
        make(volume, b"inside", parent=ino)
    return ino


def expected(source: str, target: str, flags: int) -> int:
    """The errno, 0 for success; the order is that of vfs_rename."""
    if flags == EXCHANGE:
        return errno.ENOENT if target == "nothing" else 0
    if target == "nothing":
        return 0
    if flags == NOREPLACE:
        return errno.EEXIST
    if source in DIRECTORIES:
        if target not in DIRECTORIES:
            return errno.ENOTDIR
        return errno.ENOTEMPTY if target == "full" else 0
    return errno.EISDIR if target in DIRECTORIES else 0


@pytest.mark.parametrize("flags", [0, NOREPLACE, EXCHANGE])
@pytest.mark.parametrize("apart", [False, True], ids=["one directory", "two directories"])
def test_every_kind_onto_every_kind(small: LooseVolume, flags: int, *, apart: bool) -> None:
    for source, target in product(KINDS, [*KINDS, "nothing"]):
        label = f"{source}-{target}".encode()
        one = make(small, label, DIRECTORY).ino
        other = make(small, label + b"-other", DIRECTORY).ino if apart else one
        old, replaced = put(small, one, b"old", source), put(small, other, b"new", target)
        code = expected(source, target, flags)
        if code:
            with fails(code):
                small.fs.names.rename(one, b"old", other, b"new", flags)
        else:
            small.fs.names.rename(one, b"old", other, b"new", flags)
        swapped = flags == EXCHANGE and not code
        assert inode_at(small, other, b"new") == (replaced if code else old), label
        left = (old if code else None) if not swapped else replaced
        assert inode_at(small, one, b"old") == left, label
        check(small)


def inode_at(volume: LooseVolume, parent: int, name: bytes) -> int | None:
    found = volume.index.dentries.find(parent, name)
    return None if found is None else found.ino


def test_nothing_cannot_be_renamed(small: LooseVolume) -> None:
    for flags in (0, NOREPLACE, EXCHANGE):
        with fails(errno.ENOENT):
            small.fs.names.rename(ROOT, b"old", ROOT, b"new", flags)


@pytest.mark.parametrize("flags", [NOREPLACE | EXCHANGE, EXCHANGE | WHITEOUT, 8, -1])
def test_other_flags_are_refused(small: LooseVolume, flags: int) -> None:
    make(small, b"old")
    with fails(errno.EINVAL):
        small.fs.names.rename(ROOT, b"old", ROOT, b"new", flags)


def test_whiteout_takes_the_free_name(small: LooseVolume) -> None:
    ino = make(small, b"old").ino
    small.fs.names.rename(ROOT, b"old", ROOT, b"new", WHITEOUT, Owner(7, 8))
    left = small.find(b"old")
    assert (left.mode, left.rdev, left.uid, left.gid) == (stat.S_IFCHR, 0, 7, 8)
    assert inode_at(small, ROOT, b"new") == ino
    check(small)


def test_no_whiteout_where_nothing_moved(small: LooseVolume) -> None:
    ino = make(small, b"old").ino
    small.fs.names.link(ino, ROOT, b"hard")
    small.fs.names.rename(ROOT, b"old", ROOT, b"hard", WHITEOUT)
    with fails(errno.EEXIST):
        small.fs.names.rename(ROOT, b"old", ROOT, b"hard", WHITEOUT | NOREPLACE)
    assert inode_at(small, ROOT, b"old") == inode_at(small, ROOT, b"hard") == ino
    check(small)


def test_onto_itself(small: LooseVolume) -> None:
    make(small, b"a")
    before = small.find(b"a"), small.find()
    small.clock.tick()
    small.fs.names.rename(ROOT, b"a", ROOT, b"a")
    small.fs.names.rename(ROOT, b"a", ROOT, b"a", EXCHANGE)
    assert (small.find(b"a"), small.find()) == before
    with fails(errno.EEXIST):
        small.fs.names.rename(ROOT, b"a", ROOT, b"a", NOREPLACE)


def test_two_names_of_one_file(small: LooseVolume) -> None:
    """rename(2): if both are links to the same file, nothing is done."""
    ino = make(small, b"a").ino
    small.fs.names.link(ino, ROOT, b"b")
    small.fs.names.rename(ROOT, b"a", ROOT, b"b")
    assert sorted(names_in(small)) == [b"a", b"b"]
    assert small.fs.attributes.get(ino).nlink == 2


@pytest.mark.parametrize("flags", [0, EXCHANGE])
def test_a_directory_cannot_go_below_itself(small: LooseVolume, flags: int) -> None:
    top = make(small, b"top", DIRECTORY).ino
    below = make(small, b"below", DIRECTORY, top).ino
    deep = make(small, b"deep", DIRECTORY, below).ino
    make(small, b"x", DIRECTORY, deep)
    for parent in (top, below, deep):
        make(small, b"y", DIRECTORY, parent)
        with fails(errno.EINVAL):
            small.fs.names.rename(ROOT, b"top", parent, b"y", flags)
    check(small)


def test_a_directory_onto_one_of_its_ancestors(small: LooseVolume) -> None:
    top = make(small, b"top", DIRECTORY).ino
    below = make(small, b"below", DIRECTORY, top).ino
    make(small, b"deep", DIRECTORY, below)
    with fails(errno.ENOTEMPTY):
        small.fs.names.rename(below, b"deep", ROOT, b"top")
    with fails(errno.EINVAL):
        small.fs.names.rename(below, b"deep", ROOT, b"top", EXCHANGE)


def test_a_moved_directory_has_another_parent(small: LooseVolume) -> None:
    one, other = (make(small, name, DIRECTORY).ino for name in (b"one", b"other"))
    moved = make(small, b"moved", DIRECTORY, one).ino
    small.fs.names.rename(one, b"moved", other, b"moved")
    dotdot = next(iter(small.fs.listing.after(moved, 1)))
    assert dotdot.inode.ino == other
    assert small.fs.attributes.get(one).nlink == 2
    assert small.fs.attributes.get(other).nlink == 3
    # And can go where it could not before.
    small.fs.names.rename(ROOT, b"one", moved, b"one")
    with fails(errno.EINVAL):
        small.fs.names.rename(ROOT, b"other", one, b"other")
    check(small)


def test_exchanged_directories_change_parents(small: LooseVolume) -> None:
    one, other = (make(small, name, DIRECTORY).ino for name in (b"one", b"other"))
    a, b = make(small, b"a", DIRECTORY, one).ino, make(small, b"b", FILE, other).ino
    small.fs.names.rename(one, b"a", other, b"b", EXCHANGE)
    assert small.fs.attributes.get(a).parent == other
    assert small.fs.attributes.get(b).parent == one
    assert small.fs.attributes.get(one).nlink == 2
    assert small.fs.attributes.get(other).nlink == 3
    check(small)


def test_the_replaced_is_freed(small: LooseVolume) -> None:
    old, new = file_of(small, b"old", b"old"), file_of(small, b"new", b"new")
    small.fs.names.forget(old, 10)
    small.fs.names.rename(ROOT, b"new", ROOT, b"old")
    small.fs.reclaimer.drain()
    assert not small.flash_object(old).exists()
    assert small.fs.reads.read(new, 0, 10) == b"new"
    check(small, trimmed=True)
