"""Where the bytes lie: heads on flash, tails on disk, no byte on both."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import HEAD, Mount
from tests.support.proc import wait_until


def fill(path: Path, size: int) -> bytes:
    data = random.Random(size).randbytes(size)
    path.write_bytes(data)
    return data


def allocated_below(path: Path, end: int) -> bool:
    """Whether the file has a data block before `end`."""
    with path.open("rb") as file:
        try:
            return os.lseek(file.fileno(), 0, os.SEEK_DATA) < end
        except OSError:  # no data at all
            return False


@pytest.mark.parametrize("size", [1, HEAD - 1, HEAD])
def test_small_file_is_on_flash_alone(mounted: Mount, size: int) -> None:
    data = fill(mounted.path / "file", size)
    inode = (mounted.path / "file").stat().st_ino
    assert mounted.flash_object(inode).read_bytes() == data
    assert not mounted.disk_object(inode).exists()


@pytest.mark.parametrize("size", [HEAD + 1, 10 * HEAD + 7])
def test_large_file_is_split_at_the_head(mounted: Mount, size: int) -> None:
    data = fill(mounted.path / "file", size)
    inode = (mounted.path / "file").stat().st_ino
    assert mounted.flash_object(inode).read_bytes() == data[:HEAD]
    tail = mounted.disk_object(inode)
    assert tail.read_bytes()[HEAD:] == data[HEAD:]
    assert not allocated_below(tail, HEAD)


def test_every_head_of_a_tree_fits(mounted: Mount) -> None:
    sizes = {f"file-{number}": number * 9_000 for number in range(40)}
    for name, size in sizes.items():
        fill(mounted.path / name, size)
    for name, size in sizes.items():
        inode = (mounted.path / name).stat().st_ino
        head = mounted.flash_object(inode)
        assert (head.stat().st_size if head.exists() else 0) == min(size, HEAD)
        assert mounted.disk_object(inode).exists() == (size > HEAD)


def test_head_size_of_the_volume_counts(make_mount: MakeMount) -> None:
    mount = make_mount(head=8192)
    data = fill(mount.path / "file", 20_000)
    inode = (mount.path / "file").stat().st_ino
    assert mount.flash_object(inode).read_bytes() == data[:8192]
    assert os.getxattr(mount.path / "file", "tierfs.prefix") == b"8192"


def test_removed_file_frees_both_tiers(mounted: Mount) -> None:
    fill(mounted.path / "file", 4 * HEAD)
    inode = (mounted.path / "file").stat().st_ino
    (mounted.path / "file").unlink()
    mounted.remount()
    assert not mounted.flash_object(inode).exists()
    assert not mounted.disk_object(inode).exists()


def test_cut_file_gives_its_tail_back(mounted: Mount) -> None:
    data = fill(mounted.path / "file", 4 * HEAD)
    inode = (mounted.path / "file").stat().st_ino
    os.truncate(mounted.path / "file", HEAD // 2)
    # Freed in the background, once the index that says so is durable.
    tail = mounted.disk_object(inode)
    wait_until(lambda: not tail.exists() or tail.stat().st_blocks == 0, what="the tail is freed")
    os.truncate(mounted.path / "file", 2 * HEAD)
    assert (mounted.path / "file").read_bytes() == data[: HEAD // 2] + bytes(2 * HEAD - HEAD // 2)
