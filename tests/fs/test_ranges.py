"""fallocate, lseek and copy_file_range, compared with a file of the filesystem below."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fs.calls import DIRECTORY, fails, file_of, make
from tests.fs.consistency import check, content
from tests.fs.migrating import mirror, must, place
from tests.fs.scenarios import HEAD, PUNCH, pattern
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Point
from tests.support.proc import run
from tests.support.volumes import LooseVolume, volume_settings
from tierfs.common.errors import FsError
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.ranges import KEEP_SIZE, ZERO_RANGE, fallocate
from tierfs.fs.locks import WouldBlock
from tierfs.fs.ranges import COPIED_AT_ONCE
from tierfs.metadata.inodes import ROOT

MIB = 1024 * 1024
MAX = 2**62
EDGES = (0, 1, HEAD - 1, HEAD, HEAD + 1, 3 * HEAD - 1, 3 * HEAD, 5 * HEAD + 7)
MODES = (0, KEEP_SIZE, PUNCH, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE)


class Pair:
    """A file of the volume, and one below that everything is done to as well."""

    def __init__(self, volume: LooseVolume, name: bytes, home: Path) -> None:
        self.volume = volume
        self.ino = make(volume, name).ino
        self.native = os.open(home / os.fsdecode(name), os.O_RDWR | os.O_CREAT, 0o600)

    def write(self, offset: int, data: bytes) -> None:
        self.volume.fs.data.write(self.ino, offset, data)
        os.pwrite(self.native, data, offset)

    def truncate(self, size: int) -> None:
        self.volume.fs.data.truncate(self.ino, size)
        os.ftruncate(self.native, size)

    def fallocate(self, offset: int, length: int, mode: int) -> None:
        self.volume.fs.ranges.fallocate(self.ino, offset, length, mode)
        if mode & ZERO_RANGE:  # which tmpfs has not
            end = self.size if mode & KEEP_SIZE else MAX
            if offset < min(end, self.size):
                fallocate(self.native, PUNCH, offset, min(length, end - offset))
        fallocate(self.native, mode & ~ZERO_RANGE if mode != PUNCH else mode, offset, length)

    def copy(self, offset: int, target: Pair, to: int, length: int) -> None:
        done = self.volume.fs.ranges.copy(self.ino, offset, target.ino, to, length)
        data = os.pread(self.native, length, offset)
        assert done == len(data)
        os.pwrite(target.native, data, to)

    @property
    def size(self) -> int:
        return os.fstat(self.native).st_size

    def seek(self, offset: int, whence: int) -> int:
        try:
            return self.volume.fs.ranges.seek(self.ino, offset, whence)
        except FsError as exc:
            return -exc.errno

    def native_seek(self, offset: int, whence: int) -> int:
        try:
            return os.lseek(self.native, offset, whence)
        except OSError as exc:
            return -(exc.errno or 0)

    def check(self, *, holes: bool) -> None:
        """``holes``: they are where the file below has them."""
        found = self.volume.fs.reads.read(self.ino, 0, self.size + 10)
        assert found == os.pread(self.native, self.size + 10, 0)
        assert self.volume.fs.attributes.get(self.ino).size == self.size
        for edge in (*EDGES, self.size - 1, self.size, self.size + 1) if holes else ():
            for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                wanted = self.native_seek(edge, whence)
                assert self.seek(edge, whence) == wanted, (edge, whence)


@pytest.fixture
def pairs(small: LooseVolume, home: Path) -> Iterator[list[Pair]]:
    """Two empty files."""
    made = [Pair(small, name, home) for name in (b"one", b"two")]
    yield made
    for pair in made:
        os.close(pair.native)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [0, 100, HEAD, HEAD + 1, 4 * HEAD + 5])
def test_each_mode_at_each_edge(pairs: list[Pair], mode: int, size: int) -> None:
    pair = pairs[0]
    for start in EDGES:
        for end in EDGES:
            if start < end:
                pair.truncate(0)
                pair.write(0, pattern(size)) if size else None
                pair.fallocate(start, end - start, mode)
                pair.check(holes=mode != 0)
    pair.volume.reopen()
    check(pair.volume, trimmed=True)


@pytest.mark.parametrize("seed", range(30))
def test_any_sequence_leaves_what_a_file_below_has(pairs: list[Pair], seed: int) -> None:
    dice = random.Random(seed)
    for number in range(40):
        pair = dice.choice(pairs)
        offset, length = dice.choice(EDGES) + dice.randrange(3), 1 + dice.choice(EDGES)
        drawn = dice.random()
        if drawn < 0.3:
            pair.write(offset, pattern(length, number))
        elif drawn < 0.4:
            pair.truncate(offset)
        elif drawn < 0.7:
            pair.fallocate(offset, length, dice.choice(MODES))
        elif drawn < 0.9:
            target = dice.choice(pairs)
            if target is not pair or length <= abs(offset - 3 * length):
                pair.copy(offset, target, offset if target is not pair else 3 * length, length)
        else:
            moved = dice.choice([0, HEAD, 2 * HEAD, WHOLE_FILE])
            place(pair.volume, b"one" if pair is pairs[0] else b"two", moved, keep_mirror=False)
        for each in pairs:
            each.check(holes=False)
    pairs[0].volume.reopen()
    for each in pairs:
        each.check(holes=False)
    check(pairs[0].volume, trimmed=True)


def test_a_hole_in_both_objects_is_one(pairs: list[Pair]) -> None:
    pair = pairs[0]
    pair.write(0, pattern(5 * HEAD))
    pair.fallocate(HEAD // 2, HEAD, PUNCH)
    pair.check(holes=True)
    pair.write(0, pattern(5 * HEAD))
    pair.volume.fs.migrator.place(pair.ino, 2 * HEAD, keep_mirror=False, paced=lambda _: None)
    pair.fallocate(HEAD, 3 * HEAD, PUNCH)
    assert pair.seek(0, os.SEEK_HOLE) == HEAD
    assert pair.seek(HEAD, os.SEEK_DATA) == 4 * HEAD
    pair.check(holes=True)


def test_a_file_without_a_hole_asks_nobody(small: LooseVolume) -> None:
    ino = file_of(small, pattern(3 * HEAD))
    small.os.clear()
    assert small.fs.ranges.seek(ino, 5, os.SEEK_DATA, wait=False) == 5
    assert small.fs.ranges.seek(ino, 5, os.SEEK_HOLE, wait=False) == 3 * HEAD
    for offset in (3 * HEAD, 3 * HEAD + 1, -1):
        with fails(errno.ENXIO):
            small.fs.ranges.seek(ino, offset, os.SEEK_DATA)
    assert small.os.labels == []


def test_a_seek_on_disk_waits(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    small.fs.data.write(ino, 0, b"head")
    small.fs.data.truncate(ino, 3 * HEAD)
    assert small.fs.ranges.seek(ino, 0, os.SEEK_DATA, wait=False) == 0
    with pytest.raises(WouldBlock):
        small.fs.ranges.seek(ino, 0, os.SEEK_HOLE, wait=False)
    assert small.fs.ranges.seek(ino, 0, os.SEEK_HOLE) == HEAD


def test_a_truncation_beside_a_seek_is_no_damage(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    ino = make(small, b"file").ino
    small.fs.data.write(ino, 0, b"head")
    small.fs.data.truncate(ino, 9 * HEAD)
    disk = small.volume._disk
    opened = disk.open_object
    cuts: list[int] = []

    def opened_late(number: int) -> int:
        if not cuts:
            cuts.append(number)
            small.fs.data.truncate(ino, 10)
            small.fs.reclaimer.drain()
        return opened(number)

    monkeypatch.setattr(disk, "open_object", opened_late)
    with fails(errno.ENXIO):
        small.fs.ranges.seek(ino, HEAD, os.SEEK_DATA)
    assert cuts == [ino]


def test_what_is_only_in_a_mapping_is_written_before_it_is_called_a_hole(
    small: LooseVolume,
) -> None:
    ino = make(small, b"file").ino
    small.fs.data.truncate(ino, 20 * HEAD)
    small.fs.data.write(ino, 9 * HEAD, pattern(10))
    stored = {5 * HEAD: b"stored", 12 * HEAD: b"and"}
    asked = []

    def write_back(number: int, offset: int, length: int) -> None:
        asked.append((offset, length))
        for at in [at for at in stored if at // HEAD * HEAD < offset + length and at >= offset]:
            small.fs.data.write(number, at, stored.pop(at))

    small.fs.ranges.write_back = write_back
    with pytest.raises(WouldBlock):
        small.fs.ranges.seek(ino, 0, os.SEEK_DATA, wait=False)
    seek = small.fs.ranges.seek
    assert seek(ino, 0, os.SEEK_DATA) == 5 * HEAD
    assert asked == [(0, 9 * HEAD), (0, 5 * HEAD)]
    assert seek(ino, 5 * HEAD, os.SEEK_DATA) == 5 * HEAD
    assert seek(ino, 5 * HEAD, os.SEEK_HOLE) == 6 * HEAD
    assert seek(ino, 12 * HEAD, os.SEEK_HOLE) == 13 * HEAD
    with fails(errno.ENXIO):
        seek(ino, 13 * HEAD, os.SEEK_DATA)
    assert asked[-1] == (13 * HEAD, 7 * HEAD)
    assert stored == {}


@pytest.mark.parametrize("whence", [os.SEEK_DATA, os.SEEK_HOLE])
def test_a_lost_object_is_damage_and_no_hole(
    small: LooseVolume, whence: int, expect_log: ExpectLog
) -> None:
    expect_log("is missing")
    ino = make(small, b"file").ino
    small.fs.data.truncate(ino, 9 * HEAD)
    small.disk_object(ino).unlink()
    with fails(errno.EIO):
        small.fs.ranges.seek(ino, HEAD, whence)


def test_unknown_modes_and_wrong_ranges_are_refused(small: LooseVolume) -> None:
    ino = file_of(small, pattern(10))
    folder = make(small, b"folder", DIRECTORY).ino
    ranges = small.fs.ranges
    for mode in (0x02, 0x08, 0x20, 0x40, PUNCH | ZERO_RANGE, 0x04):
        with fails(errno.EOPNOTSUPP):
            ranges.fallocate(ino, 0, HEAD, mode)
    for offset, length in ((-1, 5), (0, 0), (5, -1)):
        with fails(errno.EINVAL):
            ranges.fallocate(ino, offset, length, 0)
    with fails(errno.EFBIG):
        ranges.fallocate(ino, 2**63 - 5, 10, 0)
    for mode in MODES:
        with fails(errno.EISDIR):
            ranges.fallocate(folder, 0, 10, mode)
    with fails(errno.EISDIR):
        ranges.copy(folder, 0, ino, 0, 10)
    with fails(errno.EISDIR):
        ranges.copy(ino, 0, folder, 0, 10)
    with fails(errno.ESTALE):
        ranges.copy(10**6, 0, ino, 0, 10)
    with fails(errno.EINVAL):
        ranges.copy(ino, 0, ino, 5, 10)
    assert ranges.copy(ino, 0, ino, 5, 5) == 5
    assert ranges.copy(ino, 10, ino, 0, 5) == 0
    assert content(small, b"file") == pattern(5) * 2


def test_a_filesystem_that_cannot_is_told_of(small: LooseVolume) -> None:
    ino = file_of(small, pattern(HEAD))
    before = small.fs.attributes.get(ino)
    for mode in MODES:
        small.os.clear()
        small.clock.tick()
        for nth in range(3):
            small.os.fail(Point("flash.fallocate", nth), errno.EOPNOTSUPP)
        with fails(errno.EOPNOTSUPP):
            small.fs.ranges.fallocate(ino, 0, HEAD, mode)
    small.os.clear()
    after = small.fs.attributes.get(ino)
    assert (after.size, after.mtime) == (before.size, before.mtime)


def test_times_are_marked(small: LooseVolume) -> None:
    ino, other = file_of(small, pattern(HEAD)), file_of(small, pattern(HEAD), b"other")
    for mode in MODES:
        now = small.clock.tick()
        small.fs.ranges.fallocate(ino, 0, 10, mode)
        inode = small.fs.attributes.get(ino)
        assert (inode.mtime, inode.ctime) == (now, now)
        assert inode.atime < now
    now, before = small.clock.tick(), small.fs.attributes.get(other)
    small.fs.ranges.copy(other, 0, ino, 0, 10)
    assert small.fs.attributes.get(other) == before
    inode = small.fs.attributes.get(ino)
    assert (inode.mtime, inode.ctime) == (now, now)


def test_allocated_blocks_are_counted(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    small.fs.ranges.fallocate(ino, 0, MIB, 0)
    assert small.fs.attributes.blocks(ino, wait=True) == MIB // 512
    small.fs.ranges.fallocate(ino, 0, MIB // 2, PUNCH)
    assert small.fs.attributes.blocks(ino, wait=True) == MIB // 1024
    small.fs.ranges.fallocate(ino, 0, MIB // 2, ZERO_RANGE)
    assert small.fs.attributes.blocks(ino, wait=True) == MIB // 512


def test_room_behind_the_end_is_taken_where_there_is_an_object(small: LooseVolume) -> None:
    ino = file_of(small, pattern(3 * HEAD))
    small.fs.ranges.fallocate(ino, 0, MIB, KEEP_SIZE)
    assert small.disk_object(ino).stat().st_blocks * 512 >= MIB - HEAD
    assert small.disk_object(ino).stat().st_size == 3 * HEAD
    new = make(small, b"new").ino
    small.fs.ranges.fallocate(new, 0, MIB, KEEP_SIZE)
    assert not small.flash_object(new).exists()
    assert not small.disk_object(new).exists()
    with fails(errno.ENOSPC):
        small.fs.ranges.fallocate(new, 0, 2**60, KEEP_SIZE)
    check(small)


def test_no_room_on_flash_behind_the_end_is_none_needed(small: LooseVolume) -> None:
    ino = file_of(small, pattern(10))
    small.os.full = ("flash.fallocate",)
    small.fs.ranges.fallocate(ino, 10, HEAD - 10, KEEP_SIZE)
    assert small.fs.attributes.get(ino).prefix == HEAD
    small.os.full = ("disk.fallocate",)
    small.fs.data.write(ino, HEAD, pattern(10))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        small.fs.ranges.fallocate(ino, 10, 9 * HEAD, KEEP_SIZE)


@pytest.mark.parametrize("mode", [PUNCH, ZERO_RANGE])
def test_the_index_is_synced_before_bytes_go(
    small: LooseVolume, mode: int, expect_log: ExpectLog
) -> None:
    expect_log("closing left work")
    ino = file_of(small, pattern(3 * HEAD))
    small.os.clear()
    with pytest.raises(WouldBlock):
        small.fs.ranges.fallocate(ino, 0, 10, mode, wait=False)
    assert "flash.fallocate" not in small.os.labels
    small.fs.ranges.fallocate(ino, HEAD - 5, 10, mode)
    order = [label for label in small.os.labels if label in {"index.sync", "flash.fallocate"}]
    assert order[:2] == ["index.sync", "flash.fallocate"]
    small.os.clear()
    small.os.fail(Point("index.sync"), errno.EIO)
    with fails(errno.EIO):
        small.fs.ranges.fallocate(ino, 2 * HEAD, 10, mode)
    assert "disk.fallocate" not in small.os.labels


@pytest.mark.parametrize("mode", [PUNCH, ZERO_RANGE])
def test_a_mirror_ends_before_the_head_is_punched(small: LooseVolume, mode: int) -> None:
    ino = file_of(small, pattern(3 * HEAD))
    must(mirror(small, b"file")[0])
    small.fs.ranges.fallocate(ino, 2 * HEAD, 10, mode)
    assert small.fs.attributes.get(ino).mirrored == 1
    small.os.clear()
    small.fs.ranges.fallocate(ino, HEAD - 5, 10, mode)
    assert small.fs.attributes.get(ino).mirrored == 0
    commit = small.os.labels.index("index.commit")
    assert "index.sync" in small.os.labels[commit : small.os.labels.index("flash.fallocate")]
    check(small)


def test_a_copy_of_many_bytes_comes_in_parts(small: LooseVolume) -> None:
    ino, target = make(small, b"file").ino, make(small, b"target").ino
    small.fs.data.write(ino, 2 * COPIED_AT_ONCE, b"end")
    total = 2 * COPIED_AT_ONCE + 3
    done = 0
    while count := small.fs.ranges.copy(ino, done, target, done, total):
        assert count <= COPIED_AT_ONCE
        done += count
    assert done == total
    assert small.fs.reads.read(target, total - 3, 10) == b"end"


def test_a_copy_of_a_lost_object_is_damage_of_the_source(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("/source: ")
    source, target = file_of(small, pattern(3 * HEAD), b"source"), make(small, b"target").ino
    small.disk_object(source).unlink()
    with fails(errno.EIO):
        small.fs.ranges.copy(source, 0, target, 0, 3 * HEAD)
    assert content(small, b"target") == b""
    small.fs.data.truncate(target, 2 * HEAD)
    assert content(small, b"target") == bytes(2 * HEAD)


def test_a_copy_of_a_lost_head_is_taken_from_its_mirror(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("read from its mirror")
    source, target = file_of(small, pattern(3 * HEAD), b"source"), make(small, b"target").ino
    must(mirror(small, b"source")[0])
    small.flash_object(source).unlink()
    assert small.fs.ranges.copy(source, 0, target, 0, 3 * HEAD) == 3 * HEAD
    assert content(small, b"target") == pattern(3 * HEAD)


def test_a_copy_never_answers_without_waiting(small: LooseVolume) -> None:
    ino = file_of(small, pattern(10))
    with pytest.raises(WouldBlock):
        small.fs.ranges.copy(ino, 0, make(small, b"target").ino, 0, 10, wait=False)


LARGE = 64 * HEAD
"""Of a hole that must stay one wherever the file goes."""


def holed(volume: LooseVolume) -> int:
    """A file of data, a large hole across P, and data."""
    ino = file_of(volume, pattern(2 * LARGE))
    volume.fs.ranges.fallocate(ino, 2000, LARGE, PUNCH)
    return ino


def has_hole(volume: LooseVolume, ino: int) -> None:
    expected = bytearray(pattern(2 * LARGE))
    expected[2000 : 2000 + LARGE] = bytes(LARGE)
    assert content(volume, b"file") == bytes(expected)
    first = volume.fs.ranges.seek(ino, 0, os.SEEK_HOLE)
    assert first == 4096
    assert volume.fs.ranges.seek(ino, first, os.SEEK_DATA) == (2000 + LARGE) // 4096 * 4096
    assert volume.fs.attributes.blocks(ino, wait=True) == (LARGE + 4096) // 512


@pytest.mark.parametrize("prefix", [0, 8 * HEAD, WHOLE_FILE])
def test_a_hole_stays_one_wherever_the_file_goes(small: LooseVolume, prefix: int) -> None:
    ino = holed(small)
    has_hole(small, ino)
    must(place(small, b"file", prefix, keep_mirror=False))
    has_hole(small, ino)
    if prefix:
        must(mirror(small, b"file")[0])
        has_hole(small, ino)
        assert small.disk_object(ino).stat().st_blocks <= (LARGE + 4096) // 512
    small.fs.reclaimer.drain()
    must(place(small, b"file", HEAD, keep_mirror=True))
    has_hole(small, ino)
    small.reopen()
    has_hole(small, ino)
    check(small, trimmed=True)


def test_a_hole_stays_one_when_its_file_goes_to_disk(small: LooseVolume) -> None:
    ino = holed(small)
    must(place(small, b"file", WHOLE_FILE, keep_mirror=False))
    small.os.full = ("flash.pwrite",)
    small.fs.data.write(ino, 0, pattern(10))
    assert small.fs.attributes.get(ino).prefix == 0
    has_hole(small, ino)


def test_a_hole_survives_a_kill(small: LooseVolume, home: Path) -> None:
    ino = holed(small)
    run(["cp", "-a", "--sparse=always", small.home, home / "killed"])
    survivor = LooseVolume(volume_settings(home / "killed"))
    survivor.open()
    try:
        assert survivor.fs.attributes.get(ino).sparse == 1
        has_hole(survivor, ino)
        must(place(survivor, b"file", WHOLE_FILE, keep_mirror=False))
        has_hole(survivor, ino)
    finally:
        survivor.close()


def test_the_room_of_a_dirty_descriptor_is_kept(small: LooseVolume) -> None:
    """What was changed is synced by the descriptor that changed it."""
    ino = file_of(small, pattern(3 * HEAD))
    small.fs.data.sync(ino)
    small.fs.ranges.fallocate(ino, 2 * HEAD, 10, PUNCH)
    assert small.fs.dirty.get(ino) is not None
    small.os.clear()
    small.fs.data.sync(ino)
    assert "disk.fdatasync" in small.os.labels
    assert small.find(b"file").parent == ROOT
