from __future__ import annotations

import errno
from typing import cast

import pytest

from tests.fs.calls import file_of, make
from tests.fs.consistency import check
from tests.fs.scenarios import HEAD, pattern
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.fs.allocation import MIB, SPACE_VALID_S, Allocator, Limits, is_short, reserve, share
from tierfs.policy.model import Mark
from tierfs.storage.objects import ObjectStore, Space

GIB = 1024 * MIB
DATA = pattern(10_000)


@pytest.mark.parametrize(
    ("capacity", "kept"),
    [(0, 0), (20 * MIB, 10 * MIB), (100 * MIB, 16 * MIB), (GIB, GIB // 20), (100 * GIB, GIB)],
)
def test_the_reserve(capacity: int, kept: int) -> None:
    assert reserve(capacity) == kept


@pytest.mark.parametrize(
    ("space", "short"),
    [
        (Space(100 * GIB, GIB, GIB, 1000, 500), False),
        (Space(100 * GIB, GIB, GIB - 1, 1000, 500), True),
        (Space(100 * GIB, 50 * GIB, 50 * GIB, 1000, 0), True),
        (Space(100 * GIB, 50 * GIB, 50 * GIB, 1000, 11), False),
        (Space(100 * GIB, 50 * GIB, 50 * GIB, 1000, 10), True),  # 1 % is kept
        (Space(100 * GIB, 50 * GIB, 50 * GIB, 0, 0), False),  # btrfs counts no inodes
    ],
)
def test_when_flash_is_short(space: Space, *, short: bool) -> None:
    assert is_short(space, Limits(HEAD)) == short


def test_the_filesystem_is_asked_now_and_then(small: LooseVolume) -> None:
    now = [0.0]
    allocator = Allocator(HEAD, small.volume._flash, lambda: now[0])
    small.os.clear()
    for step in range(100):
        now[0] = step * SPACE_VALID_S / 10
        assert allocator.fit(HEAD) == HEAD
    assert 9 <= small.os.labels.count("flash.statvfs") <= 11


class Shrinking:
    """A flash directory that says how much room there is, and how much less the next time."""

    def __init__(self, *left: tuple[int, int]) -> None:
        self._left = iter(left)
        self.asked = 0

    def space(self) -> Space:
        self.asked += 1
        available, files = next(self._left)
        return Space(GIB, available, reserve(GIB) + available, 1000, 10 + files)


@pytest.mark.parametrize("room", [(3 * HEAD, 500), (500 * HEAD, 3)], ids=["bytes", "inodes"])
def test_what_was_given_counts_as_taken_before_the_filesystem_is_asked_again(
    room: tuple[int, int],
) -> None:
    flash = Shrinking(room, (-1, 500))
    allocator = Allocator(HEAD, cast("ObjectStore", flash), lambda: 0.0)
    assert [allocator.fit(HEAD) for _ in range(5)] == [HEAD, HEAD, HEAD, 0, 0]
    assert flash.asked == 2


def full(volume: LooseVolume) -> None:
    """Make flash answer ENOSPC to every write, as a full filesystem does."""
    volume.os.full = {"flash.pwrite", "flash.mkdir"}


def test_the_first_bytes_go_to_disk_when_flash_is_short(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    ino = make(small, b"file").ino
    monkeypatch.setattr(Allocator, "fit", lambda _self, _prefix: 0)
    small.os.clear()
    small.fs.data.write(ino, 0, DATA)
    assert not any(label.startswith("flash.p") for label in small.os.labels)
    assert small.fs.attributes.get(ino).prefix == 0
    assert small.fs.reads.read(ino, 0, 10**6) == DATA
    assert not small.flash_object(ino).exists()


def test_a_full_flash_fails_no_write(volume: LooseVolume) -> None:
    data = pattern(2 * volume.head + 10)
    full(volume)
    ino = file_of(volume, data)
    assert volume.fs.reads.read(ino, 0, 10**6) == data
    assert volume.disk_object(ino).read_bytes() == data
    assert not volume.flash_object(ino).exists()
    assert volume.fs.attributes.get(ino).prefix == 0
    check(volume)


def test_a_file_that_outgrows_flash_moves_to_disk_whole(small: LooseVolume) -> None:
    ino = file_of(small, DATA[:2000])
    full(small)
    small.fs.data.write(ino, 2000, DATA[2000:])
    assert small.disk_object(ino).read_bytes() == DATA
    assert not small.flash_object(ino).exists()
    moved = small.metrics.registry.get_sample_value(
        "tierfs_moved_bytes_total", {"source": "flash", "target": "disk"}
    )
    assert moved == 2000


def test_a_move_syncs_the_copy_and_the_index_before_it_frees(small: LooseVolume) -> None:
    ino = file_of(small, DATA[:2000])
    small.os.clear()
    full(small)
    small.fs.data.write(ino, 1000, b"new")
    steps = ("disk.pwrite", "disk.fdatasync", "index.commit", "index.sync", "flash.unlink")
    order = [label for label in small.os.labels if label in steps]
    first = order.index("disk.pwrite")
    expected = ["disk.pwrite", "disk.fdatasync", "index.commit", "index.sync", "flash.unlink"]
    assert order[first : first + 5] == expected


def test_a_moved_file_can_be_emptied_and_goes_on_there(small: LooseVolume) -> None:
    full(small)
    ino = file_of(small, DATA)
    small.os.full = ()
    small.fs.data.truncate(ino, 0)
    small.fs.data.write(ino, 0, DATA[::-1])
    assert small.fs.reads.read(ino, 0, 10**6) == DATA[::-1]
    small.reopen()
    check(small, trimmed=True)


def test_a_full_disk_is_enospc_and_what_was_there_is_intact(small: LooseVolume) -> None:
    ino = file_of(small, DATA)
    small.os.full = {"disk.pwrite"}
    with pytest.raises(OSError, match="No space left") as failed:
        small.fs.data.write(ino, 9_000, pattern(5000, 1))
    assert failed.value.errno == errno.ENOSPC
    small.os.full = ()
    assert small.fs.reads.read(ino, 0, 10**6) == DATA
    small.reopen()
    check(small, trimmed=True)


def test_both_full_is_enospc_and_what_was_there_is_intact(small: LooseVolume) -> None:
    ino = file_of(small, DATA[:2000])
    small.os.full = {"flash.pwrite", "disk.pwrite"}
    with pytest.raises(OSError, match="No space left"):
        small.fs.data.write(ino, 2000, b"more")
    small.os.full = ()
    assert small.fs.reads.read(ino, 0, 10**6) == DATA[:2000]
    check(small)


def test_flash_without_inodes_is_full_too(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    small.os.clear()
    small.os.fail(Point("flash.open", 1), errno.ENOSPC)
    small.os.fail(Point("flash.open", 2), errno.ENOSPC)
    small.fs.data.write(ino, 0, DATA)
    assert small.fs.reads.read(ino, 0, 10**6) == DATA


def test_a_quota_is_a_full_flash_too(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    small.os.clear()
    small.os.fail(Point("flash.pwrite"), errno.EDQUOT)
    small.fs.data.write(ino, 0, DATA)
    assert small.disk_object(ino).read_bytes() == DATA


@pytest.mark.parametrize(
    ("limits", "available", "short"),
    [
        (Limits(HEAD, reserve=5 * GIB), 5 * GIB, False),
        (Limits(HEAD, reserve=5 * GIB), 5 * GIB - 1, True),
        (Limits(HEAD, reserve=500 * GIB), 50 * GIB, False),  # half is the most that is kept back
        (Limits(HEAD, high_watermark=Mark(80.0)), 20 * GIB, False),
        (Limits(HEAD, high_watermark=Mark(80.0)), 20 * GIB - 1, True),
        (Limits(HEAD, reserve=0, high_watermark=Mark(100.0)), 0, False),
    ],
)
def test_limits_of_a_policy(limits: Limits, available: int, *, short: bool) -> None:
    assert is_short(Space(100 * GIB, available, available, 1000, 500), limits) == short


def test_inodes_have_the_high_watermark_as_bytes_have() -> None:
    limits = Limits(HEAD, high_watermark=Mark(80.0))
    left = [Space(100 * GIB, 50 * GIB, 50 * GIB, 1000, free) for free in (201, 200)]
    assert [is_short(space, limits) for space in left] == [False, True]
    assert not is_short(left[1], limits, files=0)


def test_other_limits_hold_from_now_on(small: LooseVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    before = make(small, b"before")
    small.fs.data.write(before.ino, 0, DATA)
    half = Space(100 * GIB, 50 * GIB, 50 * GIB, 1000, 500)
    monkeypatch.setattr(small.volume._flash, "space", lambda: half)
    small.fs.allocator.limits(Limits(2 * HEAD))
    small.fs.data.write(made := make(small, b"roomy").ino, 0, DATA)
    small.fs.allocator.limits(Limits(2 * HEAD, high_watermark=Mark(40.0)))
    small.fs.data.write(full := make(small, b"full").ino, 0, DATA)
    prefixes = [small.fs.attributes.get(ino).prefix for ino in (before.ino, made, full)]
    assert prefixes == [HEAD, 2 * HEAD, 0]
    check(small)


SHARED = Limits(HEAD, reserve=GIB, high_watermark=Mark(80.0), capacity=100 * GIB)


@pytest.mark.parametrize(
    ("available", "own", "used"),
    [
        (500 * GIB, 0, 0),
        (500 * GIB, 70 * GIB, 70 * GIB),  # its own bytes count, whatever others take
        (500 * GIB, 120 * GIB, 100 * GIB),
        (22 * GIB, 70 * GIB, 70 * GIB),
        (GIB, 70 * GIB, 80 * GIB),  # others leave the reserve: at the high mark
        (0, 70 * GIB, 81 * GIB),
        (0, 0, 81 * GIB),
    ],
)
def test_a_share_of_flash(available: int, own: int, used: int) -> None:
    space = share(Space(1000 * GIB, available, available, 1000, 500), own, SHARED)
    assert (space.capacity, space.capacity - space.available) == (100 * GIB, used)
    assert is_short(space, SHARED) == (used > 80 * GIB)


def test_a_capacity_beyond_the_filesystem_is_that_of_the_filesystem() -> None:
    space = share(Space(50 * GIB, 20 * GIB, 20 * GIB, 1000, 10), 10 * GIB, SHARED)
    assert space.capacity == 50 * GIB


def test_own_bytes_are_counted_against_the_capacity(small: LooseVolume) -> None:
    small.fs.allocator.limits(Limits(HEAD, reserve=0, high_watermark=Mark(50.0), capacity=4 * HEAD))
    for name in (b"a", b"b"):
        file_of(small, bytes(HEAD), name)
    assert small.fs.allocator.space().available == 2 * HEAD
    assert small.fs.allocator.has_room(2 * HEAD, files=0)
    assert not small.fs.allocator.has_room(2 * HEAD + 1, files=0)


def test_flash_that_gets_full_with_the_first_write_keeps_nothing_of_it(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is known to be short by the time that the bytes are tried again."""
    ino = make(small, b"file").ino
    room = iter([small.head])
    monkeypatch.setattr(small.fs.data._allocator, "fit", lambda _: next(room, 0))
    small.os.write_short(Point("flash.pwrite", 0), 100)
    small.os.fail(Point("flash.pwrite", 1), errno.ENOSPC)
    small.os.fail(Point("flash.pwrite", 2), errno.ENOSPC)
    small.fs.data.write(ino, 0, b"x" * 1000)
    assert small.fs.reads.read(ino, 0, 2000) == b"x" * 1000
    assert small.index.inodes.get(ino).prefix == 0
    assert not small.flash_object(ino).exists()
