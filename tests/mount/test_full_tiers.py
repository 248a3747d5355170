"""A full flash never fails a write; a full disk does, and harms nothing that was there."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.filesystems import MEBIBYTE, memory_filesystem, used
from tests.support.fixtures import MakeMount
from tests.support.mounting import HEAD, Mount
from tests.support.proc import wait_until

IMAGE = HEAD + 4096
"""Bytes of each file that is written: a head and a tail."""

HUGE = bytes(range(256)) * (240 * 1024)
"""60 MiB, more than disk has room for."""

IMAGES = 700
"""Files that are written; their heads are 44 MiB, more than flash has room for."""


@pytest.fixture
def tiers(scratch: Path) -> Iterator[tuple[Path, Path]]:
    """A flash and a disk of 40 and 48 MiB; such a flash has 24 MiB for heads."""
    with (
        memory_filesystem(scratch / "small-flash", 40) as flash,
        memory_filesystem(scratch / "small-disk", 48) as disk,
    ):
        yield flash, disk


@pytest.fixture
def mount(tiers: tuple[Path, Path], make_mount: MakeMount) -> Mount:
    """A volume whose index, as by default, is on flash."""
    flash, disk = tiers
    return make_mount(flash=flash, disk=disk)


def image(number: int) -> bytes:
    return f"{number:08}".encode() * (IMAGE // 8)


def write_images(mount: Mount, count: int, *, first: int = 0) -> None:
    for number in range(first, first + count):
        (mount.path / f"image-{number}").write_bytes(image(number))


def assert_images(mount: Mount, count: int) -> None:
    for number in range(count):
        assert (mount.path / f"image-{number}").read_bytes() == image(number), number


def test_full_flash_sends_bytes_to_disk(mount: Mount) -> None:
    write_images(mount, IMAGES)
    assert_images(mount, IMAGES)
    locations = {os.getxattr(mount.path / f"image-{n}", "tierfs.location") for n in range(IMAGES)}
    assert locations == {b"split", b"disk"}
    mount.remount()
    assert_images(mount, IMAGES)


def test_metadata_can_change_while_flash_is_full(mount: Mount) -> None:
    """The index lives on flash, too, and must not be squeezed out by heads."""
    write_images(mount, IMAGES)
    for number in range(IMAGES):
        os.setxattr(mount.path / f"image-{number}", "user.label", b"x" * 200)
    for number in range(IMAGES):
        (mount.path / f"image-{number}").rename(mount.path / f"renamed-{number}")
    mount.remount()
    assert len(list(mount.path.iterdir())) == IMAGES
    assert os.getxattr(mount.path / "renamed-199", "user.label") == b"x" * 200


def test_file_grows_while_flash_is_full(mount: Mount) -> None:
    (mount.path / "log").write_bytes(b"first line\n")
    write_images(mount, IMAGES)
    with (mount.path / "log").open("ab") as log:
        for _ in range(100):
            log.write(b"y" * 1000)
    assert (mount.path / "log").read_bytes() == b"first line\n" + b"y" * 100_000


def test_flash_taken_by_somebody_else(
    tiers: tuple[Path, Path], make_mount: MakeMount, scratch: Path
) -> None:
    """Other data may fill the filesystem of the heads, as long as it is not that of the index."""
    mount = make_mount(flash=tiers[0], disk=tiers[1], index=scratch / "index.db")
    write_images(mount, 20)
    fill(mount.flash / "not-ours")
    assert_images(mount, 20)
    with (mount.path / "image-3").open("r+b") as file:
        file.write(image(3)[:100])
    write_images(mount, 20, first=20)
    (mount.flash / "not-ours").unlink()
    mount.remount()
    assert_images(mount, 40)


def fill(path: Path) -> None:
    """Take all the space there is."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as other:
        while True:
            other.write(bytes(MEBIBYTE))


def test_full_disk_gives_enospc_and_keeps_what_was_there(mount: Mount) -> None:
    write_images(mount, 20)
    mount.log.allow("No space left on device")
    with pytest.raises(OSError, match="No space left") as full:
        (mount.path / "huge").write_bytes(HUGE)
    assert full.value.errno == errno.ENOSPC
    assert_images(mount, 20)
    mount.remount()
    assert_images(mount, 20)


def test_space_comes_back_when_the_big_file_goes(mount: Mount) -> None:
    mount.log.allow("No space left on device")
    with pytest.raises(OSError, match="No space left"):
        (mount.path / "huge").write_bytes(HUGE)
    (mount.path / "huge").unlink()
    wait_until(lambda: used(mount.disk) < MEBIBYTE, what="the tail is removed")
    write_images(mount, 20)
    assert_images(mount, 20)


def test_stores_to_a_mapping_that_find_no_room(mount: Mount) -> None:
    """The kernel tells of them at msync(2) and fsync(2), and not at the store."""
    mount.log.allow("No space left on device")
    file = mount.path / "mapped"
    with file.open("w+b") as mapped:
        mapped.truncate(len(HUGE))
        with mmap.mmap(mapped.fileno(), len(HUGE)) as mapping:
            for start in range(0, len(HUGE), MEBIBYTE):
                mapping[start : start + MEBIBYTE] = HUGE[:MEBIBYTE]
            with pytest.raises(OSError, match="No space left") as full:
                mapping.flush()
            assert full.value.errno == errno.ENOSPC
    mount.remount()
    left = file.read_bytes()
    assert len(left) == len(HUGE)
    pages = {left[at : at + mmap.PAGESIZE] for at in range(0, len(left), mmap.PAGESIZE)}
    assert pages == {HUGE[: mmap.PAGESIZE], bytes(mmap.PAGESIZE)}, "some are a hole still"
