"""Which times each operation marks, as POSIX and the man pages of Linux say."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fs.calls import DIRECTORY, FIFO, FILE, ME, SYMLINK, file_of, make
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.fs.attributes import Changes
from tierfs.fs.namespace import EXCHANGE
from tierfs.metadata.inodes import ROOT


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
    "read": (lambda t: t.volume.fs.reads.read(t.a, 0, 4), {}),
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


# ---------------------------------------------------------------- of a directory, after a crash


def times(volume: LooseVolume, *names: bytes) -> tuple[int, int]:
    found = volume.find(*names)
    return found.mtime, found.ctime


def killed(volume: LooseVolume, home: Path, *names: bytes) -> tuple[int, int]:
    """The times of a directory after a kill and the next mount, which knows them durably."""
    survivor = volume.copy(home / "killed")
    survivor.open()
    found = times(survivor, *names)
    survivor.reopen()
    assert times(survivor, *names) == found
    survivor.close()
    shutil.rmtree(survivor.home)
    return found


def row_of(volume: LooseVolume, ino: int) -> tuple[int, int]:
    statement = "SELECT mtime, ctime FROM inode WHERE ino = ?"
    ((mtime, ctime),) = volume.index._database.rows(statement, ino)
    return mtime, ctime


@pytest.mark.parametrize("mode", [FILE, SYMLINK, FIFO])
def test_what_is_made_in_a_directory_marks_it_in_memory_and_that_survives_a_kill(
    small: LooseVolume, home: Path, mode: int
) -> None:
    directory = make(small, b"dir", DIRECTORY).ino
    before = row_of(small, directory)
    made = small.clock.tick()
    make(small, b"new", mode, directory)
    small.clock.tick()
    assert times(small, b"dir") == (made, made)
    assert row_of(small, directory) == before
    assert killed(small, home, b"dir") == (made, made)
    small.volume.checkpoints.make()
    assert row_of(small, directory) == (made, made)
    assert killed(small, home, b"dir") == (made, made)


def test_the_times_of_directories_are_stored_before_new_inodes_cannot_tell_them(
    small: LooseVolume, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tierfs.fs.sync.BATCH", 2)
    made, newest = {}, 0
    for number in range(5):
        name = b"%d" % number
        directory = make(small, name, DIRECTORY).ino
        made[name] = small.clock.tick()
        newest = make(small, b"new", FILE, directory).ino
    small.fs.syncer.sync(newest, leave=True)  # as for a move
    for name, when in made.items():
        assert killed(small, home, name) == (when, when)


def test_a_later_change_of_a_directory_counts(small: LooseVolume, home: Path) -> None:
    directory = make(small, b"dir", DIRECTORY).ino
    small.clock.tick()
    make(small, b"new", FILE, directory)
    set_at = small.clock.tick()
    small.fs.attributes.set(directory, Changes(mtime=77))
    assert killed(small, home, b"dir") == (77, set_at)
    renamed = small.clock.tick()
    small.fs.names.rename(directory, b"new", ROOT, b"away")
    assert killed(small, home, b"dir") == (renamed, renamed)
    small.clock.tick()
    make(small, b"again", FILE, directory)
    removed = small.clock.tick()
    small.fs.names.unlink(directory, b"again")
    assert killed(small, home, b"dir") == (removed, removed)


def test_a_file_without_a_name_marks_no_directory(small: LooseVolume, home: Path) -> None:
    directory = make(small, b"dir", DIRECTORY).ino
    before = times(small, b"dir")
    small.clock.tick()
    small.fs.names.make_nameless(directory, FILE, ME, exclusive=False)
    assert times(small, b"dir") == before
    assert killed(small, home, b"dir") == before


def test_a_create_that_fails_marks_no_directory(small: LooseVolume, home: Path) -> None:
    directory = make(small, b"dir", DIRECTORY).ino
    made = small.clock.tick()
    make(small, b"one", FILE, directory)
    small.clock.tick()
    small.os.clear()
    small.os.fail(Point("index.commit"), errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        make(small, b"two", FILE, directory)
    small.os.clear()
    assert times(small, b"dir") == (made, made)
    assert killed(small, home, b"dir") == (made, made)


def test_a_directory_that_was_marked_is_removed(small: LooseVolume, home: Path) -> None:
    directory = make(small, b"dir", DIRECTORY).ino
    make(small, b"new", FILE, directory)
    small.fs.names.unlink(directory, b"new")
    small.fs.names.rmdir(ROOT, b"dir")
    small.fs.names.forget(directory)
    small.fs.reclaimer.drain()
    small.volume.checkpoints.make()
    assert killed(small, home) == times(small)
