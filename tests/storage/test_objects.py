from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.faulty_os import FaultyOs, Point
from tierfs.storage.layout import FILES_PER_DIRECTORY_BITS, object_path
from tierfs.storage.objects import ObjectLost, ObjectStore

INO = 5000
KIB = 1024
GIB = 1024**3


def content(store: ObjectStore, ino: int = INO) -> bytes:
    return (store.root / object_path(ino)).read_bytes()


@given(st.integers(0, 2**63 - 1))
def test_a_path_has_two_levels_and_the_number(ino: int) -> None:
    upper, lower, name = object_path(ino).split("/")
    assert name == str(ino)
    assert len(upper) == len(lower) == 2
    bytes.fromhex(upper + lower)


def test_neighbours_share_a_directory_and_the_directories_are_used_evenly() -> None:
    per_directory = 1 << FILES_PER_DIRECTORY_BITS
    first = {os.path.dirname(object_path(ino)) for ino in range(per_directory)}
    assert first == {"00/00"}
    all_of_them = {os.path.dirname(object_path(n * per_directory)) for n in range(65536)}
    assert len(all_of_them) == 65536


def test_what_is_written_is_read(store: ObjectStore) -> None:
    store.write(INO, 3, b"abcdef")
    assert content(store) == b"\0\0\0abcdef"
    store.write(INO, 4, memoryview(b"XY"))
    assert store.read(INO, 2, 5) == b"\0aXYd"
    assert store.read(INO, 7, 100) == b"ef"
    assert store.read(INO, 9, 100) == b""
    assert store.length(INO) == 9


def test_offsets_beyond_four_gibibytes(store: ObjectStore) -> None:
    store.write(INO, 5 * GIB, b"far")
    assert store.read(INO, 5 * GIB - 1, 10) == b"\0far"
    assert store.length(INO) == 5 * GIB + 3
    assert os.stat(store.root / object_path(INO)).st_blocks * 512 < GIB


def test_a_short_write_is_completed(store: ObjectStore, faulty: FaultyOs) -> None:
    faulty.write_short(Point("flash.pwrite", 0), 1)
    faulty.write_short(Point("flash.pwrite", 1), 2)
    store.write(INO, 10, b"abcdef")
    assert store.read(INO, 10, 6) == b"abcdef"
    assert faulty.labels.count("flash.pwrite") == 3


def test_resize_cuts_and_extends_with_a_hole(store: ObjectStore) -> None:
    store.resize(INO, 5)
    assert content(store) == bytes(5)
    store.write(INO, 0, b"abcde")
    store.resize(INO, 2)
    store.resize(INO, 4)
    assert content(store) == b"ab\0\0"


def test_no_object_is_no_error_where_nothing_is_asked_of_it(store: ObjectStore) -> None:
    store.remove(INO)
    assert store.length(INO) is None
    with pytest.raises(FileNotFoundError):
        store.read(INO, 0, 1)
    with pytest.raises(FileNotFoundError):
        store.sync(INO)


def test_removed_is_gone(store: ObjectStore) -> None:
    store.write(INO, 0, b"a")
    store.write(INO + 1, 0, b"b")
    assert sorted(int(path.name) for path in store.root.glob("*/*/*")) == [INO, INO + 1]
    store.remove(INO)
    assert [int(path.name) for path in store.root.glob("*/*/*")] == [INO + 1]


@pytest.mark.parametrize("lost", ["all", "some"])
def test_a_write_never_hides_that_bytes_are_lost(store: ObjectStore, lost: str) -> None:
    if lost == "some":
        store.write(INO, 0, b"abc")
    with pytest.raises(ObjectLost, match="flash object"):
        store.write(INO, 0, b"xyz", holds=4)
    with pytest.raises(ObjectLost, match="flash object"):
        store.resize(INO, 10, holds=4)
    assert store.length(INO) == (3 if lost == "some" else None)
    if lost == "some":
        store.write(INO, 0, b"x", holds=3)
        assert content(store) == b"xbc"


