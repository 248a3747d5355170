from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import get_args

import pytest

from tierfs.common.errors import VolumeBusy, VolumeRefused
from tierfs.storage.markers import (
    FORMAT,
    MARKER,
    Marker,
    Tier,
    VolumeLock,
    check_formattable,
    read_marker,
    write_marker,
)

VOLUME = uuid.UUID("12345678-1234-4234-8234-123456789abc")


def damage(directory: Path, **changed: object) -> None:
    """Write a marker that differs from a good one; a value of None leaves the key out."""
    content = {"format": FORMAT, "volume": str(VOLUME), "tier": "flash", **changed}
    kept = {key: value for key, value in content.items() if value is not None}
    (directory / MARKER).write_text(json.dumps(kept))


@pytest.mark.parametrize("tier", get_args(Tier))
def test_a_marker_says_what_was_written(home: Path, tier: Tier) -> None:
    write_marker(home, Marker(VOLUME, tier))
    assert read_marker(home, tier) == Marker(VOLUME, tier)


def test_a_marker_is_never_overwritten(home: Path) -> None:
    write_marker(home, Marker(VOLUME, "flash"))
    with pytest.raises(FileExistsError):
        write_marker(home, Marker(uuid.uuid4(), "disk"))
    assert read_marker(home, "flash").volume == VOLUME


def test_a_foreign_directory_is_refused(home: Path) -> None:
    with pytest.raises(VolumeRefused, match=rf"{home}: is not the disk directory.*mounted\?"):
        read_marker(home, "disk")
    with pytest.raises(VolumeRefused, match=r"\(it does not exist\)"):
        read_marker(home / "gone", "disk")


def test_the_other_tier_is_refused(home: Path) -> None:
    write_marker(home, Marker(VOLUME, "disk"))
    with pytest.raises(VolumeRefused, match=r"holds the disk tier, not the flash tier.*swapped\?"):
        read_marker(home, "flash")


def test_a_newer_format_is_refused(home: Path) -> None:
    damage(home, format=FORMAT + 1)
    with pytest.raises(VolumeRefused, match=f"format {FORMAT + 1} is newer than the {FORMAT}"):
        read_marker(home, "flash")


def test_a_newer_format_is_told_whatever_else_it_holds(home: Path) -> None:
    damage(home, format=FORMAT + 1, volume=None, tier="tape")
    with pytest.raises(VolumeRefused, match="is newer than"):
        read_marker(home, "flash")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"format": 1}',
        b'{"format": "x", "volume": "12345678-1234-4234-8234-123456789abc", "tier": "flash"}',
        b'{"format": 1, "volume": "nothing", "tier": "flash"}',
        b'{"format": 1, "volume": 7, "tier": "flash"}',
        b'{"format": 1, "volume": "12345678-1234-4234-8234-123456789abc", "tier": "tape"}',
        b'{"format": 0, "volume": "12345678-1234-4234-8234-123456789abc", "tier": "flash"}',
        b'{"format": 1, "volume": null, "tier": "flash"}',
        b"[" * 4000,
        b'{"a":' * 700,
        b"[" * 100_000,
        b'{"format": 1e999, "volume": 7, "tier": "flash"}',
        b'{"format": 1' + b"0" * 4000 + b"}",
        b'{"format": 1, "volume": "12345678-1234-4234-8234-123456789abc", "tier": []}',
    ],
)
def test_a_damaged_marker_is_refused_as_damaged(home: Path, text: bytes) -> None:
    (home / MARKER).write_bytes(text)
    with pytest.raises(VolumeRefused, match=f"{home}/{MARKER}: the marker is damaged"):
        read_marker(home, "flash")


def test_a_marker_that_cannot_be_read_is_refused_with_the_reason(home: Path) -> None:
    (home / MARKER).mkdir()
    with pytest.raises(VolumeRefused, match="not a regular file"):
        read_marker(home, "flash")


def test_only_an_empty_directory_can_be_formatted(home: Path) -> None:
    empty = home / "empty"
    with pytest.raises(VolumeRefused, match="does not exist"):
        check_formattable(empty, "flash")
    empty.mkdir()
    check_formattable(empty, "flash")
    (empty / "lost+found").mkdir()
    check_formattable(empty, "flash")
    (empty / "photo.jpg").touch()
    with pytest.raises(VolumeRefused, match=r"is not empty \(it holds 'photo.jpg'\)"):
        check_formattable(empty, "flash")
    with pytest.raises(VolumeRefused, match="is not a directory"):
        check_formattable(empty / "photo.jpg", "flash")


def test_a_directory_of_a_volume_is_not_formatted_again(home: Path) -> None:
    write_marker(home, Marker(VOLUME, "disk"))
    with pytest.raises(VolumeRefused, match="already belongs to a tierfs volume"):
        check_formattable(home, "flash")


def test_one_lock_at_a_time(home: Path) -> None:
    write_marker(home, Marker(VOLUME, "flash"))
    lock = VolumeLock(home)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(
        VolumeBusy, match=rf"in use by another tierfs.* held by process {os.getpid()} \("
    ):
        VolumeLock(home)
    assert len(os.listdir("/proc/self/fd")) == before
    lock.release()
    VolumeLock(home).release()


def test_a_lock_does_not_pass_to_a_child(home: Path) -> None:
    write_marker(home, Marker(VOLUME, "flash"))
    lock = VolumeLock(home)
    assert not os.get_inheritable(lock._fd)
    lock.release()


@pytest.mark.timeout(10)
def test_a_marker_is_a_file(home: Path, tmp_path: Path) -> None:
    """A FIFO would never be read to its end; a link may lead to any file."""
    os.mkfifo(home / MARKER)
    with pytest.raises(VolumeRefused, match="not a regular file"):
        read_marker(home, "flash")
    (home / MARKER).unlink()
    (tmp_path / "elsewhere").mkdir()
    write_marker(tmp_path / "elsewhere", Marker(VOLUME, "flash"))
    (home / MARKER).symlink_to(tmp_path / "elsewhere" / MARKER)
    with pytest.raises(VolumeRefused, match="symbolic link"):
        read_marker(home, "flash")


def test_links_to_the_directory_are_followed(home: Path, tmp_path: Path) -> None:
    write_marker(home, Marker(VOLUME, "flash"))
    (tmp_path / "way").symlink_to(home)
    assert read_marker(tmp_path / "way", "flash").volume == VOLUME


def test_nobody_else_can_lock_a_marker(home: Path) -> None:
    write_marker(home, Marker(VOLUME, "flash"))
    marker = home / MARKER
    assert marker.stat().st_mode & 0o777 == 0o600
    marker.chmod(0o644)  # as older versions made it
    VolumeLock(home).release()
    assert marker.stat().st_mode & 0o777 == 0o600
