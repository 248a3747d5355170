"""A disk object that has another name is never changed, and is checked when it is read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fs.adopting import adopt, content_of
from tests.fs.calls import fails, file_of
from tests.fs.consistency import check
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Killed, Moment, Point
from tests.support.volumes import LooseVolume
from tierfs.common.errors import ChangedOutside
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.ranges import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE
from tierfs.fs.attributes import Changes
from tierfs.fsck.check import check as fsck
from tierfs.storage.objects import ObjectShared

HEAD = 4096
DATA = bytes(range(1, 251)) * 40
SIZES = (1, HEAD, HEAD + 1, len(DATA))

Change = Callable[[LooseVolume, int], object]

CHANGES: dict[str, Change] = {
    "overwrite": lambda volume, ino: volume.fs.data.write(ino, 0, b"new"),
    "append": lambda volume, ino: volume.fs.data.write(ino, 20_000, b"new"),
    "empty": lambda volume, ino: volume.fs.data.truncate(ino, 0),
    "cut": lambda volume, ino: volume.fs.data.truncate(ino, 1),
    "extend": lambda volume, ino: volume.fs.data.truncate(ino, 50_000),
    "allocate": lambda volume, ino: volume.fs.ranges.fallocate(ino, 0, 60_000, 0),
    "reserve": lambda volume, ino: volume.fs.ranges.fallocate(ino, 0, 60_000, KEEP_SIZE),
    "punch": lambda volume, ino: volume.fs.ranges.fallocate(ino, 0, 1, PUNCH_HOLE | KEEP_SIZE),
    "zero": lambda volume, ino: volume.fs.ranges.fallocate(ino, 0, 4096, ZERO_RANGE),
    "chmod": lambda volume, ino: volume.fs.attributes.set(ino, Changes(mode=0o400)),
    "xattr": lambda volume, ino: volume.fs.xattrs.set(ino, b"user.new", b"value"),
    "unlink": lambda volume, _: volume.fs.names.unlink(1, b"file"),
}


@pytest.fixture
def tree(home: Path) -> Path:
    path = home / "tree"
    path.mkdir()
    return path


def adopted(volume: LooseVolume, tree: Path, size: int = len(DATA)) -> int:
    """A file of the volume that is adopted; the original is ``tree / "file"``."""
    original = tree / "file"
    original.write_bytes(DATA[:size])
    original.chmod(0o640)
    os.utime(original, ns=(10**18, 1_600_000_000_123_456_789))
    outcome = adopt(volume, tree)
    assert (outcome.linked, outcome.problems) == (1, [])
    ino = volume.find(b"file").ino
    assert volume.disk_object(ino).samefile(original)
    return ino


def state(path: Path) -> tuple[object, ...]:
    status = path.stat()
    fields = status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns
    return path.read_bytes(), *fields, tuple(os.listxattr(path))


def promote(volume: LooseVolume, ino: int, prefix: int = HEAD) -> None:
    moved = volume.fs.migrator.place(ino, prefix, keep_mirror=False, paced=lambda _: None)
    assert moved.outcome == "moved"


@pytest.mark.parametrize("head", [0, HEAD, WHOLE_FILE])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("change", CHANGES)
def test_no_change_reaches_the_original(
    small: LooseVolume, tree: Path, change: str, size: int, head: int
) -> None:
    ino = adopted(small, tree, size)
    if head:
        promote(small, ino, head)
    before = state(tree / "file")
    CHANGES[change](small, ino)
    small.fs.names.forget(ino, 2)
    small.volume.checkpoints.make()
    assert state(tree / "file") == before
    if change != "unlink":
        wanted = content_of(small, ino)
        small.reopen()
        assert content_of(small, ino) == wanted
    check(small)
    small.close()
    assert fsck(small.settings).clean
    assert (tree / "file").stat().st_nlink == 1 + (change in {"chmod", "xattr"})


def test_an_adopted_file_is_as_its_original(small: LooseVolume, tree: Path) -> None:
    ino = adopted(small, tree)
    row, status = small.fs.attributes.get(ino), (tree / "file").stat()
    assert (row.mode, row.mtime, row.size) == (status.st_mode, status.st_mtime_ns, len(DATA))
    assert (row.prefix, row.adopted, row.nlink) == (0, 1, 1)
    assert content_of(small, ino) == DATA
    assert small.fs.dirty.get(ino) is None


def test_what_was_kept_after_an_unclean_end_is_what_the_index_says(
    small: LooseVolume, tree: Path
) -> None:
    ino = adopted(small, tree)
    small.abandon()
    with (tree / "file").open("ab") as file:
        file.write(b"behind")
    small.open()
    assert small.fs.attributes.get(ino).size == len(DATA)


@pytest.mark.parametrize("behind", ["write", "truncate", "append"])
@pytest.mark.parametrize("head", [0, HEAD])
def test_a_change_by_its_owner_is_an_error_and_never_half_of_it(
    small: LooseVolume, tree: Path, expect_log: ExpectLog, behind: str, head: int
) -> None:
    ino = adopted(small, tree)
    if head:
        promote(small, ino)
    with (tree / "file").open("r+b") as file:
        if behind == "truncate":
            file.truncate(5000)
        else:
            file.seek(6000 if behind == "write" else 0, 0 if behind == "write" else 2)
            file.write(b"new")
    expect_log("changed outside of the volume")
    for _ in range(2):
        with fails(errno.EIO):
            small.fs.reads.read(ino, HEAD, 10)
    with pytest.raises(ChangedOutside, match="changed outside of the volume"):
        small.fs.data.write(ino, 0, b"x")
    assert small.metrics.changed_outside._value.get() >= 2
    assert small.metrics.damage._value.get() == 0
    assert small.fs.shared.changed == [ino]
    if head:
        assert small.fs.reads.read(ino, 0, HEAD) == DATA[:HEAD]
        with pytest.raises(ChangedOutside):
            small.fs.migrator.place(ino, 0, keep_mirror=True, paced=lambda _: None)
    row = small.fs.attributes.get(ino)
    assert small.fs.shared.refresh(row, 7)
    assert content_of(small, ino) == (tree / "file").read_bytes()
    assert small.fs.shared.changed == []
    assert not small.fs.shared.refresh(small.fs.attributes.get(ino), 8)


def test_a_change_while_it_is_read_is_an_error(
    small: LooseVolume, tree: Path, expect_log: ExpectLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    ino = adopted(small, tree)
    pread = os.pread

    def change(fd: int, length: int, offset: int) -> bytes:
        data = pread(fd, length, offset)
        with (tree / "file").open("r+b") as file:
            file.write(b"half")
        return data

    expect_log("changed outside of the volume")
    monkeypatch.setattr(os, "pread", change)
    with pytest.raises(ChangedOutside):
        small.fs.reads.read(ino, 0, 100)


@pytest.mark.parametrize("head", [0, HEAD])
def test_a_ctime_alone_is_noted(small: LooseVolume, tree: Path, head: int) -> None:
    ino = adopted(small, tree)
    if head:
        promote(small, ino)
    (tree / "file").chmod(0o600)
    os.link(tree / "file", tree / "further")
    assert content_of(small, ino) == DATA
    known = small.index.originals.get(ino)
    assert known is not None
    assert known.ctime == (tree / "file").stat().st_ctime_ns


def test_a_change_that_hides_its_mtime_shows_in_the_head(
    small: LooseVolume, tree: Path, expect_log: ExpectLog
) -> None:
    ino = adopted(small, tree)
    promote(small, ino)
    before = (tree / "file").stat()
    with (tree / "file").open("r+b") as file:
        file.write(b"new")
    os.utime(tree / "file", ns=(before.st_atime_ns, before.st_mtime_ns))
    expect_log("its first bytes differ from those on flash")
    with pytest.raises(ChangedOutside):
        small.fs.reads.read(ino, HEAD, 10)


def test_what_its_owner_replaces_by_a_rename_stays(small: LooseVolume, tree: Path) -> None:
    ino = adopted(small, tree)
    (tree / "new").write_bytes(b"new")
    (tree / "new").rename(tree / "file")
    assert content_of(small, ino) == DATA
    small.fs.data.write(ino, 0, b"own")
    assert content_of(small, ino) == b"own" + DATA[3:]
    check(small)


STEPS = ("disk.copy", "disk.fdatasync", "disk.link", "disk.rename", "disk.fsync_directory")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("label", [*STEPS, "index.commit"])
@pytest.mark.parametrize("head", [0, HEAD])
def test_a_kill_during_copy_up_leaves_the_one_or_the_other(
    small: LooseVolume, tree: Path, head: int, label: str, moment: Moment
) -> None:
    ino = adopted(small, tree)
    if head:
        promote(small, ino)
    small.os.clear()
    small.os.kill(Point(label), moment, lambda: None)
    with pytest.raises(Killed):
        small.fs.data.write(ino, 5000, b"new")
    small.abandon()
    small.os.dead = False
    small.os.clear()
    assert (tree / "file").read_bytes() == DATA
    small.open()
    assert content_of(small, ino) == DATA
    small.fs.data.write(ino, 5000, b"new")
    assert content_of(small, ino) == DATA[:5000] + b"new" + DATA[5003:]
    assert (tree / "file").read_bytes() == DATA
    check(small)
    small.close()
    report = fsck(small.settings)
    assert report.clean, report.findings


@pytest.mark.parametrize("label", STEPS)
def test_a_copy_up_that_fails_changes_nothing(small: LooseVolume, tree: Path, label: str) -> None:
    ino = adopted(small, tree)
    small.os.clear()
    small.os.fail(Point(label), errno.EIO)
    with fails(errno.EIO) if label == "nothing" else pytest.raises(OSError, match="error"):
        small.fs.data.write(ino, 5000, b"new")
    assert (tree / "file").read_bytes() == DATA
    assert content_of(small, ino) == DATA


# ------------------------------------------------------------------ objects that were not adopted


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_an_object_that_a_backup_has_linked_stays_as_the_backup_has_it(
    small: LooseVolume, home: Path, change: str, *, settled: bool
) -> None:
    ino = file_of(small, DATA)
    if settled:
        small.volume.checkpoints.make()
    backup = home / "backup"
    backup.mkdir()
    for path in (small.flash_object(ino), small.disk_object(ino)):
        os.link(path, backup / path.parent.parent.parent.name)
    CHANGES[change](small, ino)
    small.fs.names.forget(ino, 2)
    small.volume.checkpoints.make()
    assert (backup / "heads").read_bytes() == DATA[:HEAD]
    assert (backup / "objects").read_bytes()[HEAD:] == DATA[HEAD:]
    if change != "unlink":
        wanted = content_of(small, ino)
        small.reopen()
        assert content_of(small, ino) == wanted
    check(small)


def test_a_head_is_evicted_beside_a_backup_of_the_tail(small: LooseVolume, home: Path) -> None:
    ino = file_of(small, DATA)
    small.volume.checkpoints.make()
    os.link(small.disk_object(ino), home / "backup")
    promote_to = small.fs.migrator.place(ino, 0, keep_mirror=True, paced=lambda _: None)
    assert promote_to.outcome == "moved"
    assert content_of(small, ino) == DATA
    assert (home / "backup").read_bytes() == bytes(HEAD) + DATA[HEAD:]


def test_the_store_refuses_what_it_is_not_asked_to_separate(small: LooseVolume, home: Path) -> None:
    ino = file_of(small, DATA)
    small.volume.checkpoints.make()
    store = small.volume._disk
    os.link(small.disk_object(ino), home / "backup")
    fd = os.open(small.disk_object(ino), os.O_RDWR)
    with pytest.raises(ObjectShared):
        store.write(ino, 0, b"x", holds=1)
    with pytest.raises(ObjectShared):
        store.resize(ino, 1)
    with pytest.raises(ObjectShared):
        store.trim(ino, 1)
    with pytest.raises(ObjectShared):
        store.check(fd, 1)
    with pytest.raises(ObjectShared):
        store.apply(ino, lambda _: None)
    os.close(fd)
    assert store.separate(ino)
    assert not store.separate(ino)
    assert stat.S_IMODE(small.disk_object(ino).stat().st_mode) == 0o600
    assert small.disk_object(ino).read_bytes() == (home / "backup").read_bytes()
