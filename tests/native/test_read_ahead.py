"""A file that is read from its start on is read ahead on the disk, as far as was asked for."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.metadata.rows import inode
from tests.native.rig import Rig
from tests.native.wire import Op, ReadIn
from tests.parity.places import Native
from tests.support.proc import wait_until

pytestmark = pytest.mark.alone

MIB = 1 << 20
SIZE = 16 * MIB
READ = 128 * 1024
HEAD = 64 * 1024
FIRST = 256 * 1024
"""What a file that is read from its start is read ahead of at first."""
AHEAD = 4 * MIB
"""What a sequential reader is kept ahead of in the end."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


@pytest.fixture
def on_disk(scratch: Path) -> Iterator[Rig]:
    """A router whose stores lie on a block device, of which reads have to wait."""
    with closing(Native(scratch)) as device:
        device.mount()
        ask_for_little(device.path)
        with Rig(device.path, workers=1) as made:
            made.initialise()
            yield made
        made.forget()


def ask_for_little(path: Path) -> None:
    """Let the device below take requests of 128 KiB at most, and read as far ahead by itself."""
    number = path.stat().st_dev
    queue = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/queue")
    for name in ("max_sectors_kb", "read_ahead_kb"):
        (queue / name).write_text("128")


def cached(path: Path) -> list[bool]:
    """Which pages of a file are in memory; to ask does not read them (mincore(2))."""
    pages = ctypes.create_string_buffer(SIZE // mmap.PAGESIZE)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        address = _LIBC.mmap(None, SIZE, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    finally:
        os.close(descriptor)
    assert _LIBC.mincore(address, SIZE, pages) == 0
    _LIBC.munmap(address, SIZE)
    return [bool(byte & 1) for byte in pages.raw]


def drop(path: Path) -> None:
    """Let the kernel forget the file's bytes."""
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def read(rig: Rig, offset: int) -> None:
    assert len(rig.kernel.ask(Op.READ, 7, ReadIn(0, offset, READ).pack()).body) == READ


def cold_file(rig: Rig, *, prefix: int) -> Path:
    """File 7, of whose disk object nothing is in memory; and that object."""
    data = os.urandom(SIZE)
    path = rig.put_object(rig.objects, 7, data)
    rig.put_object(rig.heads, 7, data[:prefix])
    drop(path)
    assert not any(cached(path))
    rig.router.put_inode(inode(7, size=SIZE, prefix=prefix))
    return path


def pages(start: int, length: int) -> slice:
    return slice(start // mmap.PAGESIZE, (start + length) // mmap.PAGESIZE)


@pytest.mark.parametrize("prefix", [0, HEAD])
def test_the_first_read_that_waits_reads_on(on_disk: Rig, prefix: int) -> None:
    path = cold_file(on_disk, prefix=prefix)
    read(on_disk, 0)
    wait_until(lambda: all(cached(path)[pages(READ, FIRST)]), what="what comes next is in memory")


def test_a_read_that_begins_behind_the_head_reads_on(on_disk: Rig) -> None:
    """The head was in the kernel's cache, so only the tail is asked for."""
    path = cold_file(on_disk, prefix=HEAD)
    read(on_disk, HEAD)
    following = pages(HEAD + READ, FIRST)
    wait_until(lambda: all(cached(path)[following]), what="what comes next is in memory")


def test_reads_at_random_read_nothing_ahead(on_disk: Rig) -> None:
    path = cold_file(on_disk, prefix=HEAD)
    for offset in (10 * MIB, 4 * MIB, 8 * MIB):
        read(on_disk, offset)
    assert sum(cached(path)) <= 6 * READ // mmap.PAGESIZE  # of which half the device's own


def test_all_of_a_large_window_is_read(on_disk: Rig) -> None:
    """The kernel takes no more of one call than the device's largest request."""
    path = cold_file(on_disk, prefix=0)
    end = 6 * MIB
    for offset in range(0, end, READ):
        read(on_disk, offset)
    wanted = pages(end, AHEAD // 2)
    wait_until(lambda: all(cached(path)[wanted]), what="what comes next is in memory")
