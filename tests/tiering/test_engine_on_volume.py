"""The engine on a real volume, with real moves; only the room on flash is made up."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fs.calls import file_of
from tests.tiering.on_volume import HEAD, Tiered
from tierfs.common.extents import WHOLE_FILE
from tierfs.metadata.pins_and_requests import Pin, Request

FILES = 64
SIZE = 2 * HEAD


@pytest.fixture
def contents(tiered: Tiered) -> Iterator[dict[int, bytes]]:
    """Files by inode number, which must hold the same bytes at the end of a test."""
    noise = random.Random(5)
    contents = {
        file_of(tiered.volume, data, b"%d" % number): data
        for number in range(FILES)
        if (data := noise.randbytes(SIZE))
    }
    tiered.time.pass_by(60)
    yield contents
    for ino, data in contents.items():
        assert tiered.volume.fs.reads.read(ino, 0, SIZE + 1) == data


def test_flash_falls_below_the_watermark(tiered: Tiered, contents: dict[int, bytes]) -> None:
    assert tiered.used == FILES * HEAD
    tiered.capacity = FILES * HEAD * 10 // 9
    tiered.apply("flash: {high_watermark: 80%, low_watermark: 60%, reserve: 0}")
    low = tiered.capacity * 6 // 10
    tiered.until(lambda: tiered.used <= low, "flash is evicted")
    assert tiered.used > low - 2 * HEAD
    evicted = [ino for ino in contents if tiered.inode(ino)[0] == 0]
    assert not any(tiered.volume.flash_object(ino).exists() for ino in evicted)


def test_heads_are_mirrored_and_then_evicted_without_a_copy(
    tiered: Tiered, contents: dict[int, bytes]
) -> None:
    tiered.apply("mirror: async\nflash: {high_watermark: 80%, low_watermark: 1%, reserve: 0}")
    tiered.until(lambda: all(tiered.inode(ino)[1] for ino in contents), "all is mirrored")
    # Steps are counted by the tick after them.
    tiered.until(lambda: tiered.engine.state().copied >= FILES * HEAD, "the copies are counted")
    copied = tiered.engine.state().copied
    assert copied == FILES * HEAD
    tiered.capacity = FILES * HEAD
    tiered.until(lambda: tiered.used <= FILES * HEAD // 100, "flash is evicted")
    assert tiered.engine.state().copied == copied


def test_head_none_and_pins(tiered: Tiered, contents: dict[int, bytes]) -> None:
    pinned, *others = contents
    with tiered.volume.index.transaction():
        tiered.volume.index.pins_and_requests.pin(Pin(pinned, None))
    tiered.apply("head: none")
    tiered.until(lambda: tiered.used == SIZE, "all but the pinned file goes")
    assert tiered.inode(pinned)[0] == WHOLE_FILE
    assert all(tiered.inode(ino)[0] == 0 for ino in others)


def test_requests_without_a_policy(tiered: Tiered, contents: dict[int, bytes]) -> None:
    up, down, *_ = contents
    with tiered.volume.index.transaction():
        tiered.volume.index.pins_and_requests.request(Request(up, WHOLE_FILE))
        tiered.volume.index.pins_and_requests.request(Request(down, 0))
    tiered.until(lambda: not tiered.catalog.requests(0, 9), "the requests are settled")
    assert tiered.inode(up)[0] == WHOLE_FILE
    assert tiered.inode(down)[0] == 0
    assert tiered.used == (FILES - 1) * HEAD + SIZE - HEAD


def test_reads_promote(tiered: Tiered, contents: dict[int, bytes]) -> None:
    often, once, *_ = contents
    tiered.apply("promote: {reads: 3, within: 1h}")
    tiered.until(lambda: True, "the policy is in force")
    tiered.volume.fs.reads.read(once, 0, SIZE)
    for _ in range(3):
        tiered.volume.fs.reads.read(often, 0, SIZE)
        for _ in range(10):
            tiered.until(lambda: True, "time passes")
    tiered.until(lambda: tiered.inode(often)[0] == WHOLE_FILE, "the file is promoted")
    assert tiered.inode(once)[0] == HEAD


def test_a_write_brings_the_mirror_again(tiered: Tiered, contents: dict[int, bytes]) -> None:
    ino = next(iter(contents))
    tiered.apply("mirror: async")
    tiered.until(lambda: tiered.inode(ino)[1] == 1, "all is mirrored")
    contents[ino] = bytes(SIZE)
    tiered.volume.clock.now = tiered.time.now
    tiered.volume.fs.data.write(ino, 0, contents[ino])
    assert tiered.inode(ino)[1] == 0
    tiered.until(lambda: tiered.inode(ino)[1] == 1, "it is mirrored again")


def test_the_snapshot_is_beside_the_index(tiered: Tiered, contents: dict[int, bytes]) -> None:
    tiered.apply("mirror: never")
    tiered.until(lambda: True, "the policy is in force")
    tiered.engine.stop()
    index = tiered.volume.settings.index
    assert Path(f"{index}.heat").stat().st_mode & 0o777 == 0o600
    assert not Path(f"{index}.heat.new").exists()
    assert contents
