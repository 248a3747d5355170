"""Holes, allocation, shared blocks and nameless files on a mount: after a kill, and in a crowd."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.fsck import assert_clean
from tests.support.loop_devices import loop_filesystem
from tests.support.mounting import HEAD
from tests.support.proc import run
from tierfs.common.ranges import KEEP_SIZE, PUNCH_HOLE, fallocate

PUNCH = PUNCH_HOLE | KEEP_SIZE
MIB = 1024 * 1024
DATA = os.urandom(4 * HEAD + 17)


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDWR, mode: int = 0o644) -> Iterator[int]:
    descriptor = os.open(path, flags, mode)
    try:
        yield descriptor
    finally:
        with contextlib.suppress(OSError):  # of a mount that was killed
            os.close(descriptor)


def link(descriptor: int, path: Path) -> None:
    """Give what is open a name."""
    source = f"/proc/self/fd/{descriptor}".encode()
    linkat = ctypes.CDLL(None, use_errno=True).linkat
    assert linkat(-100, source, -100, bytes(path), 0x400) == 0, ctypes.get_errno()


@pytest.mark.once
def test_what_returned_survives_a_kill(make_mount: MakeMount) -> None:
    mount = make_mount()
    punched, allocated, copied = (mount.path / name for name in ("punched", "allocated", "copied"))
    punched.write_bytes(DATA)
    with opened(punched) as fd, opened(allocated, os.O_RDWR | os.O_CREAT) as other:
        fallocate(fd, PUNCH, HEAD - 100, 2 * HEAD)
        os.posix_fallocate(other, 0, 3 * HEAD)
        os.pwrite(other, b"here", HEAD - 2)
    with opened(punched) as fd, opened(copied, os.O_RDWR | os.O_CREAT) as other:
        assert os.copy_file_range(fd, other, 10 * HEAD) == len(DATA)
    mount.kill()
    mount.mount()
    holed = DATA[: HEAD - 100] + bytes(2 * HEAD) + DATA[3 * HEAD - 100 :]
    assert punched.read_bytes() == copied.read_bytes() == holed
    assert allocated.read_bytes() == bytes(HEAD - 2) + b"here" + bytes(2 * HEAD - 2)
    with opened(punched) as fd:
        hole = os.lseek(fd, 0, os.SEEK_HOLE)
        assert (hole, os.lseek(fd, hole, os.SEEK_DATA)) == (HEAD, 3 * HEAD - 4096)
    mount.unmount()
    assert_clean(mount.volume_file)


@pytest.mark.once
def test_a_nameless_file_is_gone_after_a_kill_and_a_named_one_is_not(
    make_mount: MakeMount,
) -> None:
    mount = make_mount()
    flags = os.O_TMPFILE | os.O_RDWR
    with opened(mount.path, flags) as lost, opened(mount.path, flags) as kept:
        for descriptor in (lost, kept):
            os.write(descriptor, DATA)
        link(kept, mount.path / "kept")
        mount.kill()
    mount.mount()
    assert os.listdir(mount.path) == ["kept"]
    assert (mount.path / "kept").read_bytes() == DATA
    mount.unmount()
    assert len([*mount.flash.glob("heads/*/*/*")]) == 1
    assert_clean(mount.volume_file)


@pytest.mark.once
def test_a_nameless_file_takes_no_room_once_it_is_closed(make_mount: MakeMount) -> None:
    mount = make_mount()
    for _ in range(20):
        with opened(mount.path, os.O_TMPFILE | os.O_RDWR) as descriptor:
            os.write(descriptor, DATA)
    mount.unmount()
    assert [*mount.flash.glob("heads/*/*/*"), *mount.disk.glob("objects/*/*/*")] == []
    assert_clean(mount.volume_file)


@pytest.mark.once
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts loop devices")
def test_cp_within_a_mount_takes_no_room_where_blocks_can_be_shared(
    make_mount: MakeMount, tmp_path: Path
) -> None:
    with loop_filesystem(tmp_path, "xfs") as path:
        mount = make_mount(flash=path / "flash", disk=path / "disk")
        source, data = mount.path / "source", os.urandom(20 * MIB)
        source.write_bytes(data)
        with opened(source) as fd:
            os.fsync(fd)
        free = os.statvfs(path).f_bfree
        run(["cp", source, mount.path / "copy"])
        assert (mount.path / "copy").read_bytes() == data
        taken = (free - os.statvfs(path).f_bfree) * os.statvfs(path).f_bsize
        assert taken < 10 * MIB  # the first part is copied, as it is not known yet
        before = os.statvfs(path).f_bfree
        run(["cp", source, mount.path / "again"])
        taken = (before - os.statvfs(path).f_bfree) * os.statvfs(path).f_bsize
        assert taken < MIB
        assert (mount.path / "again").read_bytes() == data
        mount.unmount()


@pytest.mark.once
def test_cp_finds_holes_and_what_is_mapped_in_them(make_mount: MakeMount) -> None:
    mount = make_mount()
    source, copy = mount.path / "source", mount.path / "copy"
    with opened(source, os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 64 * MIB)
        with mmap.mmap(fd, 64 * MIB) as view:
            for at in (10, 3 * MIB, 40 * MIB + 5):
                view[at : at + 4] = b"data"
            run(["cp", "--sparse=auto", source, copy])
    found = copy.read_bytes()
    assert [found[at : at + 4] for at in (10, 3 * MIB, 40 * MIB + 5)] == [b"data"] * 3
    assert found.count(b"data") == 3
    assert copy.stat().st_blocks * 512 < MIB


@pytest.mark.once
def test_many_look_for_data_while_many_store(make_mount: MakeMount) -> None:
    """Each waits for pages to be written back: more than there are threads to serve all of them."""
    mount = make_mount()
    ends = time.monotonic() + 2
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with opened(mount.path / f"{number}", os.O_RDWR | os.O_CREAT) as fd:
                os.ftruncate(fd, 4 * MIB)
                with mmap.mmap(fd, 4 * MIB) as view:
                    at = 0
                    while time.monotonic() < ends:
                        at = (at + 37 * 4096) % (4 * MIB)
                        view[at] = 1
                        assert os.lseek(fd, at, os.SEEK_DATA) == at
        except BaseException as exc:  # noqa: BLE001 - the other thread shows it
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.once
def test_with_writeback_everything_is_data(make_mount: MakeMount) -> None:
    """The kernel has bytes then that nobody else has seen."""
    mount = make_mount("writeback")
    with opened(mount.path / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 4 * HEAD)
        os.pwrite(fd, b"data", 2 * HEAD)
        assert os.lseek(fd, 0, os.SEEK_DATA) == 0
        assert os.lseek(fd, 0, os.SEEK_HOLE) == 4 * HEAD
        fallocate(fd, PUNCH, 2 * HEAD, HEAD)
        assert os.pread(fd, 5 * HEAD, 0) == bytes(4 * HEAD)


def test_python_alone_has_none_of_them(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    mount.configure("fast_path", "{enabled: false}")
    mount.mount()
    (mount.path / "source").write_bytes(DATA)
    with (
        opened(mount.path / "source") as fd,
        opened(mount.path / "to", os.O_RDWR | os.O_CREAT) as to,
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
            fallocate(fd, PUNCH, 0, HEAD)
        with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
            os.open(mount.path, os.O_TMPFILE | os.O_RDWR)
        assert os.copy_file_range(fd, to, len(DATA)) == len(DATA)
        os.ftruncate(to, 10 * HEAD)
        assert os.lseek(to, 0, os.SEEK_HOLE) == 10 * HEAD
    assert (mount.path / "to").read_bytes() == DATA.ljust(10 * HEAD, b"\0")
