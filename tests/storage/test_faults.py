"""Calls on a backing directory beside those on objects fail one at a time."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tests.support.faulty_os import FaultyOs, Point
from tests.support.volumes import home
from tierfs.storage.layout import FILES_PER_DIRECTORY_BITS
from tierfs.storage.objects import ObjectStore
from tierfs.storage.replaced import ReplacedObjects

__all__ = ["home"]

INO = 5000


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("call", ["open_parent", "mkdir", "open", "fsync_directory"])
def test_a_store_that_cannot_be_opened_keeps_no_descriptor(home: Path, call: str) -> None:
    faulty = FaultyOs()
    faulty.fail(Point(f"flash.{call}"), errno.EACCES)
    before = open_descriptors()
    with pytest.raises(PermissionError):
        ObjectStore("flash", home / "heads", faulty)
    assert open_descriptors() == before
    ObjectStore("flash", home / "heads", faulty).close()


@pytest.mark.parametrize(
    "point",
    [
        Point("flash.open_replaced"),
        Point("flash.mkdir_replaced"),
        Point("flash.open_replaced", 1),
    ],
    ids=str,
)
def test_replaced_objects_that_cannot_be_opened_keep_no_descriptor(
    store: ObjectStore, point: Point
) -> None:
    faulty = FaultyOs()
    faulty.fail(point, errno.EACCES)
    before = open_descriptors()
    with pytest.raises(PermissionError):
        ReplacedObjects("flash", store.directories, faulty, read_only=False)
    assert open_descriptors() == before


def test_replaced_objects_that_cannot_be_listed_are_not_taken_for_none(store: ObjectStore) -> None:
    faulty = FaultyOs()
    faulty.fail(Point("flash.list_replaced"), errno.EIO)
    with contextlib.closing(
        ReplacedObjects("flash", store.directories, faulty, read_only=False)
    ) as replaced:
        with pytest.raises(OSError, match="Input/output error"):
            replaced.all()
        assert replaced.all() == []


def test_objects_without_a_file_stay_where_their_directory_cannot_be_listed(
    store: ObjectStore, faulty: FaultyOs, expect_log: ExpectLog
) -> None:
    store.write(INO, 0, b"of nobody")
    faulty.fail(Point("flash.listdir"), errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        store.set_aside_unowned(INO, INO + 1)
    assert store.length(INO) == 9
    expect_log("was there already")
    store.set_aside_unowned(INO, INO + 1)
    assert store.length(INO) is None


def test_an_object_is_removed_once_its_directory_can_be_opened(
    store: ObjectStore, faulty: FaultyOs
) -> None:
    store.write(INO, 0, b"abc")
    faulty.fail(Point("flash.open_group"), errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        store.remove(INO)
    assert store.length(INO) == 3
    store.remove(INO)
    assert store.length(INO) is None


def test_a_group_whose_directory_cannot_be_opened_is_not_taken_for_an_empty_one(
    store: ObjectStore, faulty: FaultyOs
) -> None:
    other = INO + (1 << FILES_PER_DIRECTORY_BITS)
    for ino in (INO, other):
        store.write(ino, 0, b"abc")
    faulty.clear()
    faulty.fail(Point("flash.open_group", 1), errno.EIO)
    with store.removal() as remove:
        remove(INO)
        with pytest.raises(OSError, match="Input/output error"):
            remove(other)
        remove(other)
    assert store.length(INO) is store.length(other) is None
