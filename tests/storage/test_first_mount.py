"""The directory of a store, which the first mount makes, is as durable as what is put into it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.support.faulty_os import FaultyOs, Point
from tests.support.volumes import home
from tierfs.storage.objects import ObjectStore

__all__ = ["home"]


def test_its_own_name_is_synced(home: Path) -> None:
    recorded = FaultyOs()
    ObjectStore("flash", home / "heads", recorded).close()
    assert recorded.labels == [
        "flash.open_parent",
        "flash.mkdir",
        "flash.open",
        "flash.fsync_directory",
    ]


def test_it_is_synced_again_when_that_failed(home: Path) -> None:
    faulty = FaultyOs()
    faulty.fail(Point("flash.fsync_directory"), errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        ObjectStore("flash", home / "heads", faulty)
    ObjectStore("flash", home / "heads", faulty).close()
    assert faulty.points()[-1] == Point("flash.fsync_directory", 1)
