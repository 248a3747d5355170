"""The dirty set: what a power cut or a failing device leaves of bytes that were not synced."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fs.calls import DIRECTORY, FILE, ME, fails
from tests.fs.consistency import check, content
from tests.fs.scenarios import make, pattern
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Killed, Point
from tests.support.volumes import LooseVolume, MakeVolume, volume_settings
from tierfs.common.errors import Damage, FsError
from tierfs.fs.attributes import Changes
from tierfs.fs.locks import WouldBlock
from tierfs.fs.recovery import RECOVERED_AT_ONCE, Unreconciled
from tierfs.fs.tiers import FLASH
from tierfs.fsck.check import check as fsck
from tierfs.metadata.inodes import ROOT
from tierfs.metadata.recovery import DirtyRow

HEAD = 4096
OLD, NEW = pattern(3 * HEAD, 1), pattern(3 * HEAD, 2)


def file_of(volume: LooseVolume, data: bytes, name: bytes = b"file", *, synced: bool) -> int:
    ino = make(volume, name).ino
    if data:
        volume.fs.data.write(ino, 0, data)
    if synced:
        volume.fs.data.sync(ino)
    return ino


class PowerCut:
    """Copies of the parts of a volume, put together as a power cut may leave them."""

    def __init__(self, volume: LooseVolume, home: Path) -> None:
        self._volume = volume
        self._home = home

    def __call__(self, *, lost: dict[Path, bytes | None]) -> LooseVolume:
        """The index as it is now; each path in ``lost`` as it was: without it where None."""
        survivor = self._volume.copy(self._home)
        for path, before in lost.items():
            there = self._home / path.relative_to(self._volume.home)
            if before is None:
                there.unlink()
            else:
                there.write_bytes(before)
        survivor.open()
        return survivor


@pytest.fixture
def cut(small: LooseVolume, home: Path) -> PowerCut:
    return PowerCut(small, home / "survivor")


# ---------------------------------------------------------------- sizes before bytes


def test_an_end_that_was_not_synced_is_missing_and_no_damage(
    small: LooseVolume, cut: PowerCut
) -> None:
    ino = file_of(small, OLD[:19], synced=True)
    before = small.flash_object(ino).read_bytes()
    small.fs.data.write(ino, 19, NEW[:2000])
    file_of(small, b"x", b"other", synced=True)
    survivor = cut(lost={small.flash_object(ino): before})
    assert content(survivor, b"file") == OLD[:19]
    check(survivor)
    survivor.close()


@pytest.mark.parametrize(
    ("size", "end"),
    [
        (size, end)
        for size in (0, 10, HEAD, 2 * HEAD)
        for end in (HEAD - 1, HEAD, HEAD + 1, 3 * HEAD)
        if end > size
    ],
)
def test_a_head_that_is_short_ends_the_file(
    small: LooseVolume, cut: PowerCut, size: int, end: int
) -> None:
    ino = file_of(small, OLD[:size], synced=True)
    flash = small.flash_object(ino)
    before = flash.read_bytes() if flash.exists() else None
    small.fs.data.write(ino, end, b"!")
    file_of(small, b"x", b"other", synced=True)
    survivor = cut(lost={flash: before})
    found = content(survivor, b"file")
    assert found[:size] == OLD[:size][: len(found)]
    assert len(found) >= size
    assert not any(found[size:end])
    survivor.close()


def test_what_was_synced_is_a_lower_bound(
    small: LooseVolume, cut: PowerCut, expect_log: ExpectLog
) -> None:
    ino = file_of(small, OLD[:1000], synced=True)
    small.fs.data.write(ino, 1000, NEW[:1000])
    survivor = cut(lost={small.flash_object(ino): OLD[:500]})
    assert survivor.find(b"file").size == 1000
    expect_log("ends at byte 500")
    with pytest.raises(Damage):
        survivor.fs.reads.read(ino, 0, 1000)
    survivor.close()


def test_a_short_object_of_a_synced_file_is_damage(
    small: LooseVolume, cut: PowerCut, expect_log: ExpectLog
) -> None:
    ino = file_of(small, OLD[:1000], synced=True)
    survivor = cut(lost={small.flash_object(ino): OLD[:999]})
    expect_log("ends at byte 999")
    with pytest.raises(Damage):
        survivor.fs.reads.read(ino, 0, 1000)
    survivor.close()


def test_a_write_far_behind_the_end_loses_nothing_to_a_kill(small: LooseVolume, home: Path) -> None:
    ino = file_of(small, OLD[:10], synced=False)
    small.fs.data.write(ino, 25 * HEAD, NEW[:100])
    survivor = small.copy(home / "killed")
    survivor.open()
    assert content(survivor, b"file") == OLD[:10].ljust(25 * HEAD, b"\0") + NEW[:100]
    survivor.close()


def test_times_that_were_set_survive(small: LooseVolume, home: Path) -> None:
    ino = file_of(small, OLD, synced=True)
    small.fs.data.write(ino, 0, NEW[:1])
    small.clock.now = time.time_ns()
    small.fs.attributes.set(ino, Changes(mtime=77, atime=78))
    survivor = small.copy(home / "killed")
    survivor.open()
    found = survivor.find(b"file")
    assert (found.mtime, found.atime) == (77, 78)
    survivor.close()


# ---------------------------------------------------------------- truncated bytes


@pytest.mark.parametrize("size", [10, HEAD, HEAD + 10])
def test_bytes_of_before_a_synced_truncation_do_not_come_back(
    small: LooseVolume, cut: PowerCut, size: int
) -> None:
    ino = file_of(small, OLD, synced=True)
    small.fs.data.truncate(ino, size)
    small.fs.data.sync(ino)
    durable = {
        path: path.read_bytes() if path.exists() else None
        for path in (small.flash_object(ino), small.disk_object(ino))
    }
    small.fs.data.write(ino, size, NEW[:HEAD])
    file_of(small, b"x", b"other", synced=True)
    lost = {path: before for path, before in durable.items() if path.exists()}
    survivor = cut(lost=lost)
    found = content(survivor, b"file")
    assert found[:size] == OLD[:size]
    assert not any(found[size:])
    survivor.close()


def test_a_truncated_file_is_trimmed_before_the_next_write(small: LooseVolume) -> None:
    ino = file_of(small, OLD, synced=True)
    small.fs.data.truncate(ino, 10)
    assert small.flash_object(ino).stat().st_size == HEAD
    small.os.clear()
    small.fs.data.write(ino, 10, b"new")
    assert small.os.labels.index("index.sync") < small.os.labels.index("flash.ftruncate")
    assert small.flash_object(ino).read_bytes() == OLD[:10] + b"new"
    assert not small.disk_object(ino).exists()


def test_a_synced_file_that_is_rewritten_is_old_or_new_after_a_cut(
    small: LooseVolume, cut: PowerCut
) -> None:
    ino = file_of(small, OLD, synced=True)
    small.fs.data.truncate(ino, 0)
    small.fs.data.write(ino, 0, NEW[:10])
    survivor = cut(lost={small.flash_object(ino): None})
    assert content(survivor, b"file") == b""
    survivor.close()


def test_the_times_of_a_write_survive_a_kill(small: LooseVolume, home: Path) -> None:
    ino = file_of(small, OLD, synced=True)
    before = small.find(b"file")
    small.fs.data.write(ino, 0, NEW[:1])
    changed = small.flash_object(ino).stat().st_mtime_ns
    survivor = small.copy(home / "killed")
    survivor.open()
    found = survivor.find(b"file")
    assert found.mtime == found.ctime == changed > before.mtime
    survivor.close()


def test_a_file_is_reconciled_before_it_is_written_to_though_its_row_is_in_memory(
    small: LooseVolume, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ino = file_of(small, OLD[:100], synced=True)
    small.fs.data.write(ino, 100, OLD[100:200])
    survivor = small.copy(home / "killed")
    monkeypatch.setattr("tierfs.fs.recovery.RECOVERED_AT_ONCE", 0)
    survivor.open()
    assert survivor.index.version_of(ino) is not None
    assert ino in survivor.fs.recovery.unreconciled
    survivor.fs.data.write(ino, 200, OLD[200:300])
    assert content(survivor, b"file") == OLD[:300]
    survivor.close()


@pytest.mark.parametrize("size", [10, HEAD, HEAD + 10])
def test_the_time_of_a_truncation_survives_what_trims_the_objects_later(
    small: LooseVolume, home: Path, size: int
) -> None:
    ino = file_of(small, OLD, synced=True)
    small.clock.now = time.time_ns()
    small.fs.data.truncate(ino, size)
    time.sleep(0.05)
    small.fs.data.sync(ino)
    survivor = small.copy(home / "killed")
    survivor.open()
    assert survivor.find(b"file").mtime == small.clock.now
    survivor.close()


@pytest.mark.parametrize("size", [HEAD // 2, 3 * HEAD])
@pytest.mark.parametrize("prefix", [0, 2 * HEAD])
def test_the_time_of_a_file_is_none_of_a_move(
    small: LooseVolume, home: Path, size: int, prefix: int
) -> None:
    """Where the index lost, to a power cut or a failing device, that it was synced for the move."""
    small.clock.now = time.time_ns()
    ino = file_of(small, OLD[:size], synced=True)
    before, copied = small.find(b"file").mtime, home / "copied"
    for path in (small.flash_object(ino), small.disk_object(ino)):
        if path.exists():  # as if the writes had taken no time
            os.utime(path, ns=(before, before))
    index = {path.name: path.read_bytes() for path in small.settings.flash.glob("index.db*")}
    time.sleep(0.05)
    point = Point("move.committed", 0)
    small.os.kill(point, "before", lambda: shutil.copytree(small.home, copied))
    with suppress(Killed):
        small.fs.migrator.place(ino, prefix, keep_mirror=True, paced=lambda _: None)
    small.os.dead = True
    small.abandon()
    for name, data in index.items():
        (copied / "flash" / name).write_bytes(data)
    survivor = LooseVolume(volume_settings(copied, small.head))
    survivor.open()
    assert survivor.find(b"file").mtime == before
    survivor.close()


def test_the_times_of_a_directory_survive_a_second_crash(small: LooseVolume, home: Path) -> None:
    """They are found by the files made in it, which a checkpoint lets go of."""
    directory = small.fs.names.make(ROOT, b"directory", DIRECTORY, ME).ino
    small.fs.syncer.checkpoint()
    small.clock.now += 5_000_000_000
    make(small, b"file", parent=directory)
    made = small.find(b"directory").mtime
    once = small.copy(home / "once")
    once.open()
    assert once.find(b"directory").mtime == made
    once.fs.syncer.checkpoint()
    twice = once.copy(home / "twice")
    once.close()
    twice.open()
    assert twice.find(b"directory").mtime == made
    twice.close()


def test_what_a_failed_write_left_is_trimmed_after_a_crash(small: LooseVolume, home: Path) -> None:
    ino = file_of(small, OLD[:100], synced=True)
    small.os.fail(Point("disk.pwrite"), errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        small.fs.data.write(ino, 2 * HEAD, b"lost")
    assert ino in small.index.pending_truncations.all()
    survivor = small.copy(home / "killed")
    survivor.open()
    assert content(survivor, b"file") == OLD[:100]
    assert not survivor.disk_object(ino).exists()
    assert survivor.index.pending_truncations.all() == []
    survivor.close()


def test_a_file_that_changes_during_a_checkpoint_stays_in_the_set(small: LooseVolume) -> None:
    ino = file_of(small, OLD[:100], synced=False)
    small.os.before(Point("disk.syncfs"), lambda: small.fs.data.write(ino, 0, b"late"))
    small.fs.syncer.checkpoint()
    file = small.fs.syncer.dirty.get(ino)
    assert file is not None
    assert file.synced_version != file.version
    small.fs.syncer.checkpoint()
    assert small.fs.syncer.dirty.get(ino) is None


@pytest.mark.parametrize("end", [200, HEAD - 1, HEAD, HEAD + 1, 3 * HEAD])
def test_a_write_to_a_dirty_file_is_no_transaction(
    small: LooseVolume, home: Path, end: int
) -> None:
    ino = file_of(small, OLD[:100], synced=False)
    small.fs.data.write(ino, 100, b"+" * (end - 100))
    small.os.clear()
    for _ in range(3):
        small.fs.data.write(ino, small.find(b"file").size, b"x")
    assert "index.commit" not in small.os.labels
    assert small.find(b"file").size == end + 3
    survivor = small.copy(home / "killed")
    survivor.open()
    assert content(survivor, b"file") == OLD[:100] + b"+" * (end - 100) + b"xxx"
    survivor.close()


@pytest.mark.parametrize(
    ("number", "again"), [(0, True), (errno.EAGAIN, True), (errno.EOPNOTSUPP, False)]
)
def test_a_write_to_the_disk_tier_that_may_not_wait_goes_to_the_page_cache_or_waits(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch, number: int, *, again: bool
) -> None:
    """ext4 cannot tell whether it would wait: such a write is left to a thread that may."""
    ino = file_of(small, OLD[: 3 * HEAD], synced=False)
    store, end = small.fs.data._tiers.disk, 3 * HEAD

    def pwritev(fd: int, data: Sequence[bytes], offset: int, flags: int) -> int:
        """As on a filesystem that knows RWF_NOWAIT, which tmpfs does not."""
        assert flags == os.RWF_NOWAIT
        return small.os.call("disk.pwrite", os.pwritev, fd, data, offset)

    monkeypatch.setattr(store, "in_memory", False)
    monkeypatch.setattr(store._calls, "pwritev", pwritev)
    if number:
        small.os.clear()
        small.os.fail(Point("disk.pwrite"), number)
        with pytest.raises(WouldBlock):
            small.fs.data.write(ino, end, b"new", wait=False, buffered=True)
        small.os.clear()
    with pytest.raises(WouldBlock):
        small.fs.data.write(ino, end, b"new", wait=False)
    if again:
        small.fs.data.write(ino, end, b"new", wait=False, buffered=True)
    else:
        with pytest.raises(WouldBlock):
            small.fs.data.write(ino, end, b"new", wait=False, buffered=True)
        small.fs.data.write(ino, end, b"new")
    assert content(small, b"file") == OLD[: 3 * HEAD] + b"new"


def test_a_file_that_was_cut_grows_by_transactions_until_it_is_synced(
    small: LooseVolume, home: Path
) -> None:
    ino = file_of(small, OLD, synced=True)
    small.fs.data.truncate(ino, 10)
    small.fs.data.write(ino, 10, b"+")
    small.os.clear()
    small.fs.data.write(ino, 11, b"+")
    assert "index.commit" in small.os.labels
    survivor = small.copy(home / "killed")
    survivor.open()
    assert content(survivor, b"file") == OLD[:10] + b"++"
    survivor.close()
    small.fs.data.sync(ino)
    small.os.clear()
    small.fs.data.write(ino, 12, b"+")
    assert "index.commit" not in small.os.labels


def test_a_transaction_that_fails_keeps_what_is_noted(small: LooseVolume) -> None:
    ino = file_of(small, OLD[:100], synced=False)
    small.fs.data.write(ino, 100, b"+")
    small.os.clear()
    small.os.fail(Point("index.commit"), errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        small.fs.attributes.set(ino, Changes(mode=0o600))
    small.os.clear()
    found = small.find(b"file")
    assert (found.size, found.mode & 0o777) == (101, 0o644)
    small.fs.attributes.set(ino, Changes(mode=0o600))
    small.reopen()
    found = small.find(b"file")
    assert (found.size, found.mode & 0o777) == (101, 0o600)


def test_what_a_kill_left_behind_the_end_is_trimmed_before_a_write(small: LooseVolume) -> None:
    ino = file_of(small, OLD[:100], synced=True)
    small.fs.syncer.checkpoint()
    with small.flash_object(ino).open("ab") as leftover:
        leftover.write(NEW[:500])
    small.fs.data.write(ino, 100, b"+")
    assert small.flash_object(ino).read_bytes() == OLD[:100] + b"+"


# ---------------------------------------------------------------- errors that stick


def test_a_failed_sync_sticks_until_the_file_is_emptied(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("/file: bytes could not be written to the device")
    ino = file_of(small, OLD[:100], synced=False)
    small.os.fail(Point("flash.fdatasync"), errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        small.fs.data.sync(ino)
    small.os.clear()
    with fails(errno.EIO):
        small.fs.data.sync(ino)
    small.fs.data.write(ino, 0, b"again")
    with fails(errno.EIO):
        small.fs.data.sync(ino)
    small.fs.data.truncate(ino, 0)
    small.fs.data.write(ino, 0, b"anew")
    small.fs.data.sync(ino)
    assert small.fs.reads.read(ino, 0, 10) == b"anew"


def test_an_error_that_a_move_meets_is_reported_to_fsync(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("bytes could not be written to the device")
    ino = file_of(small, OLD, synced=False)
    small.os.fail(Point("disk.fdatasync"), errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        small.fs.migrator.place(ino, 0, keep_mirror=False, paced=lambda _: None)
    small.os.clear()
    with fails(errno.EIO):
        small.fs.data.sync(ino)
    with pytest.raises(FsError):
        small.fs.migrator.place(ino, 0, keep_mirror=False, paced=lambda _: None)


def test_an_error_that_a_checkpoint_meets_is_reported_to_fsync_of_the_file(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("/bad: bytes could not be written to the device")
    good = file_of(small, OLD[:100], b"good", synced=False)
    bad = file_of(small, OLD[:100], b"bad", synced=False)
    small.os.fail(Point("flash.syncfs"), errno.EIO)
    small.os.fail(Point("flash.fdatasync", 1), errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        small.volume.checkpoints.make()
    small.os.clear()
    small.fs.data.sync(good)
    with fails(errno.EIO):
        small.fs.data.sync(bad)
    assert list(small.fs.dirty.errors) == [bad]


def test_an_error_makes_the_end_unclean_and_the_next_mount_starts_anew(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("bytes could not be written to the device")
    ino = file_of(small, OLD[:100], synced=False)
    small.os.fail(Point("flash.fdatasync"), errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        small.fs.data.sync(ino)
    small.close()
    small.os.clear()
    small.open()
    small.fs.data.sync(ino)
    small.fs.syncer.checkpoint()
    assert len(small.fs.dirty) == 0


def test_a_full_flash_copies_no_bytes_that_the_device_refused(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("bytes could not be written to the device")
    ino = file_of(small, OLD[:100], synced=False)
    small.os.full = {"flash.pwrite"}
    small.os.fail(Point("flash.fdatasync"), errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        small.fs.data.write(ino, 100, OLD[100:2000])
    small.os.clear()
    assert small.find(b"file").prefix == HEAD


# ---------------------------------------------------------------- who is in it


def test_only_files_that_changed_are_synced(small: LooseVolume) -> None:
    ino = file_of(small, OLD, synced=True)
    small.os.clear()
    small.fs.data.sync(ino)
    assert small.os.labels == ["index.sync"]


def test_a_checkpoint_empties_the_set_and_closes_its_descriptors(small: LooseVolume) -> None:
    for number in range(20):
        file_of(small, OLD, b"%d" % number, synced=False)
    assert len(small.fs.dirty) == 20
    small.volume.checkpoints.make()
    assert len(small.fs.dirty) == 0
    assert small.index.dirty.all() == []
    assert small.fs.dirty._descriptors == 0


def test_a_file_that_changes_during_its_sync_stays_in_the_set(small: LooseVolume) -> None:
    ino = file_of(small, OLD[:10], synced=False)
    with small.fs.dirty.files[ino].lock:
        syncing = threading.Thread(target=small.fs.data.sync, args=(ino,))
        syncing.start()
        small.fs.data.write(ino, 10, OLD[10:20])
    syncing.join()
    small.fs.data.write(ino, 20, OLD[20:30])
    assert [row.size for row in small.index.dirty.all()] == [20]


def test_a_descriptor_that_is_to_be_closed_during_a_sync_is_closed_after_it(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    ino = file_of(small, OLD[:10], synced=False)
    file = small.fs.dirty.files[ino]
    sync_data, fd = small.fs.syncer._tiers.flash.sync_data, file.fds[FLASH]

    def close_meanwhile(number: int, descriptor: int) -> bool:
        assert descriptor == fd
        small.fs.dirty.close_descriptors(file)
        assert file.fds[FLASH] == -1
        os.fstat(fd)
        return sync_data(number, descriptor)

    monkeypatch.setattr(small.fs.syncer._tiers.flash, "sync_data", close_meanwhile)
    small.fs.data.sync(ino)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert file.lent == -1
    assert small.fs.dirty._descriptors == 0


def rows(volume: LooseVolume) -> dict[int, tuple[int, int]]:
    """The table alone: synced bytes by inode number, and whether lengths are trusted."""
    found = volume.index._database.rows("SELECT ino, size, exact FROM dirty")
    return {ino: (size, exact) for ino, size, exact in found}


@pytest.mark.parametrize("head", [0, HEAD])
@pytest.mark.parametrize("nameless", [False, True])
def test_a_new_file_is_in_the_set_without_a_row(
    make_volume: MakeVolume, home: Path, head: int, *, nameless: bool
) -> None:
    volume = make_volume(head)
    if nameless:
        ino = volume.fs.names.make_nameless(ROOT, FILE, ME, exclusive=False).ino
        volume.fs.names.link(ino, ROOT, b"file")
    else:
        ino = make(volume, b"file").ino
    volume.os.clear()
    volume.fs.data.write(ino, 0, OLD)
    assert "index.commit" not in volume.os.labels
    assert rows(volume) == {}
    survivor = volume.copy(home / "killed")
    assert fsck(survivor.settings).clean
    survivor.open()
    assert content(survivor, b"file") == OLD
    assert [row.ino for row in survivor.index.dirty.all()] == [ino]
    survivor.close()


def test_a_read_only_mount_knows_of_new_files_without_a_row(small: LooseVolume, home: Path) -> None:
    file_of(small, OLD[:100], synced=False)
    survivor = small.copy(home / "killed")
    survivor.read_only = True
    survivor.open()
    assert content(survivor, b"file") == OLD[:100]
    survivor.close()


def test_what_is_synced_of_a_new_file_is_in_the_row_of_its_inode(
    small: LooseVolume, cut: PowerCut, expect_log: ExpectLog
) -> None:
    ino = file_of(small, OLD[:100], synced=True)
    assert small.index.dirty.all() == [DirtyRow(ino, 100, 0, 1)]
    small.fs.data.write(ino, 100, OLD[100:150])
    small.fs.data.sync(ino)
    assert small.index.dirty.all() == [DirtyRow(ino, 150, 0, 1)]
    assert rows(small) == {}
    survivor = cut(lost={small.flash_object(ino): OLD[:149]})
    expect_log("ends at byte 149")
    with pytest.raises(Damage):
        survivor.fs.reads.read(ino, 0, 150)
    survivor.close()


def test_a_second_sync_of_a_new_file_whose_row_is_written_already(small: LooseVolume) -> None:
    ino = file_of(small, OLD[:100], synced=False)
    small.fs.attributes.set(ino, Changes(mode=0o600))
    assert small.index.dirty.all() == [DirtyRow(ino, 0, 0, 1)]
    assert small.index._database.rows("SELECT size FROM inode WHERE ino = ?", ino) == [(100,)]
    small.fs.data.sync(ino)
    assert small.index.dirty.all() == [DirtyRow(ino, 100, 0, 1)]
    assert rows(small) == {}


def test_a_new_file_that_was_synced_is_truncated(small: LooseVolume, cut: PowerCut) -> None:
    ino = file_of(small, OLD[:100], synced=True)
    small.fs.data.truncate(ino, 50)
    assert rows(small) == {ino: (50, 0)}
    small.fs.data.sync(ino)
    assert small.index.dirty.all() == [DirtyRow(ino, 50, 0, 1)]
    survivor = cut(lost={})
    assert content(survivor, b"file") == OLD[:50]
    survivor.close()


def test_a_new_file_that_changes_beside_a_checkpoint_keeps_a_row(
    small: LooseVolume, cut: PowerCut
) -> None:
    others = [file_of(small, OLD[:10], b"a", synced=False)]
    busy = file_of(small, OLD[:10], b"busy", synced=False)
    others.append(file_of(small, OLD[:10], b"z", synced=False))
    with small.fs.dirty.locks.hold(busy):
        small.fs.syncer.checkpoint()
    assert [row.ino for row in small.index.dirty.all()] == [busy]
    small.fs.data.write(busy, 10, NEW[:10])
    assert rows(small).keys() == {busy}
    survivor = cut(lost={small.flash_object(busy): OLD[:5]})
    assert content(survivor, b"busy") == OLD[:5]
    survivor.close()
    assert all(ino not in rows(small) for ino in others)


def test_a_short_object_of_a_new_file_that_has_left_is_damage(
    small: LooseVolume, cut: PowerCut, expect_log: ExpectLog
) -> None:
    ino = file_of(small, OLD[:1000], synced=False)
    small.fs.syncer.checkpoint()
    file_of(small, OLD[:10], b"newer", synced=False)
    survivor = cut(lost={small.flash_object(ino): OLD[:999]})
    expect_log("ends at byte 999")
    with pytest.raises(Damage):
        survivor.fs.reads.read(ino, 0, 1000)
    survivor.close()


def test_older_files_get_rows_when_a_newer_one_leaves(
    small: LooseVolume, cut: PowerCut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tierfs.fs.sync.BATCH", 2)
    older = [file_of(small, OLD[:10], b"%d" % number, synced=False) for number in range(5)]
    moved = file_of(small, OLD[:10], b"moved", synced=False)
    newer = file_of(small, OLD[:10], b"newer", synced=False)
    small.fs.syncer.sync(moved, leave=True)
    assert rows(small) == dict.fromkeys(older, (0, 1))
    assert [row.ino for row in small.index.dirty.all()] == [*older, newer]
    survivor = cut(lost={small.flash_object(ino): OLD[:5] for ino in (*older, newer)})
    assert content(survivor, b"moved") == OLD[:10]
    assert {content(survivor, b"%d" % number) for number in range(5)} == {OLD[:5]}
    assert content(survivor, b"newer") == OLD[:5]
    survivor.close()
    small.fs.syncer.checkpoint()
    assert small.index.dirty.all() == []


@pytest.mark.parametrize("leave", [False, True])
def test_a_failed_transaction_leaves_a_new_file_in_the_set(
    small: LooseVolume, cut: PowerCut, *, leave: bool
) -> None:
    ino = file_of(small, OLD[:10], synced=False)
    small.os.clear()
    small.os.fail(Point("index.commit"), errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        small.fs.syncer.sync(ino, leave=leave)
    small.os.clear()
    other = file_of(small, OLD[:10], b"other", synced=False)
    assert [row.ino for row in small.index.dirty.all()] == [ino, other]
    small.fs.syncer.sync(other, leave=True)
    assert [row.ino for row in small.index.dirty.all()] == [ino]
    survivor = cut(lost={small.flash_object(ino): OLD[:5]})
    assert content(survivor, b"file") == OLD[:5]
    survivor.close()


def test_new_files_of_an_unclean_end_stay_in_the_set_until_they_are_reconciled(
    many: LooseVolume, home: Path
) -> None:
    """Though newer ones leave, and the power goes again."""
    left = file_of(many, OLD[:10], b"left", synced=False)
    many.fs.syncer.sync(left, leave=True)
    assert len(rows(many)) == RECOVERED_AT_ONCE + 50
    survivor = many.copy(home / "again")
    survivor.flash_object(left).write_bytes(OLD[:10])
    survivor.open()
    assert survivor.fs.names.lookup(ROOT, b"3").size == 4
    assert content(survivor, b"left") == OLD[:10]
    survivor.close()


def test_nothing_is_in_the_set_of_a_closed_volume(small: LooseVolume) -> None:
    file_of(small, OLD[:10], synced=False)
    make(small, b"empty")
    small.reopen()
    assert small.index.dirty.all() == []
    assert not small.fs.recovery.unreconciled


def test_descriptors_are_bounded(small: LooseVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small.fs.dirty, "_limit", 8)
    for number in range(40):
        file_of(small, OLD[:10], b"%d" % number, synced=False)
        assert small.fs.dirty._descriptors <= 8
    assert len(small.fs.dirty) <= 8


def test_a_removed_file_leaves_the_set(small: LooseVolume) -> None:
    file_of(small, OLD, synced=False)
    small.fs.names.unlink(ROOT, b"file")
    small.fs.reclaimer.drain()
    assert len(small.fs.dirty) == 0
    assert small.index.dirty.all() == []


# ---------------------------------------------------------------- many files


@pytest.fixture
def many(small: LooseVolume, home: Path) -> Iterator[LooseVolume]:
    """After an unclean end with more dirty files than a mount looks at."""
    for number in range(RECOVERED_AT_ONCE + 50):
        file_of(small, OLD[:10], b"%d" % number, synced=False)
    survivor = small.copy(home / "survivor")
    for number in (3, 7):
        survivor.flash_object(small.find(b"%d" % number).ino).write_bytes(OLD[:4])
    survivor.open()
    yield survivor
    survivor.close()


def test_many_are_reconciled_at_first_use(many: LooseVolume) -> None:
    assert len(many.fs.recovery.unreconciled) == RECOVERED_AT_ONCE + 50
    assert many.fs.names.lookup(ROOT, b"3").size == 4
    assert content(many, b"7") == OLD[:4]
    assert len(many.fs.recovery.unreconciled) == RECOVERED_AT_ONCE + 48
    sizes = {entry.name: entry.inode.size for entry in many.fs.listing.after(ROOT)}
    assert sizes[b"8"] == 10
    assert not many.fs.recovery.unreconciled


def test_the_rest_is_reconciled_in_the_background(many: LooseVolume) -> None:
    many.volume.fs.recovery.reconcile_all()
    assert not many.fs.recovery.unreconciled
    many.volume.checkpoints.make()
    assert many.index.dirty.all() == []


def test_the_thread_that_serves_everybody_does_not_wait(many: LooseVolume) -> None:
    many.fs.recovery.never_wait.add(threading.get_ident())
    with pytest.raises(Unreconciled) as found:
        many.fs.names.lookup(ROOT, b"3")
    many.fs.recovery.never_wait.clear()
    many.fs.recovery.reconcile(found.value.ino)
    assert many.find(b"3").size == 4


def test_the_thread_that_served_everybody_may_wait_when_it_closes_the_volume(
    many: LooseVolume, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that was truncated before it was reconciled is one that closing works on."""
    ino = many.index.dentries._database.rows("SELECT ino FROM entry WHERE name = x'33'")[0][0]
    with many.index.transaction():
        many.index.pending_truncations.add(ino)
    survivor = many.copy(home / "again")
    monkeypatch.setattr("tierfs.fs.recovery.RECOVERED_AT_ONCE", 0)
    survivor.open()
    assert ino in survivor.fs.recovery.unreconciled
    survivor.fs.recovery.never_wait.add(threading.get_ident())
    survivor.close()


def test_a_mode_is_changed_without_a_wrong_size(many: LooseVolume) -> None:
    ino = many.index.dentries._database.rows("SELECT ino FROM entry WHERE name = x'33'")[0][0]
    assert many.fs.attributes.set(ino, Changes(mode=0o600)).size == 4


def test_an_end_before_all_are_reconciled_leaves_them_to_the_next_mount(many: LooseVolume) -> None:
    many.close()
    many.open()
    assert many.fs.names.lookup(ROOT, b"3").size == 4
    assert os.path.getsize(many.flash_object(many.find(b"3").ino)) == 4
