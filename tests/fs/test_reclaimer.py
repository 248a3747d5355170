from __future__ import annotations

import errno
import os

import pytest

from tests.fs.calls import FIFO, file_of, make
from tests.fs.consistency import check
from tests.fs.scenarios import pattern
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.common.errors import FsError
from tierfs.metadata.inodes import ROOT

DATA = pattern(10_000)


SYNCS = ("flash.syncfs", "disk.syncfs", "index.sync")
"""Bytes before names: a file renamed over another must not be lost with it in a power cut."""


def unlinked(volume: LooseVolume) -> int:
    ino = file_of(volume, DATA)
    volume.fs.names.unlink(ROOT, b"file")
    volume.fs.names.forget(ino)
    return ino


def lengths(volume: LooseVolume, ino: int) -> tuple[int | None, int | None]:
    flash, disk = volume.volume._flash, volume.volume._disk
    return flash.length(ino), disk.length(ino)


def drained(volume: LooseVolume) -> list[str]:
    """The calls that change something, as the reclaimer makes them."""
    volume.os.clear()
    volume.fs.reclaimer.drain()
    changing = (".unlink", ".ftruncate", ".syncfs", "index.sync", "index.commit")
    return [label for label in volume.os.labels if label.endswith(changing)]


def test_nothing_is_removed_before_the_index_is_durable(small: LooseVolume) -> None:
    unlinked(small)
    assert drained(small) == [*SYNCS, "flash.unlink", "disk.unlink", "index.commit"]
    check(small, trimmed=True)


def test_idle_is_when_nothing_waits(small: LooseVolume) -> None:
    idle = [small.fs.reclaimer.is_idle()]
    unlinked(small)
    idle.append(small.fs.reclaimer.is_idle())
    small.fs.reclaimer.drain()
    idle.append(small.fs.reclaimer.is_idle())
    assert idle == [True, False, True]


def test_nothing_is_cut_before_the_index_is_durable(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.data.truncate(ino, 100)
    assert lengths(small, ino) == (4096, 10_000)
    assert drained(small) == [*SYNCS, "flash.ftruncate", "disk.unlink", "index.commit"]
    assert lengths(small, ino) == (100, None)
    check(small, trimmed=True)


def test_one_sync_serves_many(small: LooseVolume) -> None:
    for _ in range(50):
        unlinked(small)
    assert drained(small).count("index.sync") == 1


def test_what_has_no_bytes_needs_no_sync(small: LooseVolume) -> None:
    ino = make(small, b"fifo", FIFO).ino
    small.fs.names.unlink(ROOT, b"fifo")
    small.fs.names.forget(ino)
    assert drained(small) == ["index.commit"]


def test_nothing_to_do_does_nothing(small: LooseVolume) -> None:
    small.fs.reclaimer.drain()
    assert small.os.labels[-1:] != ["index.sync"]
    assert drained(small) == []


def test_an_unlinked_file_that_is_cut_stays_while_it_is_open(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.names.unlink(ROOT, b"file")
    small.fs.data.truncate(ino, 5000)
    small.fs.reclaimer.drain()
    assert small.fs.reads.read(ino, 0, 9999) == DATA[:5000]
    small.fs.data.write(ino, 5000, b"more")
    small.fs.names.forget(ino)
    small.fs.reclaimer.drain()
    assert lengths(small, ino) == (None, None)
    check(small, trimmed=True)


def test_a_file_that_is_cut_and_then_unlinked_stays_while_it_is_open(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.data.truncate(ino, 5000)
    small.fs.names.unlink(ROOT, b"file")
    small.fs.reclaimer.drain()
    assert small.fs.reads.read(ino, 0, 9999) == DATA[:5000]


@pytest.mark.parametrize("later", [300, 0])
def test_what_was_cut_again_after_the_sync_waits_for_the_next(
    small: LooseVolume, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index on the medium still says 7000: a power cut now must find 7000 bytes."""
    ino = file_of(small, DATA)
    small.fs.data.truncate(ino, 7000)
    sync = small.index.sync

    def sync_and_cut() -> None:
        sync()
        small.fs.data.truncate(ino, later)

    with monkeypatch.context() as patch:
        patch.setattr(small.index, "sync", sync_and_cut)
        small.fs.reclaimer.drain()
    assert lengths(small, ino) == (4096, 10_000)
    assert not small.fs.reclaimer.is_idle()
    small.fs.reclaimer.drain()
    assert lengths(small, ino) == (later or None, None)
    check(small, trimmed=True)


def test_what_somebody_writes_to_is_trimmed_later(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.data.truncate(ino, 100)
    with small.fs.data._locks.hold(ino):
        small.fs.reclaimer.drain()
        assert lengths(small, ino) == (4096, 10_000)
        assert not small.fs.reclaimer.is_idle()
    small.fs.reclaimer.drain()
    assert lengths(small, ino) == (100, None)


@pytest.mark.parametrize("label", ["index.sync", "index.commit"])
def test_an_index_that_fails_keeps_the_queue(
    small: LooseVolume, label: str, expect_log: ExpectLog
) -> None:
    expect_log("closing left work", required=False)
    gone = unlinked(small)
    cut = file_of(small, DATA)
    small.fs.data.truncate(cut, 100)
    small.os.clear()
    small.os.fail(Point(label), errno.EIO)
    with pytest.raises((OSError, FsError), match="Input"):
        small.fs.reclaimer.drain()
    assert not small.fs.reclaimer.is_idle()
    if label == "index.sync":
        small.reopen()
    small.fs.reclaimer.drain()
    assert lengths(small, gone) == (None, None)
    assert lengths(small, cut) == (100, None)
    check(small, trimmed=True)


def test_an_object_that_cannot_be_removed_spoils_no_other(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    stuck, free = unlinked(small), unlinked(small)
    expect_log(rf"inode {stuck}: its objects could not be freed .*the next mount tries again")
    small.os.clear()
    small.os.fail(Point("flash.unlink", 0), errno.EIO)
    small.fs.reclaimer.drain()
    assert lengths(small, stuck) == (4096, 10_000)
    assert lengths(small, free) == (None, None)
    small.reopen()
    assert lengths(small, stuck) == (None, None)
    check(small, trimmed=True)


def test_the_disk_is_full_until_the_unlinked_is_freed(small: LooseVolume) -> None:
    """The writer that finds no room frees what waits, and then has room."""
    gone = unlinked(small)
    ino = make(small, b"next").ino
    small.os.clear()
    small.os.fail(Point("disk.pwrite"), errno.ENOSPC)
    small.fs.data.write(ino, 0, DATA)
    assert small.fs.reads.read(ino, 0, 10_000) == DATA
    assert lengths(small, gone) == (None, None)


def test_freed_files_are_counted(small: LooseVolume) -> None:
    for _ in range(3):
        unlinked(small)
    small.fs.reclaimer.drain()
    reclaimed = small.metrics.registry.get_sample_value("tierfs_reclaimed_files_total")
    assert reclaimed == 3


def test_a_freed_file_leaves_no_xattr(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.fs.xattrs.set(ino, b"user.a", b"value")
    small.fs.names.unlink(ROOT, b"file")
    small.fs.names.forget(ino)
    small.fs.reclaimer.drain()
    assert small.index._database.rows("SELECT * FROM xattr") == []


def test_descriptors_are_not_kept(small: LooseVolume) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        unlinked(small)
    small.fs.reclaimer.drain()
    assert len(os.listdir("/proc/self/fd")) == before
