"""The copy of a head on disk: when it is believed, when it ends, and what it is good for."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fs.calls import file_of
from tests.fs.consistency import check, content
from tests.fs.migrating import (
    SPARSE,
    SPARSE_DATA,
    make_sparse,
    mirror,
    moved_bytes,
    must,
    objects,
    place,
    state,
)
from tests.fs.scenarios import HEAD, pattern
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.common.errors import Damage, FsError
from tierfs.common.extents import WHOLE_FILE
from tierfs.fs.allocation import Limits
from tierfs.fs.locks import WouldBlock
from tierfs.policy.model import Mark

DATA = pattern(3 * HEAD)
FILE = b"file"


# ---------------------------------------------------------------- the mirror ends


CHANGES: dict[str, Callable[[LooseVolume, int], object]] = {
    "overwrite": lambda volume, ino: volume.fs.data.write(ino, 10, b"new"),
    "append": lambda volume, ino: volume.fs.data.write(ino, 1000, b"new"),
    "write behind the end": lambda volume, ino: volume.fs.data.write(ino, 2 * HEAD, b"new"),
    "write across P": lambda volume, ino: volume.fs.data.write(ino, HEAD - 1, b"new"),
    "extend": lambda volume, ino: volume.fs.data.truncate(ino, 3000),
}


@pytest.mark.parametrize(
    ("change", "size"),
    [
        *((change, 1000) for change in CHANGES),
        ("append", HEAD),
        ("overwrite", HEAD),
        ("overwrite", HEAD + 1),
        ("overwrite", 3 * HEAD),
        ("write across P", HEAD + 1),
        ("write across P", 3 * HEAD),
    ],
)
def test_a_mirror_ends_durably_before_flash_is_written(
    small: LooseVolume, change: str, size: int
) -> None:
    ino = file_of(small, DATA[:size])
    must(mirror(small, FILE)[0])
    small.os.clear()
    CHANGES[change](small, ino)
    touched = next(
        at
        for at, label in enumerate(small.os.labels)
        if label in {"flash.pwrite", "flash.ftruncate"}
    )
    assert "index.sync" in small.os.labels[:touched]
    assert not small.find(FILE).mirrored
    small.fs.reclaimer.drain()
    check(small, trimmed=True)
    must(mirror(small, FILE)[0])
    check(small, trimmed=True)


def test_a_mirror_whose_end_is_not_durable_goes_on(small: LooseVolume) -> None:
    ino = file_of(small, DATA[:1000])
    must(mirror(small, FILE)[0])
    small.os.clear()
    small.os.fail(Point("index.sync"), errno.EIO)
    for _ in range(2):
        with pytest.raises(FsError):
            small.fs.data.write(ino, 0, b"new")
        assert small.find(FILE).mirrored
    assert content(small, FILE) == DATA[:1000]
    check(small)
    small.abandon()
    small.open()
    small.fs.data.write(ino, 0, b"new")
    check(small)


@pytest.mark.parametrize("size", [HEAD + 1, 3 * HEAD])
def test_a_mirror_lives_through_changes_of_the_tail(small: LooseVolume, size: int) -> None:
    ino = file_of(small, pattern(size))
    must(mirror(small, FILE)[0])
    small.os.clear()
    small.fs.data.write(ino, HEAD, b"new tail")
    small.fs.data.truncate(ino, 5 * HEAD)
    assert small.find(FILE).mirrored
    assert "index.sync" not in small.os.labels
    check(small)


@pytest.mark.parametrize("size", [HEAD + 1, 3 * HEAD])
def test_after_a_crash_the_mirror_of_a_file_that_was_changed_is_not_believed(
    small: LooseVolume, home: Path, size: int
) -> None:
    ino = file_of(small, pattern(size))
    must(mirror(small, FILE)[0])
    small.fs.data.write(ino, HEAD, b"new tail")
    assert small.find(FILE).mirrored
    survivor = small.copy(home / "killed")
    survivor.open()
    assert not survivor.find(FILE).mirrored
    check(survivor)
    survivor.close()


@pytest.mark.parametrize("size", [10, HEAD, HEAD + 1])
def test_what_is_left_of_a_mirror_by_a_cut_is_good(small: LooseVolume, size: int) -> None:
    ino = file_of(small, DATA)
    must(mirror(small, FILE)[0])
    small.fs.data.truncate(ino, size)
    small.fs.reclaimer.drain()
    assert small.find(FILE).mirrored
    check(small, trimmed=True)
    must(place(small, FILE, 0))
    assert content(small, FILE) == DATA[:size]
    check(small, trimmed=True)


@pytest.mark.parametrize("size", [1000, 3 * HEAD])
def test_nothing_has_no_mirror(small: LooseVolume, size: int) -> None:
    """The old one is replaced or removed before there is a new one."""
    ino = file_of(small, DATA[:size])
    must(mirror(small, FILE)[0])
    small.os.clear()
    small.fs.data.truncate(ino, 0, wait=False)
    assert small.os.labels == ["index.commit"]
    assert state(small.find(FILE)) == (HEAD, False)
    small.fs.allocator.limits(Limits(HEAD, high_watermark=Mark(0.0)))
    small.fs.data.truncate(ino, 0)
    assert state(small.find(FILE)) == (0, False)
    small.fs.reclaimer.drain()
    check(small, trimmed=True)
    small.fs.data.write(ino, 0, DATA)
    assert content(small, FILE) == DATA
    check(small, trimmed=True)


def test_a_write_to_a_mirrored_file_waits_for_the_sync(small: LooseVolume) -> None:
    ino = file_of(small, DATA[:1000])
    must(mirror(small, FILE)[0])
    with pytest.raises(WouldBlock):
        small.fs.data.write(ino, 0, b"new", wait=False)
    assert small.find(FILE).mirrored


def test_a_mirrored_file_spills_without_a_copy(small: LooseVolume) -> None:
    ino = file_of(small, DATA[:1000])
    must(mirror(small, FILE)[0])
    before = moved_bytes(small, "flash", "disk")
    small.os.full = {"flash.pwrite"}
    small.fs.data.write(ino, 500, DATA[500:2000])
    assert objects(small, ino) == (None, DATA[:2000])
    assert moved_bytes(small, "flash", "disk") == before
    assert state(small.find(FILE)) == (0, False)
    check(small)


def test_a_sparse_file_spills_with_its_holes(small: LooseVolume) -> None:
    make_sparse(small)
    ino = small.find(SPARSE).ino
    must(place(small, SPARSE, WHOLE_FILE, keep_mirror=False))
    blocks = small.fs.attributes.blocks(ino, wait=True)
    small.os.full = {"flash.pwrite"}
    small.fs.data.write(ino, 0, SPARSE_DATA[:10])
    assert content(small, SPARSE) == SPARSE_DATA
    assert small.fs.attributes.blocks(ino, wait=True) == blocks


# ---------------------------------------------------------------- flash fails


def mirror_reads(volume: LooseVolume) -> float | None:
    return volume.metrics.registry.get_sample_value("tierfs_mirror_reads_total")


@pytest.mark.parametrize("fault", ["missing", "short", "EIO"])
def test_a_read_that_flash_fails_is_answered_by_the_mirror(
    small: LooseVolume, fault: str, expect_log: ExpectLog
) -> None:
    expect_log(r"/file: read from its mirror on disk: .*(missing|ends at|Input/output)")
    ino = file_of(small, DATA)
    must(mirror(small, FILE)[0])
    small.os.clear()
    if fault == "missing":
        small.flash_object(ino).unlink()
    elif fault == "short":
        small.flash_object(ino).write_bytes(DATA[:10])
    else:
        small.os.fail(Point("flash.pread"), errno.EIO)
    with pytest.raises(WouldBlock):
        small.fs.reads.read(ino, 5, 100, wait=False)
    if fault == "EIO":
        small.os.fail(Point("flash.pread", 1), errno.EIO)
    assert small.fs.reads.read(ino, 5, 2 * HEAD) == DATA[5 : 5 + 2 * HEAD]
    assert mirror_reads(small) == 1
    must(place(small, FILE, 0))
    assert content(small, FILE) == DATA


def test_without_a_mirror_damage_stays_damage(small: LooseVolume, expect_log: ExpectLog) -> None:
    expect_log("its flash object is missing")
    ino = file_of(small, DATA)
    small.flash_object(ino).unlink()
    with pytest.raises(Damage):
        small.fs.reads.read(ino, 0, 10)
    with pytest.raises(Damage):
        place(small, FILE, 0)
    assert mirror_reads(small) == 0


def test_one_damaged_file_does_not_keep_others_from_their_mirrors(
    small: LooseVolume, expect_log: ExpectLog
) -> None:
    expect_log("it could not be mirrored: .* its flash object is missing")
    names = [b"0", b"1", b"2"]
    inos = [file_of(small, DATA, name) for name in names]
    small.flash_object(inos[1]).unlink()
    assert [moved.outcome for moved in mirror(small, *names)] == ["moved", "failed", "moved"]
