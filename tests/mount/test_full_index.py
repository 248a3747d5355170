"""The index's filesystem is full: what is there can be removed, and nothing is called damaged."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.filesystems import fill, memory_filesystem
from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, tierfs
from tests.support.proc import as_root, run

FILES = 200


@pytest.fixture
def flash(scratch: Path) -> Iterator[Path]:
    """A filesystem of 40 MiB."""
    with memory_filesystem(scratch / "flash", 40) as path:
        yield path


@pytest.fixture
def full(flash: Path, make_mount: MakeMount) -> Iterator[Mount]:
    """A mounted volume with files, on whose flash a stranger has taken what was left."""
    mount = make_mount(flash=flash / "tier")
    (mount.path / "d").mkdir()
    for number in range(FILES):
        (mount.path / "d" / f"{number}").write_bytes(b"x" * 20_000)
    fill(flash)
    yield mount
    mount.abort()


def make_until_full(mount: Mount) -> int:
    """Make empty files with long names until the index may not grow; returns how many."""
    for number in range(20_000):
        try:
            (mount.path / "d" / f"{number:0250}").touch()
        except OSError as exc:
            if exc.errno != errno.ENOSPC:
                raise
            return number
    raise AssertionError("the index was never full")


def remove_everything(mount: Mount, flash: Path) -> int:
    """Remove all files, while a stranger takes what becomes free; returns how many there were."""
    names = os.listdir(mount.path / "d")
    for number, name in enumerate(names):
        if number % 50 == 0:
            fill(flash)
        (mount.path / "d" / name).unlink()
    (mount.path / "d").rmdir()
    return len(names)


def test_everything_can_be_removed(full: Mount, flash: Path) -> None:
    made = make_until_full(full)
    fill(flash)
    os.truncate(full.path / "d" / "0", 10)
    (full.path / "d" / "1").rename(full.path / "d" / "2")
    assert remove_everything(full, flash) == FILES - 1 + made
    assert os.listdir(full.path) == []


@pytest.mark.parametrize("end", ["unmounted", "killed"])
def test_a_full_volume_is_sound_and_can_be_mounted(full: Mount, flash: Path, end: str) -> None:
    make_until_full(full)
    if end == "killed":
        full.kill()
        run(as_root("umount", "-l", full.path), timeout=20)
    else:
        full.unmount()
    fill(flash)
    assert "Nothing is wrong." in tierfs("fsck", full.volume_file)
    full.mount()
    remove_everything(full, flash)
    (flash / "stranger").unlink()
    (full.path / "new").write_bytes(b"there is room again")
    full.unmount()
    assert "Nothing is wrong." in tierfs("fsck", full.volume_file)
