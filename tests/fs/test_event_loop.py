"""What is called with ``wait=False`` runs on the event loop and never asks the disk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.fs.calls import file_of
from tests.fs.scenarios import HEAD, pattern
from tests.support.volumes import LooseVolume
from tierfs.fs.filesystem import FileSystem
from tierfs.fs.locks import WouldBlock
from tierfs.metadata.index import Index

Call = Callable[[FileSystem, int], object]

CALLS: dict[str, Call] = {
    "read": lambda fs, ino: fs.reads.read(ino, 0, 500, wait=False),
    "overwrite": lambda fs, ino: fs.data.write(ino, 10, b"new", wait=False),
    "append": lambda fs, ino: fs.data.write(ino, 1000, b"new", wait=False),
    "append across P": lambda fs, ino: fs.data.write(ino, 1000, bytes(HEAD), wait=False),
    "leave a hole": lambda fs, ino: fs.data.write(ino, 2000, b"new", wait=False),
    "extend": lambda fs, ino: fs.data.truncate(ino, 2000, wait=False),
    "cut": lambda fs, ino: fs.data.truncate(ino, 500, wait=False),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_call_waits_for_the_disk(small: LooseVolume, name: str) -> None:
    ino = file_of(small, pattern(1000))
    small.os.clear()
    with suppress(WouldBlock):
        CALLS[name](small.fs, ino)
    assert [label for label in small.os.labels if label.startswith("disk.")] == []


def syncs(volume: LooseVolume, ino: int) -> list[Callable[[], None]]:
    return [
        lambda: volume.fs.data.sync(ino, wait=False),
        lambda: volume.fs.sync_index(wait=False),
    ]


def test_a_sync_in_memory_waits_for_nothing(small: LooseVolume) -> None:
    assert small.index.in_memory, "these tests run in /dev/shm"
    for sync in syncs(small, file_of(small, pattern(1000))):
        small.os.clear()
        sync()
        assert "index.sync" in small.os.labels


def test_a_sync_of_a_device_does_not_begin(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    ino = file_of(small, pattern(1000))
    monkeypatch.setattr(Index, "in_memory", False)
    monkeypatch.setattr(small.fs.data, "_in_memory", False)
    small.os.clear()
    for sync in syncs(small, ino):
        with pytest.raises(WouldBlock):
            sync()
    assert not [label for label in small.os.labels if "sync" in label]


def test_a_sync_that_mirrors_does_not_begin(small: LooseVolume) -> None:
    ino = file_of(small, pattern(1000))
    small.fs.mirrors.at_sync = lambda _: True
    with pytest.raises(WouldBlock):
        small.fs.data.sync(ino, wait=False)
