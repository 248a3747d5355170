"""Handlers of pyfuse3 whose effect on a mount depends on the kernel, or on a moment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from tests.fs.calls import FILE, make
from tests.support.volumes import LooseVolume, home, make_volume, volume
from tierfs.daemon.adapter import Adapter
from tierfs.daemon.operations import Operations
from tierfs.metadata.inodes import Inode

pytestmark = pytest.mark.once

__all__ = ["home", "make_volume", "volume"]


def adapter_of(volume: LooseVolume) -> Adapter:
    return Adapter(
        volume.fs,
        volume.metrics,
        Operations(volume.fs, volume.metrics, masks=True, mountpoint=Path()),
        writeback=False,
        initialised=lambda: None,
    )


class Request:
    """The context of a request of this process."""

    uid, gid, umask = os.getuid(), os.getgid(), 0o022
    pid = os.getpid()


def test_a_size_is_that_of_when_it_was_asked_for(
    volume: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the blocks must be counted, which waits: else stat(2) is ahead of the next one."""
    ino = make(volume, b"sparse", FILE).ino
    volume.fs.data.truncate(ino, 1 << 20)
    adapter = adapter_of(volume)
    tiers = volume.fs._tiers
    count = tiers.allocated

    def counting_beside_a_write(inode: Inode) -> int:
        volume.fs.data.write(ino, 1 << 20, b"more")
        return count(inode)

    monkeypatch.setattr(tiers, "allocated", counting_beside_a_write)
    told = trio.run(adapter.getattr, ino, cast("Any", None))
    assert told.st_size == 1 << 20
    assert volume.fs.attributes.get(ino).size == (1 << 20) + 4


@pytest.mark.parametrize("created", [False, True], ids=["opened", "created"])
@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_RDWR | os.O_DIRECT], ids=["cached", "direct"])
def test_a_write_drops_the_pages_of_a_file_that_was_opened_with_o_direct(
    volume: LooseVolume, monkeypatch: pytest.MonkeyPatch, flags: int, *, created: bool
) -> None:
    """A mount on Linux 6.18 shows no old bytes without it, so the handlers are asked."""
    adapter, request = adapter_of(volume), cast("Any", Request())
    dropped: list[int] = []
    monkeypatch.setattr("pyfuse3.invalidate_inode", dropped.append)

    async def write() -> tuple[int, bytes]:
        if created:
            opened, attributes = await adapter.create(1, b"file", FILE, flags, request)
            ino = attributes.st_ino
        else:
            ino = make(volume, b"file", FILE).ino
            opened = await adapter.open(ino, flags, request)
        assert await adapter.write(opened.fh, 0, b"abc") == 3
        await adapter.fsync(opened.fh, datasync=False)
        return ino, await adapter.read(opened.fh, 0, 10)

    ino, read = trio.run(write)
    assert read == b"abc"
    assert dropped == ([ino] if flags & os.O_DIRECT else [])
