"""What the router calls: it publishes what is asked for, answers, or says that it must wait."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.guards.logs import ExpectLog
from tests.support.volumes import LooseVolume
from tierfs.common.errors import FsError
from tierfs.daemon.operations import (
    FATTR_ATIME,
    FATTR_ATIME_NOW,
    FATTR_MODE,
    FATTR_MTIME,
    FATTR_SIZE,
    NO_NAME,
    Operations,
    Waits,
    changes,
)
from tierfs.fs.locks import WouldBlock
from tierfs.fs.recovery import Unreconciled
from tierfs.metadata.inodes import ROOT, Inode

pytestmark = pytest.mark.once

FILE = stat.S_IFREG
ME = (os.geteuid(), os.getegid(), os.getpid())


@pytest.fixture
def operations(small: LooseVolume) -> Operations:
    """Those of an empty volume."""
    return Operations(small.fs, small.metrics, masks=True, mountpoint=Path("/nowhere"))


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


def test_it_is_told_when_the_index_is_busy(
    operations: Operations, changing: threading.Event
) -> None:
    """The thread that asks is the one that all other clients wait for."""
    assert not operations.ready()
    changing.set()
    while not operations.ready():
        pass


def test_a_file_is_made_and_written(small: LooseVolume, operations: Operations) -> None:
    made = operations.mknod(ROOT, FILE | 0o777, 0, 0o022, b"file", caller=(3, 4, 0))
    assert (made.mode, made.uid, made.gid) == (FILE | 0o755, 3, 4)
    assert operations.write(made.ino, 0, memoryview(b"data"), wait=False) == 4
    assert small.fs.reads.read(made.ino, 0, 9) == b"data"
    small.fs.names.forget(made.ino)


def test_a_kernel_that_takes_the_umask_off_is_left_alone(small: LooseVolume) -> None:
    operations = Operations(small.fs, small.metrics, masks=False, mountpoint=Path())
    made = operations.mkdir(ROOT, 0o777, 0o022, b"d", caller=ME)
    assert made.mode == stat.S_IFDIR | 0o777


def test_what_is_asked_for_is_published_first(small: LooseVolume, operations: Operations) -> None:
    """Without a reference, which who then answers takes."""
    made = operations.mknod(ROOT, FILE | 0o644, 0, 0, b"file", caller=ME)
    assert operations.lookup(ROOT, b"file", again=False, wait=False) is None
    assert operations.lookup(ROOT, b"none", again=False, wait=False) is None
    assert operations.getattr(made.ino, again=False, wait=False) is None
    assert operations.read(made.ino, 0, 9, again=False, wait=False) is None
    assert operations.readdir(ROOT, 0, 4096, again=False) is None
    assert small.fs.lookup_counts.count(made.ino) == 1


def test_what_is_asked_again_is_answered_in_full(
    small: LooseVolume, operations: Operations
) -> None:
    made = operations.mknod(ROOT, FILE | 0o644, 0, 0, b"file", caller=ME)
    assert operations.lookup(ROOT, b"file", again=True, wait=False) == made
    assert operations.lookup(ROOT, b"none", again=True, wait=False) == NO_NAME
    assert operations.getattr(made.ino, again=True, wait=False) == (made, 0)
    assert operations.read(made.ino, 0, 9, again=True, wait=False) == b""
    lines = operations.readdir(ROOT, 0, 4096, again=True)
    assert lines is not None
    assert [line.name for line in lines] == [b".", b"..", b"file"]
    assert small.fs.lookup_counts.count(made.ino) == 2
    for _ in range(2):
        small.fs.names.forget(made.ino)


def test_what_waits_says_so(small: LooseVolume, operations: Operations) -> None:
    ino = operations.mknod(ROOT, FILE | 0o644, 0, 0, b"file", caller=ME).ino
    operations.setattr(ino, (FATTR_SIZE, 1 << 20, 0, 0, 0, 0, 0, 0, 0), caller=ME, wait=True)
    with pytest.raises(WouldBlock):
        operations.getattr(ino, again=False, wait=False)
    found = operations.getattr(ino, again=False, wait=True)
    assert isinstance(found, tuple)
    assert found[1] == 0
    with pytest.raises(WouldBlock):
        operations.lookup(ino, b".", again=False, wait=False)
    assert isinstance(operations.lookup(ino, b".", again=False, wait=True), Inode)
    with small.fs.data._locks.hold(ino), pytest.raises(WouldBlock):
        operations.write(ino, 0, b"data", wait=False)


def test_a_size_is_that_of_when_it_was_asked_for(operations: Operations) -> None:
    """Also when the blocks must be counted, which waits: else stat(2) is ahead of the next one."""
    ino = operations.mknod(ROOT, FILE | 0o644, 0, 0, b"file", caller=ME).ino
    operations.setattr(ino, (FATTR_SIZE, 1 << 20, 0, 0, 0, 0, 0, 0, 0), caller=ME, wait=True)
    with pytest.raises(Waits) as waits:
        operations.getattr(ino, again=False, wait=False)
    operations.write(ino, 1 << 20, b"more", wait=True)
    resume = operations.failed("getattr", waits.value, 0.0)
    assert callable(resume)
    row, _ = cast("tuple[Inode, int]", resume())
    assert row.size == 1 << 20


def test_failures_are_told_by_number_and_counted(
    small: LooseVolume, operations: Operations, expect_log: ExpectLog
) -> None:
    expect_log("failed unexpectedly")
    assert operations.failed("write", WouldBlock(), 0.0) is None
    assert operations.failed("write", Unreconciled(7), 0.0) is None
    assert operations.failed("write", OSError(errno.ENOSPC, "full"), 0.5) == errno.ENOSPC
    assert operations.failed("write", ZeroDivisionError(), 0.5) == errno.EIO
    value = small.metrics.registry.get_sample_value
    labels = {"operation": "write", "result": "ENOSPC"}
    assert value("tierfs_requests_total", labels) == 1
    assert value("tierfs_handler_failures_total") == 1


def test_the_fields_of_setattr_that_are_valid_count() -> None:
    fields = (5, 6, -7, 8, 9, 0o640, 11, 12)
    assert changes(0, *fields) == (None,) * 6
    assert changes(FATTR_MODE | FATTR_MTIME, *fields)._asdict() == {
        "mode": 0o640,
        "uid": None,
        "gid": None,
        "size": None,
        "atime": None,
        "mtime": -7_000_000_000 + 9,
    }
    assert changes(FATTR_SIZE | FATTR_MTIME, *fields).mtime is None
    assert changes(FATTR_ATIME | FATTR_ATIME_NOW, *fields).atime == 6_000_000_008
    now = changes(FATTR_ATIME_NOW, *fields).atime
    assert now is not None
    assert now > 1_000_000_000_000_000_000


def test_extended_attributes_are_set_listed_and_removed(operations: Operations) -> None:
    operations.setxattr(ROOT, 0, b"user.b", b"2", caller=ME)
    operations.setxattr(ROOT, 0, b"user.a", b"1", caller=ME)
    assert operations.getxattr(ROOT, b"user.a", caller=ME) == b"1"
    assert operations.listxattr(ROOT, caller=ME) == b"user.a\0user.b\0"
    with pytest.raises(FsError) as found:
        operations.setxattr(ROOT, os.XATTR_CREATE, b"user.a", b"3", caller=ME)
    assert found.value.errno == errno.EEXIST
    operations.removexattr(ROOT, b"user.a", caller=ME)
    assert operations.listxattr(ROOT, caller=ME) == b"user.b\0"
