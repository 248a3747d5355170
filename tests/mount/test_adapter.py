"""GETATTR by way of pyfuse3, beside a change of the same file."""

from __future__ import annotations

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


def test_a_size_is_that_of_when_it_was_asked_for(
    volume: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the blocks must be counted, which waits: else stat(2) is ahead of the next one."""
    ino = make(volume, b"sparse", FILE).ino
    volume.fs.data.truncate(ino, 1 << 20)
    adapter = Adapter(
        volume.fs,
        volume.metrics,
        Operations(volume.fs, volume.metrics, masks=True, mountpoint=Path()),
        writeback=False,
        initialised=lambda: None,
    )
    tiers = volume.fs._tiers
    count = tiers.allocated

    def counting_beside_a_write(inode: Inode) -> int:
        volume.fs.data.write(ino, 1 << 20, b"more")
        return count(inode)

    monkeypatch.setattr(tiers, "allocated", counting_beside_a_write)
    told = trio.run(adapter.getattr, ino, cast("Any", None))
    assert told.st_size == 1 << 20
    assert volume.fs.attributes.get(ino).size == (1 << 20) + 4