def test_nothing_is_kept_open(store: ObjectStore) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for ino in range(INO, INO + 50):
        store.write(ino, 0, b"abc")
        store.read(ino, 0, 3)
        store.sync(ino)
    assert count() == before


def test_a_descriptor_is_closed_when_the_call_fails(store: ObjectStore, faulty: FaultyOs) -> None:
    faulty.fail(Point("flash.pwrite"), errno.EIO)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Input/output"):
        store.write(INO, 0, b"a")
    assert len(os.listdir("/proc/self/fd")) == before


def test_new_directories_are_synced_before_they_are_used(
    store: ObjectStore, faulty: FaultyOs
) -> None:
    faulty.clear()
    store.write(INO, 0, b"a")
    made = ["flash.mkdir", "flash.open", "flash.fsync_directory"]
    assert faulty.labels == ["flash.open", *made, *made, "flash.open", "flash.pwrite"]
    faulty.clear()
    store.write(INO + 1, 0, b"a")
    assert faulty.labels == ["flash.open", "flash.pwrite"]


def test_sync_syncs_the_bytes_and_then_the_name(store: ObjectStore, faulty: FaultyOs) -> None:
    store.write(INO, 0, b"a")
    faulty.clear()
    store.sync(INO)
    synced = [label for label in faulty.labels if "sync" in label]
    assert synced == ["flash.fdatasync", "flash.fsync_directory"]


def test_a_sync_tells_that_the_object_was_removed(store: ObjectStore) -> None:
    fd, _ = store.open_to_write(INO, 0)
    try:
        assert store.sync_data(INO, fd)
        store.remove(INO)
        assert not store.sync_data(INO, fd)
    finally:
        os.close(fd)


def test_space_is_that_of_the_filesystem(store: ObjectStore) -> None:
    facts = os.statvfs(store.root)
    space = store.space()
    assert space.capacity == facts.f_blocks * facts.f_frsize
    assert space.files == facts.f_files
    assert 0 <= space.available <= space.free <= space.capacity


def test_objects_are_private_to_the_daemon(store: ObjectStore) -> None:
    store.write(INO, 0, b"a")
    path = store.root / object_path(INO)
    modes = [each.stat().st_mode & 0o077 for each in (path, path.parent, store.root)]
    assert modes == [0, 0, 0]


def test_a_store_is_found_again(home: Path, store: ObjectStore) -> None:
    store.write(INO, 0, b"kept")
    again = ObjectStore("flash", home / "heads", FaultyOs())
    assert again.read(INO, 0, 10) == b"kept"
    again.close()


def test_flush_is_one_labelled_call(store: ObjectStore, faulty: FaultyOs) -> None:
    store.write(INO, 0, b"a")
    faulty.clear()
    store.flush()
    assert len(faulty.labels) == 1


def test_what_an_object_takes(store: ObjectStore) -> None:
    """Of its first bytes, without the holes and without what lies behind."""
    assert store.allocated(INO, 100) == 0
    store.resize(INO, 100 * KIB)
    assert store.allocated(INO, 100 * KIB) == 0
    store.write(INO, 20 * KIB, bytes(10 * KIB))
    store.write(INO, 60 * KIB, b"x")
    whole = {length: store.allocated(INO, length * KIB) // KIB for length in (100, 200)}
    assert whole == {100: 16, 200: 16}
    cut = {length: store.allocated(INO, length * KIB) // KIB for length in (10, 20, 22, 61, 70)}
    assert cut == {10: 0, 20: 0, 22: 4, 61: 16, 70: 16}


def test_an_object_that_cannot_be_measured(store: ObjectStore, faulty: FaultyOs) -> None:
    store.write(INO, 0, bytes(10 * KIB))
    for label in ("flash.stat", "flash.lseek"):
        faulty.clear()
        faulty.fail(Point(label, 0), errno.EIO)
        with pytest.raises(OSError, match=r"\[Errno 5\]"):
            store.allocated(INO, KIB)
