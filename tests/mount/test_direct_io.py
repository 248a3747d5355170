"""O_DIRECT writes of libaio, and reads through the page cache beside them."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.support.fixtures import MakeMount, both_ways
from tests.support.proc import run

SIZE: Final = 1 << 20
TURNS: Final = 60
"""One in twelve left old bytes in the page cache."""

READ_EVERY: Final = 65536
PWRITE: Final = 1
EVENT_BYTES: Final = 32
FIRST_CALL: Final = {"x86_64": 206, "aarch64": 0}[platform.machine()]
IO_SETUP: Final = FIRST_CALL
IO_DESTROY: Final = FIRST_CALL + 1
IO_GETEVENTS: Final = {"x86_64": 208, "aarch64": 4}[platform.machine()]
IO_SUBMIT: Final = {"x86_64": 209, "aarch64": 2}[platform.machine()]
_LIBC = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: object) -> int:
    """A system call that succeeds."""
    result = _LIBC.syscall(ctypes.c_long(number), *arguments)
    assert result >= 0, os.strerror(ctypes.get_errno())
    return int(result)


@contextmanager
def context() -> Iterator[ctypes.c_ulong]:
    """io_setup(2)."""
    made = ctypes.c_ulong(0)
    call(IO_SETUP, ctypes.c_long(1), ctypes.byref(made))
    try:
        yield made
    finally:
        call(IO_DESTROY, made)


def submit(where: ctypes.c_ulong, descriptor: int, address: int) -> None:
    """Begin to write SIZE bytes to the beginning of a file (io_submit(2))."""
    fields = (0, 0, 0, PWRITE, 0, descriptor, address, SIZE, 0, 0, 0, 0)
    block = ctypes.create_string_buffer(struct.pack("=QIIHhIQQqQII", *fields), 64)
    blocks = (ctypes.c_void_p * 1)(ctypes.addressof(block))
    assert call(IO_SUBMIT, where, ctypes.c_long(1), blocks) == 1


def await_end(where: ctypes.c_ulong) -> None:
    """io_getevents(2)."""
    event, one = ctypes.create_string_buffer(EVENT_BYTES), ctypes.c_long(1)
    assert call(IO_GETEVENTS, where, one, one, event, None) == 1


def stale_reads(path: Path) -> int:
    """How often a buffered read after the end of a write still shows what was there before."""
    stale = 0
    path.write_bytes(bytes(SIZE))
    with ExitStack() as stack:
        direct = os.open(path, os.O_RDWR | os.O_DIRECT)
        stack.callback(os.close, direct)
        buffered = os.open(path, os.O_RDONLY)
        stack.callback(os.close, buffered)
        data = stack.enter_context(mmap.mmap(-1, SIZE))
        where = stack.enter_context(context())
        for turn in range(1, TURNS + 1):
            data[:] = bytes([turn]) * SIZE
            whole = (ctypes.c_char * SIZE).from_buffer(data)
            submit(where, direct, ctypes.addressof(whole))
            for offset in range(0, SIZE, READ_EVERY):
                os.pread(buffered, 4096, offset)
            await_end(where)
            del whole
            stale += os.pread(buffered, SIZE, 0) != data[:]
    return stale


@both_ways
def test_a_finished_write_is_seen_by_reads_begun_before_its_end(
    make_mount: MakeMount, options: tuple[str, ...]
) -> None:
    assert stale_reads(make_mount(*options).path / "file") == 0


STORE = """
import mmap, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
mapping = mmap.mmap(descriptor, 8192)
mapping[4096] = 7
mapping.flush()
"""


@both_ways
def test_a_mapping_of_a_file_opened_around_the_cache_is_written_back(
    make_mount: MakeMount, options: tuple[str, ...]
) -> None:
    """Dropping its pages waits for the write-back, which is this very WRITE."""
    path = make_mount(*options).path / "mapped"
    path.write_bytes(bytes(8192))
    run([sys.executable, "-c", STORE, path], timeout=20)
    assert path.read_bytes()[4096] == 7
