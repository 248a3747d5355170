"""``feed: sync``: an fsync returns when the copy of the change feed holds what it made durable."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fs.calls import fails, make
from tests.guards.logs import ExpectLog
from tests.support.volumes import LooseVolume
from tierfs.backup.files import backups, directory_of, segments
from tierfs.common.errors import ConfigError, IndexFailed
from tierfs.daemon.backup import Backups
from tierfs.fs.locks import WouldBlock
from tierfs.metadata.feed_copy import FeedCopier, read_segment
from tierfs.metadata.inodes import ROOT
from tierfs.policy.volume_file import BackupSettings, load_volume_file

pytestmark = pytest.mark.long


@pytest.fixture
def synced(small: LooseVolume) -> Iterator[LooseVolume]:
    """A volume whose feed is copied at each sync, and by nothing else."""
    small.close()
    small.settings = replace(small.settings, backup=BackupSettings(feed="sync"))
    small.open()
    yield small
    small.close()


@pytest.fixture
def copies(synced: LooseVolume) -> Backups:
    return Backups(synced.volume, synced.metrics, lambda: False)


def copied(volume: LooseVolume) -> int:
    """The serial up to which the copy goes, in a segment that goes on from a backup."""
    directory = directory_of(volume.settings)
    backup = backups(directory)[-1]
    last = read_segment(segments(directory, backup.generation)[-1].path)
    assert last.start <= backup.serial
    return last.end


def test_an_fsync_waits_for_the_copy(synced: LooseVolume, copies: Backups) -> None:
    """The first one for a backup, too."""
    assert copies.on
    ino = make(synced, b"file").ino
    synced.fs.data.write(ino, 0, b"bytes")
    synced.fs.data.sync(ino)
    assert copied(synced) == synced.index.feed.last()
    synced.fs.names.rename(ROOT, b"file", ROOT, b"renamed")
    assert copied(synced) < synced.index.feed.last()
    synced.fs.sync_index()
    assert copied(synced) == synced.index.feed.last()


def test_who_must_not_wait_is_told(synced: LooseVolume, copies: Backups) -> None:
    assert copies.on
    ino = make(synced, b"file").ino
    with pytest.raises(WouldBlock):
        synced.fs.data.sync(ino, wait=False)
    with pytest.raises(WouldBlock):
        synced.fs.sync_index(wait=False)


def test_many_share_one_copy(
    synced: LooseVolume, copies: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced.fs.sync_index()
    copy, numbers = FeedCopier.copy, []
    held = threading.Event()

    def slowly(self: FeedCopier) -> int:
        held.wait(10)
        numbers.append(copy(self))
        return numbers[-1]

    monkeypatch.setattr(FeedCopier, "copy", slowly)
    make(synced, b"file")
    threads = [threading.Thread(target=synced.fs.sync_index) for _ in range(20)]
    for thread in threads:
        thread.start()
    held.set()
    for thread in threads:
        thread.join()
    assert len(numbers) < len(threads)
    assert copied(synced) == synced.index.feed.last()
    assert copies.status()["behind"] == 0


def fail_once(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    copy = FeedCopier.copy

    def fail(_: FeedCopier) -> int:
        monkeypatch.setattr(FeedCopier, "copy", copy)
        raise IndexFailed(number, "the target fails")

    monkeypatch.setattr(FeedCopier, "copy", fail)


def test_what_is_in_no_copy_is_counted_until_there_is_another_backup(
    synced: LooseVolume, copies: Backups, monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog
) -> None:
    synced.fs.sync_index()
    make(synced, b"file")
    behind = copies.status()["behind"]
    assert behind > 0

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "the target fails")

    with monkeypatch.context() as broken:
        fail_once(broken, errno.EIO)
        broken.setattr("tierfs.daemon.backup.make_segment", fail)
        expect_log("fsync fails until another backup is made")
        expect_log("is started over")
        with pytest.raises(OSError, match="the target fails"):
            copies.make()
    assert copies.status()["behind"] >= behind
    copies.make()
    copies.copy()
    assert copies.status()["behind"] == 0


def test_a_copy_that_failed_sticks_until_there_is_another_backup(
    synced: LooseVolume, copies: Backups, monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog
) -> None:
    synced.fs.sync_index()
    fail_once(monkeypatch, errno.EIO)
    expect_log("fsync fails until another backup is made")
    make(synced, b"file")
    for _ in range(2):
        with fails(errno.EIO):
            synced.fs.sync_index()
    copies.make_if_due()
    synced.fs.sync_index()
    assert copied(synced) == synced.index.feed.last()
    assert len(backups(directory_of(synced.settings))) == 2


def test_no_room_for_the_copy_does_not_stick(
    synced: LooseVolume, copies: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert copies.on
    synced.fs.sync_index()
    fail_once(monkeypatch, errno.ENOSPC)
    make(synced, b"file")
    with fails(errno.ENOSPC):
        synced.fs.sync_index()
    synced.fs.sync_index()
    assert copied(synced) == synced.index.feed.last()


def test_flash_that_is_full_fails_an_fsync(synced: LooseVolume, copies: Backups) -> None:
    """The feed is not written then; when it is, the copy begins anew."""
    assert copies.on
    synced.fs.sync_index()
    preallocation = synced.index._database.wal.preallocation
    assert preallocation is not None
    preallocation.exhausted = True
    synced.index.feed.shed()
    with fails(errno.ENOSPC):
        synced.fs.sync_index()
    preallocation.exhausted = False
    synced.fs.sync_index()
    assert copied(synced) == synced.index.feed.last()


def test_a_segment_that_is_damaged_keeps_no_backup_from_being_made(
    synced: LooseVolume, copies: Backups, expect_log: ExpectLog
) -> None:
    synced.fs.sync_index()
    expect_log("is started over")
    directory = directory_of(synced.settings)
    (segment,) = segments(directory, backups(directory)[0].generation)
    copies._close()
    segment.path.write_bytes(b"damage")
    copies.make()
    synced.fs.sync_index()
    assert copied(synced) == synced.index.feed.last()


def test_without_backups_there_is_nothing_to_copy(small: LooseVolume, home: Path) -> None:
    path = home / "volume.yaml"
    text = f"version: 1\nflash: {small.settings.flash}\ndisk: {small.settings.disk}\n"
    path.write_text(f"{text}backup: {{enabled: false, feed: sync}}\n")
    with pytest.raises(ConfigError, match="needs backups"):
        load_volume_file(path)
