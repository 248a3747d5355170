"""What the router calls answers at once, or says that it would have to wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.volumes import LooseVolume
from tierfs.index.inodes import ROOT, Inode
from tierfs.mount.direct import Direct

FILE = 0o100644


@pytest.fixture
def changing(small: LooseVolume) -> Iterator[threading.Event]:
    """Another thread is in a transaction until the event is set."""
    begun, end = threading.Event(), threading.Event()

    def change() -> None:
        with small.volume.index.transaction():
            begun.set()
            end.wait(10)

    thread = threading.Thread(target=change)
    thread.start()
    assert begun.wait(10)
    yield end
    end.set()
    thread.join()


def test_nobody_waits_for_a_transaction(small: LooseVolume, changing: threading.Event) -> None:
    """The thread that calls is the one that all other clients wait for."""
    direct = Direct(small.fs, small.metrics, masks=True)
    ended = threading.Timer(5, changing.set)
    ended.start()
    assert direct.make(ROOT, b"file", FILE, 0, 0, 0, 0) is None
    assert direct.write(1, 0, memoryview(b"data")) is None
    assert not changing.is_set()
    ended.cancel()


def test_a_file_is_made_and_written(small: LooseVolume) -> None:
    direct = Direct(small.fs, small.metrics, masks=True)
    made = direct.make(ROOT, b"file", FILE | 0o777, 0, 3, 4, 0o022)
    assert isinstance(made, Inode)
    assert (made.mode, made.uid, made.gid) == (0o100755, 3, 4)
    assert direct.write(made.ino, 0, memoryview(b"data")) == 4
    assert small.fs.data.read(made.ino, 0, 9) == b"data"
    small.fs.names.forget(made.ino)
