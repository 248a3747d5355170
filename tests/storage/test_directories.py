"""The directories of a store, and the names of objects in them, as durable as the objects."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.support.faulty_os import FaultyOs, Point
from tierfs.storage.directories import KEPT_DIRECTORIES
from tierfs.storage.layout import FILES_PER_DIRECTORY_BITS, directory_path, object_path
from tierfs.storage.objects import ObjectStore

INO = 5000


def test_the_name_of_a_new_store_is_synced(home: Path) -> None:
    recorded = FaultyOs()
    ObjectStore("flash", home / "heads", recorded).close()
    assert recorded.labels == [
        "flash.open_parent",
        "flash.mkdir",
        "flash.open",
        "flash.fsync_directory",
    ]


def test_the_name_of_a_new_store_is_synced_again_when_that_failed(home: Path) -> None:
    faulty = FaultyOs()
    faulty.fail(Point("flash.fsync_directory"), errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        ObjectStore("flash", home / "heads", faulty)
    ObjectStore("flash", home / "heads", faulty).close()
    assert faulty.points()[-1] == Point("flash.fsync_directory", 1)


def test_a_directory_stays_open_for_the_next_name_in_it(
    store: ObjectStore, faulty: FaultyOs
) -> None:
    store.write(INO, 0, b"a")
    store.directories.sync_name(INO)
    faulty.clear()
    store.directories.sync_name(INO + 1)
    assert faulty.labels == ["flash.fsync_directory"]
    store.flush()
    faulty.clear()
    store.directories.sync_name(INO)
    assert faulty.labels == ["flash.open", "flash.fsync_directory"]
    store.flush()


def test_few_directories_stay_open(store: ObjectStore) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(2 * KEPT_DIRECTORIES):
        ino = number << FILES_PER_DIRECTORY_BITS
        store.write(ino, 0, b"a")
        store.directories.sync_name(ino)
    assert len(os.listdir("/proc/self/fd")) == before + KEPT_DIRECTORIES
    store.flush()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_directory_that_was_made_again_is_the_one_that_is_synced(
    store: ObjectStore, faulty: FaultyOs
) -> None:
    store.write(INO, 0, b"a")
    store.directories.sync_name(INO)
    shutil.rmtree((store.root / object_path(INO)).parent)
    store.write(INO, 0, b"a")
    faulty.clear()
    store.directories.sync_name(INO)
    assert faulty.labels == ["flash.fsync_directory", "flash.open", "flash.fsync_directory"]


def test_a_name_whose_sync_failed_is_synced_by_a_new_descriptor(
    store: ObjectStore, faulty: FaultyOs
) -> None:
    store.write(INO, 0, b"a")
    store.directories.sync_name(INO)
    faulty.clear()
    faulty.fail(Point("flash.fsync_directory"), errno.EIO)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Input/output"):
        store.directories.sync_name(INO)
    assert len(os.listdir("/proc/self/fd")) == before - 1
    store.directories.sync_name(INO)
    assert faulty.labels == ["flash.fsync_directory", "flash.open", "flash.fsync_directory"]
    store.flush()


def test_a_new_directory_that_is_neither_synced_nor_removed_is_synced_with_its_first_object(
    store: ObjectStore, faulty: FaultyOs
) -> None:
    faulty.clear()
    faulty.fail(Point("flash.fsync_directory"), errno.EIO)
    faulty.fail(Point("flash.rmdir"), errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        store.write(INO, 0, b"abc")
    store.write(INO, 0, b"abc")
    faulty.clear()
    store.directories.sync_name(INO)
    upper = directory_path(INO).split("/")[0]
    assert (store.root / upper).is_dir()
    assert faulty.labels.count("flash.fsync_directory") == 2
    faulty.clear()
    store.directories.sync_name(INO)
    assert faulty.labels.count("flash.fsync_directory") == 1
