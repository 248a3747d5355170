"""Which times each operation marks, as POSIX and the man pages of Linux say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

from tests.core.calls import DIRECTORY, SYMLINK, file_of, make
from tests.support.volumes import LooseVolume
from tierfs.core.attributes import Changes
from tierfs.core.renames import EXCHANGE
from tierfs.index.inodes import ROOT


class Tree(NamedTuple):
    """What every test of times begins with; ``a`` is in ``one``."""

    volume: LooseVolume
    one: int
    two: int
    a: int
    b: int

    @property
    def fs_names(self) -> Mapping[str, int]:
        return {"root": ROOT, "one": self.one, "two": self.two, "a": self.a, "b": self.b}

    def times(self) -> dict[str, tuple[int, int, int]]:
        inodes = {name: self.volume.fs.attributes.get(ino) for name, ino in self.fs_names.items()}
        return {name: (each.atime, each.mtime, each.ctime) for name, each in inodes.items()}


@pytest.fixture
def tree(small: LooseVolume) -> Tree:
    one, two = (make(small, name, DIRECTORY).ino for name in (b"one", b"two"))
    a, b = file_of(small, b"data", b"a0"), file_of(small, b"data", b"b0")
    small.fs.names.link(a, one, b"a")
    small.fs.names.link(b, two, b"b")
    make(small, b"sub", DIRECTORY, one)
    return Tree(small, one, two, a, b)


def rename(tree: Tree, flags: int = 0, new: bytes = b"new") -> None:
    tree.volume.fs.names.rename(tree.one, b"a", tree.two, new, flags)


def set_xattr(tree: Tree) -> None:
    tree.volume.fs.xattrs.set(tree.a, b"user.a", b"v")


MARKED: Mapping[str, tuple[Callable[[Tree], object], Mapping[str, str]]] = {
    "create": (lambda t: make(t.volume, b"n", parent=t.one), {"one": "mc"}),
    "mkdir": (lambda t: make(t.volume, b"n", DIRECTORY, t.one), {"one": "mc"}),
    "symlink": (lambda t: make(t.volume, b"n", SYMLINK, t.one), {"one": "mc"}),
    "link": (lambda t: t.volume.fs.names.link(t.b, t.one, b"n"), {"one": "mc", "b": "c"}),
    "unlink": (lambda t: t.volume.fs.names.unlink(t.one, b"a"), {"one": "mc", "a": "c"}),
    "rmdir": (lambda t: t.volume.fs.names.rmdir(t.one, b"sub"), {"one": "mc"}),
    "rename": (rename, {"one": "mc", "two": "mc", "a": "c"}),
    "rename onto": (lambda t: rename(t, 0, b"b"), {"one": "mc", "two": "mc", "a": "c", "b": "c"}),
    "exchange": (
        lambda t: rename(t, EXCHANGE, b"b"),
        {"one": "mc", "two": "mc", "a": "c", "b": "c"},
    ),
    "write": (lambda t: t.volume.fs.data.write(t.a, 0, b"x"), {"a": "mc"}),
    "write nothing": (lambda t: t.volume.fs.data.write(t.a, 0, b""), {}),
    "cut": (lambda t: t.volume.fs.attributes.set(t.a, Changes(size=1)), {"a": "mc"}),
    "cut to the same": (lambda t: t.volume.fs.attributes.set(t.a, Changes(size=4)), {"a": "mc"}),
    "extend": (lambda t: t.volume.fs.attributes.set(t.a, Changes(size=9)), {"a": "mc"}),
    "chmod": (lambda t: t.volume.fs.attributes.set(t.a, Changes(mode=0o600)), {"a": "c"}),
    "chown": (lambda t: t.volume.fs.attributes.set(t.a, Changes(uid=7)), {"a": "c"}),
    "setxattr": (set_xattr, {"a": "c"}),
    "read": (lambda t: t.volume.fs.data.read(t.a, 0, 4), {}),
    "lookup": (lambda t: t.volume.fs.names.lookup(t.one, b"a"), {}),
    "list": (lambda t: list(t.volume.fs.listing.after(t.one)), {}),
    "fsync": (lambda t: t.volume.fs.data.sync(t.a), {}),
    "reclaim": (lambda t: t.volume.fs.reclaimer.drain(), {}),
}


@pytest.mark.parametrize(("act", "marked"), MARKED.values(), ids=MARKED.keys())
def test_what_is_marked(
    tree: Tree, act: Callable[[Tree], object], marked: Mapping[str, str]
) -> None:
    before = tree.times()
    now = tree.volume.clock.tick()
    act(tree)
    expected = {
        name: tuple(
            now if letter in marked.get(name, "") else old
            for letter, old in zip("amc", times, strict=True)
        )
        for name, times in before.items()
    }
    assert tree.times() == expected


def test_utimens_sets_what_it_is_told_and_marks_the_change(tree: Tree) -> None:
    now = tree.volume.clock.tick()
    tree.volume.fs.attributes.set(tree.a, Changes(atime=5))
    _, mtime, _ = before = tree.times()["b"]
    assert tree.times()["a"] == (5, mtime, now)
    tree.volume.fs.attributes.set(tree.b, Changes(mtime=6))
    assert tree.times()["b"] == (before[0], 6, now)


def test_a_size_and_times_in_one_call(tree: Tree) -> None:
    now = tree.volume.clock.tick()
    tree.volume.fs.attributes.set(tree.a, Changes(size=1, atime=5, mtime=6))
    assert tree.times()["a"] == (5, 6, now)


def test_a_spill_marks_what_the_write_marks(tree: Tree) -> None:
    atime = tree.times()["a"][0]
    now = tree.volume.clock.tick()
    tree.volume.os.full = {"flash.pwrite"}
    tree.volume.fs.data.write(tree.a, 0, b"x")
    assert tree.times()["a"] == (atime, now, now)


def test_new_inodes_are_as_old_as_the_call(small: LooseVolume) -> None:
    now = small.clock.tick()
    inode = make(small, b"file")
    assert (inode.atime, inode.mtime, inode.ctime) == (now, now, now)


def test_the_time_of_birth_is_kept_whatever_changes(volume: LooseVolume) -> None:
    ino = make(volume, b"file").ino
    born = volume.fs.attributes.get(ino).btime
    assert born == volume.fs.attributes.get(ino).ctime
    volume.fs.data.write(ino, 0, b"bytes")
    volume.fs.attributes.set(ino, Changes(mode=0o600, mtime=5))
    volume.fs.names.rename(ROOT, b"file", ROOT, b"other")
    volume.reopen()
    assert volume.find(b"other").btime == born
    assert volume.fs.attributes.get(ROOT).btime > 0
