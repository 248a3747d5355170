"""What a file takes on its filesystems, st_blocks of stat(2), where it has holes."""

from __future__ import annotations

import pytest

from tests.fs.calls import DIRECTORY, SYMLINK, file_of, make
from tests.fs.scenarios import HEAD, pattern
from tests.support.volumes import LooseVolume
from tierfs.common.extents import skips_block
from tierfs.fs.attributes import Changes
from tierfs.fs.locks import WouldBlock
from tierfs.metadata.inodes import ROOT

MIB = 1024 * 1024


def sparse(volume: LooseVolume, ino: int) -> int:
    return volume.fs.attributes.get(ino).sparse


def blocks(volume: LooseVolume, ino: int) -> int:
    return volume.fs.attributes.blocks(ino, wait=True)


@pytest.mark.parametrize(
    ("size", "offset", "length", "new_size", "skips"),
    [
        (0, 0, 1, 1, False),
        (0, 4095, 1, 4096, False),
        (0, 4096, 1, 4097, True),
        (1, 8191, 1, 8192, False),
        (4096, 4096, 10, 4106, False),
        (4097, 8191, 1, 8192, False),
        (4097, 8192, 1, 8193, False),
        (4097, 12288, 1, 12289, True),
        (10_000, 5, 3, 10_000, False),
        (0, 0, 0, 1, True),
        (1, 1, 0, 4096, False),
        (1, 1, 0, 4097, True),
        (4096, 4096, 0, 4097, True),
    ],
)
def test_which_change_leaves_a_block_out(
    size: int, offset: int, length: int, new_size: int, *, skips: bool
) -> None:
    assert skips_block(size, offset, length, new_size) is skips


def test_a_file_without_a_hole_is_counted_from_its_size(small: LooseVolume) -> None:
    for size in (0, 1, HEAD, HEAD + 1, 5 * HEAD):
        ino = file_of(small, pattern(size), b"%d" % size)
        small.os.clear()
        assert small.fs.attributes.blocks(ino, wait=False) == -(-size // 4096) * 8
        assert small.os.labels == []
    assert small.fs.attributes.blocks(ROOT, wait=False) == 8
    assert small.fs.attributes.blocks(make(small, b"dir", DIRECTORY).ino, wait=False) == 8
    assert small.fs.attributes.blocks(make(small, b"link", SYMLINK).ino, wait=False) == 0


def test_holes_count_nothing(small: LooseVolume) -> None:
    ino = file_of(small, b"head")
    small.fs.data.write(ino, 10 * MIB, b"tail")
    assert blocks(small, ino) == 8 + 8
    small.fs.data.truncate(ino, 20 * MIB)
    assert blocks(small, ino) == 8 + 8
    small.fs.data.write(ino, MIB, bytes(MIB))
    assert blocks(small, ino) == 8 + 8 + 2048
    small.reopen()
    assert blocks(small, ino) == 8 + 8 + 2048


def test_a_filled_hole_counts_as_bytes(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    small.fs.data.truncate(ino, 3 * HEAD)
    assert blocks(small, ino) == 0
    small.fs.data.write(ino, 0, pattern(3 * HEAD))
    assert blocks(small, ino) == 3 * HEAD // 512


def test_never_more_than_the_size_says(small: LooseVolume) -> None:
    """What was cut off waits to be freed; what a crash left behind the end is nobody's."""
    ino = make(small, b"file").ino
    small.fs.data.truncate(ino, MIB)
    small.fs.data.write(ino, 0, bytes(MIB))
    small.fs.data.truncate(ino, HEAD + 1)
    assert small.disk_object(ino).stat().st_size == MIB
    assert blocks(small, ino) == (HEAD + 4096) // 512


def test_a_lost_object_counts_nothing(small: LooseVolume) -> None:
    ino = file_of(small, pattern(HEAD))
    small.fs.data.write(ino, 10 * MIB, b"tail")
    small.disk_object(ino).unlink()
    assert blocks(small, ino) == HEAD // 512
    small.flash_object(ino).unlink()
    assert blocks(small, ino) == 0


def test_a_hole_is_remembered_until_nothing_is_left(small: LooseVolume) -> None:
    ino = file_of(small, pattern(HEAD))
    assert sparse(small, ino) == 0
    small.fs.data.write(ino, 3 * HEAD, b"tail")
    assert sparse(small, ino) == 1
    small.fs.data.write(ino, HEAD, pattern(2 * HEAD))
    small.fs.data.truncate(ino, 1)
    small.fs.attributes.set(ino, Changes(mode=0o600))
    small.reopen()
    assert sparse(small, ino) == 1
    small.fs.data.truncate(ino, 0)
    assert sparse(small, ino) == 0
    small.fs.data.truncate(ino, HEAD)
    assert sparse(small, ino) == 1


def test_a_hole_behind_a_tail_that_is_open_is_remembered(small: LooseVolume) -> None:
    ino = file_of(small, pattern(2 * HEAD))
    small.fs.data.write(ino, 2 * HEAD, b"more")
    assert sparse(small, ino) == 0
    small.fs.data.write(ino, 10 * MIB, b"tail")
    assert sparse(small, ino) == 1
    assert blocks(small, ino) == 2 * HEAD // 512 + 8 + 8


def test_a_hole_that_spills_is_remembered(small: LooseVolume) -> None:
    ino = file_of(small, pattern(100))
    small.os.full = ("flash.ftruncate",)
    small.fs.data.write(ino, 10 * HEAD, b"tail")
    row = small.fs.attributes.get(ino)
    assert (row.prefix, row.sparse) == (0, 1)
    assert blocks(small, ino) == 8 + 8


def test_the_disk_is_asked_where_one_may_wait(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    small.fs.data.truncate(ino, MIB)
    small.os.clear()
    with pytest.raises(WouldBlock):
        small.fs.attributes.blocks(ino, wait=False)
    assert small.os.labels == []
    assert blocks(small, ino) == 0
    assert small.os.labels == ["flash.stat", "disk.stat", "disk.open", "disk.lseek"]
