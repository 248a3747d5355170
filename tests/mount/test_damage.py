"""An object that is missing or too short spoils one file, never its neighbours or the mount."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.exporter import scrape
from tests.support.mounting import HEAD, Mount

HURT, SOUND = "folder/hurt image", "folder/sound image"
DATA = b"0123456789abcdef" * (HEAD // 4)
"""Four heads of data."""


def remove(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


@pytest.fixture
def mount(mounted: Mount) -> Mount:
    """A mount with two files, neither of which any cache knows."""
    (mounted.path / "folder").mkdir()
    for name in (HURT, SOUND):
        (mounted.path / name).write_bytes(DATA)
    mounted.remount()
    return mounted


@pytest.mark.parametrize("tier", ["flash", "disk"])
@pytest.mark.parametrize("harm", [remove, shorten])
def test_damage_stays_with_its_file(mount: Mount, tier: str, harm: Callable[[Path], None]) -> None:
    inode = (mount.path / HURT).stat().st_ino
    harm(mount.flash_object(inode) if tier == "flash" else mount.disk_object(inode))
    mount.log.allow(rf"\b{inode}\b")
    with pytest.raises(OSError, match="Input/output error") as failed:
        (mount.path / HURT).read_bytes()
    assert failed.value.errno == errno.EIO
    assert (mount.path / SOUND).read_bytes() == DATA
    assert (mount.path / HURT).stat().st_size == len(DATA)
    assert logged(mount, inode)
    assert scrape(mount)["tierfs_damage_total"] >= 1


def test_undamaged_half_can_still_be_read(mount: Mount) -> None:
    inode = (mount.path / HURT).stat().st_ino
    mount.disk_object(inode).unlink()
    mount.log.allow(rf"\b{inode}\b")
    with (mount.path / HURT).open("rb", buffering=0) as file:
        assert os.pread(file.fileno(), 4096, 0) == DATA[:4096]


def test_damaged_file_can_be_removed_and_written_anew(mount: Mount) -> None:
    inode = (mount.path / HURT).stat().st_ino
    mount.flash_object(inode).unlink()
    mount.disk_object(inode).unlink()
    (mount.path / HURT).unlink()
    (mount.path / HURT).write_bytes(DATA[::-1])
    mount.remount()
    assert (mount.path / HURT).read_bytes() == DATA[::-1]


def logged(mount: Mount, inode: int) -> bool:
    """Whether one line of the log names both the inode and the path."""
    lines = mount.log.text().splitlines()
    return any(re.search(rf"\b{inode}\b", line) and HURT in line for line in lines)
