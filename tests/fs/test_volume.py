from __future__ import annotations

import json
import os
import sqlite3
import uuid
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fs.calls import DIRECTORY, SYMLINK, file_of, make
from tests.fs.consistency import check
from tests.fs.scenarios import pattern
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume, MakeVolume, make_tiers, volume_settings
from tierfs.common.errors import FsError, VolumeBusy, VolumeRefused
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM
from tierfs.fs.volume import format_volume, open_volume
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import ROOT
from tierfs.policy.volume_file import VolumeFile
from tierfs.storage.markers import MARKER, Marker, write_marker


@pytest.fixture
def settings(home: Path) -> VolumeFile:
    """Of a volume that is not formatted yet; both directories are there."""
    chosen = volume_settings(home)
    make_tiers(chosen)
    return chosen


def refuses(settings: VolumeFile, match: str) -> None:
    """Opening is refused with a message of this kind, and leaves the volume closed."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(VolumeRefused, match=match):
        open_volume(settings, metrics=Metrics())
    assert len(os.listdir("/proc/self/fd")) == before


def files_below(path: Path) -> set[str]:
    return {os.fspath(each.relative_to(path)) for each in path.rglob("*")}


def test_a_formatted_volume_opens_empty(settings: VolumeFile) -> None:
    made = format_volume(settings)
    volume = open_volume(settings, metrics=Metrics())
    root = volume.fs.attributes.get(ROOT)
    assert volume.uuid == made
    assert (root.mode, root.nlink, root.uid) == (0o040755, 2, os.getuid())
    assert [entry.name for entry in volume.fs.listing.after(ROOT)] == [b".", b".."]
    volume.close()


def test_the_index_is_the_daemon_s_alone(settings: VolumeFile) -> None:
    format_volume(settings)
    assert settings.index.stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_of_a_format_that_failed(
    settings: VolumeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def fail_the_second(directory: Path, marker: Marker) -> None:
        calls.append(directory)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        write_marker(directory, marker)

    with monkeypatch.context() as patch:
        patch.setattr("tierfs.fs.volume.write_marker", fail_the_second)
        with pytest.raises(OSError, match="No space"):
            format_volume(settings)
    assert files_below(settings.flash) == files_below(settings.disk) == set()
    format_volume(settings)


def test_only_empty_directories_are_formatted(settings: VolumeFile) -> None:
    (settings.disk / "photo.jpg").touch()
    with pytest.raises(VolumeRefused, match="is not empty"):
        format_volume(settings)
    assert files_below(settings.flash) == set()
    (settings.disk / "photo.jpg").unlink()
    format_volume(settings)
    with pytest.raises(VolumeRefused, match="already belongs to a tierfs volume"):
        format_volume(settings)


def test_an_index_is_never_overwritten(settings: VolumeFile, home: Path) -> None:
    elsewhere = replace(settings, index=home / "index.db")
    elsewhere.index.write_text("precious")
    with pytest.raises(VolumeRefused, match="the index exists already"):
        format_volume(elsewhere)
    assert elsewhere.index.read_text() == "precious"


def test_an_index_that_cannot_be_made(settings: VolumeFile, home: Path) -> None:
    with pytest.raises(VolumeRefused, match="cannot be made there: No such file"):
        format_volume(replace(settings, index=home / "missing" / "index.db"))
    assert files_below(settings.flash) == set()


def test_two_opens_are_refused(small: LooseVolume) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(VolumeBusy, match="in use by another tierfs"):
        open_volume(small.settings, metrics=Metrics())
    assert len(os.listdir("/proc/self/fd")) == before
    make(small, b"still working")
    small.reopen()


def test_one_shared_directory_is_enough_to_be_refused(
    small: LooseVolume, make_volume: MakeVolume
) -> None:
    other = make_volume()
    other.close()
    mixed = replace(other.settings, flash=small.settings.flash)
    refuses(mixed, f"belongs to volume {small.volume.uuid}.*check 'flash' and 'disk'")


def test_directories_that_are_swapped(settings: VolumeFile) -> None:
    format_volume(settings)
    swapped = replace(settings, flash=settings.disk, disk=settings.flash)
    refuses(swapped, r"holds the disk tier, not the flash tier.*swapped\?")


def test_a_foreign_directory_is_refused(settings: VolumeFile, home: Path) -> None:
    format_volume(settings)
    (home / "foreign").mkdir()
    refuses(replace(settings, disk=home / "foreign"), r"is not the disk directory.*mounted\?")
    refuses(replace(settings, flash=home / "nowhere"), r"is not the flash directory")


def test_a_newer_format_is_refused(settings: VolumeFile) -> None:
    format_volume(settings)
    marker = settings.disk / MARKER
    content = json.loads(marker.read_text())
    marker.write_text(json.dumps({**content, "format": 99}))
    refuses(settings, "format 99 is newer")


def test_an_index_of_another_volume(settings: VolumeFile, small: LooseVolume) -> None:
    format_volume(settings)
    small.close()
    refuses(replace(settings, index=small.settings.index), "this index belongs to volume")


def test_a_missing_index_is_refused_and_not_made(settings: VolumeFile) -> None:
    format_volume(settings)
    settings.index.unlink()
    refuses(settings, "the index is missing")
    assert not settings.index.exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"", "is an empty file: restore"), (b"SQLite format 4\0", "is not an index: restore")],
)
def test_an_index_that_is_none(settings: VolumeFile, content: bytes, match: str) -> None:
    format_volume(settings)
    settings.index.write_bytes(content)
    refuses(settings, match)
    assert settings.index.read_bytes() == content


def test_the_database_of_another_program(settings: VolumeFile) -> None:
    format_volume(settings)
    settings.index.unlink()
    with closing(sqlite3.connect(settings.index)) as other, other:
        other.execute("CREATE TABLE theirs (id INTEGER)")
    content = settings.index.read_bytes()
    refuses(settings, "is not an index: restore")
    assert settings.index.read_bytes() == content


def test_a_new_index_is_not_taken_for_the_lost_one(small: LooseVolume) -> None:
    file_of(small, b"precious")
    small.close()
    small.settings.index.unlink()
    Index(small.settings.index, SYSTEM, Metrics()).close()
    refuses(small.settings, "belongs to no volume")


def test_a_volume_of_its_own_for_each_format(home: Path) -> None:
    made = []
    for name in ("one", "other"):
        chosen = volume_settings(home / name)
        make_tiers(chosen)
        made.append(format_volume(chosen))
    assert len(set(made)) == 2
    assert all(isinstance(each, uuid.UUID) for each in made)


def test_everything_is_there_after_closing(volume: LooseVolume) -> None:
    data = pattern(3 * volume.head)
    ino = file_of(volume, data)
    make(volume, b"directory", DIRECTORY)
    make(volume, b"link", SYMLINK)
    volume.fs.xattrs.set(ino, b"user.a", b"v")
    before = {entry.name: entry.inode for entry in volume.fs.listing.after(ROOT)}
    volume.reopen()
    assert {entry.name: entry.inode for entry in volume.fs.listing.after(ROOT)} == before
    assert volume.fs.reads.read(ino, 0, 10**6) == data
    assert volume.fs.xattrs.get(ino, b"user.a") == b"v"
    check(volume, trimmed=True)


def test_a_closed_volume_leaves_no_log(small: LooseVolume) -> None:
    file_of(small, b"data")
    small.close()
    assert {each.name for each in small.settings.flash.iterdir()} == {
        MARKER,
        "heads",
        "index.db",
        "replaced",
    }


def test_usage_counts_what_is_there(small: LooseVolume) -> None:
    file_of(small, pattern(10_000), b"a")
    file_of(small, pattern(100), b"b")
    make(small, b"c")
    usage = small.volume.usage()
    assert usage.counts == (4, 3, 4196, 5904, 2, 1, 2, 4196)
    assert usage.index_bytes > 0
    assert usage.disk.capacity > 0


def test_closing_with_an_index_that_fails_is_told_and_made_up_for(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("closing left work to the next mount")
    ino = file_of(small, b"data")
    small.fs.names.unlink(ROOT, b"file")
    small.fs.names.forget(ino)
    small.os.clear()
    small.os.fail(Point("index.sync"), 5)
    small.close()
    small.open()
    assert not small.flash_object(ino).exists()
    check(small, trimmed=True)


def test_opening_with_an_index_that_fails_leaves_nothing_open(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("closing left work", required=False)
    ino = file_of(small, b"data")
    small.fs.names.unlink(ROOT, b"file")
    crashed = small.copy(small.home.with_name("crashed"))
    before = len(os.listdir("/proc/self/fd"))
    crashed.os.fail(Point("index.sync"), 5)
    with pytest.raises(FsError, match="Input"):
        crashed.open()
    assert len(os.listdir("/proc/self/fd")) == before
    crashed.open()
    assert not crashed.flash_object(ino).exists()
    crashed.close()
