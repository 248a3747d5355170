"""``mirror: sync``: what fsync(2) promised is on disk as well, whatever is written afterwards."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from tests.fs.calls import fails, file_of
from tests.fs.consistency import check, content
from tests.fs.migrating import mirror, objects, state
from tests.fs.scenarios import (
    HEAD,
    Operation,
    fsync,
    pattern,
    points,
    prepared,
    truncate,
    write,
)
from tests.fs.test_crashes import crashed, judge, template
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Moment, Point
from tests.support.volumes import LooseVolume
from tierfs.fs import mirrors
from tierfs.fs.locks import WouldBlock
from tierfs.fs.migration_plan import Migrated

__all__ = ["template"]

DATA = pattern(1000)
FILE = b"file"


@pytest.fixture
def strict(small: LooseVolume) -> LooseVolume:
    """A volume of which every file is to be mirrored at each sync."""
    small.fs.mirrors.at_sync = lambda _: True
    return small


def test_fsync_returns_when_the_disk_has_all_of_the_file(strict: LooseVolume) -> None:
    ino = file_of(strict, DATA)
    strict.os.clear()
    strict.fs.data.sync(ino)
    assert state(strict.find(FILE)) == (HEAD, True)
    assert strict.disk_object(ino).read_bytes() == DATA
    labels = strict.os.labels
    mirrored = len(labels) - labels[::-1].index("move.committed")
    assert "index.sync" in labels[mirrored:], "the mirror's mark is durable as well"
    check(strict)


def test_another_policy_leaves_fsync_as_it_is(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.data.sync(ino)
    assert state(small.find(FILE)) == (HEAD, False)


def test_a_second_fsync_copies_nothing(strict: LooseVolume) -> None:
    ino = file_of(strict, DATA)
    strict.fs.data.sync(ino)
    strict.os.clear()
    strict.fs.data.sync(ino)
    assert not any(label.startswith(("disk.", "move.")) for label in strict.os.labels)


@pytest.mark.parametrize("offset", [0, 500, 1000, HEAD - 2, 2 * HEAD])
def test_who_changes_a_synced_file_sends_it_to_disk(strict: LooseVolume, offset: int) -> None:
    """Else the head, and what was synced with it, would be on flash alone until the next fsync."""
    ino = file_of(strict, DATA)
    strict.fs.data.sync(ino)
    strict.fs.data.write(ino, offset, b"new")
    assert state(strict.find(FILE)) == (0, False)
    assert objects(strict, ino)[0] is None
    expected = bytearray(DATA.ljust(offset, b"\0"))
    expected[offset : offset + 3] = b"new"
    assert content(strict, FILE) == bytes(expected)
    strict.fs.data.sync(ino)
    assert state(strict.find(FILE)) == (0, False)
    check(strict)


def test_what_is_cut_keeps_its_mirror_and_what_is_emptied_begins_anew(
    strict: LooseVolume,
) -> None:
    ino = file_of(strict, DATA)
    strict.fs.data.sync(ino)
    strict.fs.data.truncate(ino, 10)
    assert state(strict.find(FILE)) == (HEAD, True)
    assert content(strict, FILE) == DATA[:10]
    strict.fs.data.truncate(ino, 3000)
    assert state(strict.find(FILE)) == (0, False)
    assert content(strict, FILE) == DATA[:10] + bytes(2990)
    other = file_of(strict, DATA, b"other")
    strict.fs.data.sync(other)
    strict.fs.data.truncate(other, 0)
    strict.fs.data.write(other, 0, DATA)
    assert state(strict.find(b"other")) == (HEAD, False)
    check(strict)


def test_a_write_of_the_tail_leaves_head_and_mirror(strict: LooseVolume) -> None:
    ino = file_of(strict, pattern(3 * HEAD))
    strict.fs.data.sync(ino)
    strict.fs.data.write(ino, 2 * HEAD, b"new")
    assert state(strict.find(FILE)) == (HEAD, True)


def test_whoever_must_not_wait_is_told_so(strict: LooseVolume) -> None:
    ino = file_of(strict, DATA)
    strict.fs.data.sync(ino)
    with pytest.raises(WouldBlock):
        strict.fs.data.write(ino, 0, b"new", wait=False)
    assert state(strict.find(FILE)) == (HEAD, True)


def test_a_file_that_others_keep_in_motion_goes_to_disk(
    strict: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "PAUSES_S", (0.0, 0.0))
    ino = file_of(strict, DATA)
    changed = [Migrated(ino, "changed")]
    monkeypatch.setattr(strict.fs.migrator, "mirror", lambda _inos, paced: changed)  # noqa: ARG005
    strict.fs.data.sync(ino)
    assert state(strict.find(FILE)) == (0, False)
    assert strict.disk_object(ino).read_bytes() == DATA
    check(strict)


def test_fsync_fails_when_the_disk_is_full(strict: LooseVolume) -> None:
    ino = file_of(strict, DATA)
    strict.os.full = {"disk.pwrite"}
    with fails(errno.ENOSPC):
        strict.fs.data.sync(ino)
    strict.os.full = ()
    strict.fs.data.sync(ino)
    assert state(strict.find(FILE)) == (HEAD, True)


def test_fsync_fails_when_the_disk_does(strict: LooseVolume, expect_log: ExpectLog) -> None:
    expect_log("could not be mirrored")
    ino = file_of(strict, DATA)
    strict.os.fail(Point("disk.pwrite"), errno.EIO)
    with fails(errno.EIO):
        strict.fs.data.sync(ino)
    assert state(strict.find(FILE)) == (HEAD, False)


def test_a_mirror_made_in_the_background_is_kept(strict: LooseVolume) -> None:
    ino = file_of(strict, DATA)
    mirror(strict, FILE)
    strict.os.clear()
    strict.fs.data.sync(ino)
    assert state(strict.find(FILE)) == (HEAD, True)
    assert strict.os.labels[-1] == "index.sync"


def strictly(operation: Operation) -> Operation:
    """The operation on a file that was synced before, where fsync mirrors."""

    def do(volume: LooseVolume) -> None:
        volume.fs.mirrors.at_sync = lambda _: True
        fsync(b"small").do(volume)
        operation.do(volume)

    return replace(operation, do=do)


@pytest.mark.parametrize("moment", get_args(Moment))
@pytest.mark.parametrize(
    "operation", [fsync(b"small"), write(b"small", 10, b"new"), truncate(b"small", 9000)]
)
def test_a_crash_leaves_all_or_nothing(
    template: LooseVolume, home: Path, operation: Operation, moment: Moment
) -> None:
    strict = strictly(operation)
    for point in points(template, home, strict):
        with (
            prepared(template, home / "killed") as volume,
            crashed(volume, home / "crashed", point, moment, strict.do) as survivor,
        ):
            judge(survivor, strict, f"{moment} {point}")
