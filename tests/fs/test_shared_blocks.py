"""Copies on XFS, which lets files share blocks; a change of one file is none of the other."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fs.calls import file_of, make
from tests.fs.consistency import check, content
from tests.fs.migrating import must, place
from tests.fs.scenarios import pattern
from tests.support.faulty_os import Point
from tests.support.loop_devices import loop_filesystem
from tests.support.volumes import LooseVolume, make_tiers, volume_settings
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.ranges import KEEP_SIZE, PUNCH_HOLE
from tierfs.fs.ranges import COPIED_AT_ONCE
from tierfs.fs.volume import format_volume

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts loop devices")

KIB = 1024
MIB = 1024 * KIB
SIZE = 5 * MIB + 77
DATA = random.Random(1).randbytes(SIZE)
COPYING = ("copy_file_range", "pwrite")


@pytest.fixture(scope="module")
def filesystem(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with loop_filesystem(tmp_path_factory.mktemp("loop"), "xfs") as path:
        yield path


@pytest.fixture
def shared(filesystem: Path, request: pytest.FixtureRequest) -> Iterator[LooseVolume]:
    """A volume with both tiers on one XFS."""
    settings = volume_settings(filesystem / request.node.name.replace("/", "_"), 64 * KIB)
    make_tiers(settings)
    format_volume(settings)
    volume = LooseVolume(settings)
    volume.open()
    try:
        yield volume
    finally:
        volume.close()
        shutil.rmtree(volume.home)


def source_of(volume: LooseVolume) -> int:
    return file_of(volume, DATA, b"source")


def copied(volume: LooseVolume, source: int, offset: int, to: int, length: int) -> list[str]:
    """Copy to ``target`` in one call; returns the labels of its calls on objects."""
    target = volume.find(b"target").ino
    volume.os.clear()
    assert volume.fs.ranges.copy(source, offset, target, to, length) == length
    return [label for label in volume.os.labels if label.endswith((*COPYING, "clone"))]


def test_a_whole_file_is_shared_but_for_its_last_block(shared: LooseVolume) -> None:
    source = source_of(shared)
    make(shared, b"target")
    labels = copied(shared, source, 0, 0, SIZE)
    assert labels == ["flash.clone", "disk.clone", "disk.copy_file_range"]
    assert content(shared, b"target") == DATA
    target = shared.find(b"target")
    assert (target.prefix, target.sparse) == (64 * KIB, 0)
    shared.fs.data.write(target.ino, 64 * KIB - 1, b"ab")
    assert content(shared, b"source") == DATA
    shared.fs.data.write(source, 100 * KIB, b"cd")
    assert content(shared, b"target")[100 * KIB :] == DATA[100 * KIB :]
    shared.fs.data.sync(target.ino)
    shared.reopen()
    check(shared, trimmed=True)


def test_more_than_is_copied_at_once_is_shared_in_one_call(shared: LooseVolume) -> None:
    source = make(shared, b"source").ino
    size = 3 * COPIED_AT_ONCE
    shared.fs.data.truncate(source, size)
    shared.fs.data.write(source, size - 10, b"0123456789")
    target = make(shared, b"target").ino
    done = shared.fs.ranges.copy(source, 0, target, 0, size)
    assert done == COPIED_AT_ONCE  # it is not known yet that blocks can be shared
    assert copied(shared, source, done, done, size - done) == ["disk.clone"]
    assert shared.find(b"target").sparse == 1
    assert shared.fs.attributes.blocks(target, wait=True) == 8
    assert shared.fs.reads.read(target, size - 10, 20) == b"0123456789"


@pytest.mark.parametrize("prefixes", [(0, 64 * KIB), (64 * KIB, 0), (WHOLE_FILE, 64 * KIB)])
def test_each_part_comes_to_its_own_place(shared: LooseVolume, prefixes: tuple[int, int]) -> None:
    source = source_of(shared)
    file_of(shared, pattern(100 * KIB), b"target")
    for name, prefix in zip((b"source", b"target"), prefixes, strict=True):
        if prefix != 64 * KIB:
            must(place(shared, name, prefix, keep_mirror=False))
    copied(shared, source, 0, 0, SIZE)
    assert content(shared, b"target") == DATA
    assert shared.find(b"target").prefix == prefixes[1]
    check(shared)


@pytest.mark.parametrize("offset", [1, 4095, 4096, 64 * KIB - 4096, 64 * KIB + 1])
@pytest.mark.parametrize("to", [0, 1, 4096, 64 * KIB, 200 * KIB])
def test_what_does_not_fit_block_on_block_is_copied(
    shared: LooseVolume, offset: int, to: int
) -> None:
    source = source_of(shared)
    old = pattern(90 * KIB)
    file_of(shared, old, b"target")
    length = 300 * KIB + 5
    labels = copied(shared, source, offset, to, length)
    assert any("clone" in label for label in labels) == (offset % 4096 == to % 4096)
    expected = bytearray(old.ljust(to + length, b"\0"))
    expected[to : to + length] = DATA[offset : offset + length]
    assert content(shared, b"target") == bytes(expected)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.EIO])
def test_where_blocks_cannot_be_shared_bytes_are_copied(shared: LooseVolume, code: int) -> None:
    source = source_of(shared)
    target = make(shared, b"target").ino
    shared.os.clear()
    shared.os.fail(Point("flash.clone"), code)
    shared.os.fail(Point("disk.clone"), code)
    shared.os.fail(Point("disk.copy_file_range"), code)
    assert shared.fs.ranges.copy(source, 0, target, 0, SIZE) == SIZE
    assert content(shared, b"target") == DATA


def test_shared_blocks_are_punched_in_one_file_alone(shared: LooseVolume) -> None:
    source = source_of(shared)
    target = make(shared, b"target").ino
    copied(shared, source, 0, 0, SIZE)
    shared.fs.ranges.fallocate(source, 0, SIZE, PUNCH_HOLE | KEEP_SIZE)
    assert content(shared, b"target") == DATA
    shared.fs.names.unlink(1, b"source")
    shared.fs.names.forget(source)
    shared.fs.reclaimer.drain()
    assert shared.fs.reads.read(target, 0, SIZE) == DATA
