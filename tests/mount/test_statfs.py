"""What df and statvfs(3) say about a mount."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.support.filesystems import MEBIBYTE, memory_filesystem
from tests.support.fixtures import directory
from tests.support.mounting import Mount
from tests.support.proc import run

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """A volume of 16 MiB of flash and 64 MiB of disk."""
    with (
        directory(tmp_path_factory.mktemp("statfs")) as home,
        memory_filesystem(home / "flash", 16) as flash,
        memory_filesystem(home / "disk", 64) as disk,
        contextlib.closing(Mount(home, flash=flash, disk=disk)) as mount,
    ):
        mount.mount()
        yield mount


def available(mount: Mount) -> int:
    facts = os.statvfs(mount.path)
    return facts.f_bavail * facts.f_frsize


def test_capacity_is_that_of_the_tiers(mount: Mount) -> None:
    facts = os.statvfs(mount.path)
    assert 64 * MEBIBYTE <= facts.f_blocks * facts.f_frsize <= 80 * MEBIBYTE
    assert facts.f_bavail <= facts.f_bfree <= facts.f_blocks
    assert facts.f_namemax == 255


def test_written_bytes_are_used_bytes(mount: Mount) -> None:
    before = available(mount)
    (mount.path / "file").write_bytes(b"x" * 20 * MEBIBYTE)
    assert 19 * MEBIBYTE <= before - available(mount) <= 22 * MEBIBYTE


def test_there_is_room_for_files(mount: Mount) -> None:
    facts = os.statvfs(mount.path)
    assert 0 < facts.f_favail <= facts.f_ffree <= facts.f_files


def test_df_shows_the_mount(mount: Mount) -> None:
    shown = run(["df", "--output=fstype,size,avail,target", "-B1", mount.path]).stdout
    kind, size, free, target = shown.splitlines()[1].split()
    assert kind == "fuse.tierfs"
    assert 0 < int(free) <= int(size)
    assert target == str(mount.path)
