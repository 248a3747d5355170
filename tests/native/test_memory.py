"""Nothing leaks: what is over leaves no memory in use."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.metadata.rows import inode
from tests.native.rig import MAX_WRITE, Rig, make_router
from tests.native.wire import Op, ReadIn, getxattr_in, write_in
from tests.support.proc import REPOSITORY
from tierfs.fs.locks import WouldBlock
from tierfs.metadata.inodes import ROOT

ROUNDS = 150
TOLERATED = 20 * ROUNDS
"""Bytes: less than the smallest thing that could leak would take, once a round."""


class Mallinfo2(ctypes.Structure):
    """``struct mallinfo2`` of malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


LIBC = ctypes.CDLL(None)
LIBC.mallinfo2.restype = Mallinfo2


def in_use() -> int:
    """Bytes that malloc(3) has given out; a sanitizer's malloc does not count."""
    info = LIBC.mallinfo2()
    return int(info.uordblks) + int(info.hblkhd)


def grows(action: Callable[[], None]) -> int:
    """Bytes more in use after many rounds, when the first ones have made what is kept."""
    for _ in range(ROUNDS // 10):
        action()
    before = in_use()
    for _ in range(ROUNDS):
        action()
    return in_use() - before


def live(scratch: Path) -> None:
    """One whole life, and an end with all kinds of things in flight."""
    with Rig(scratch, workers=2, max_write=65536) as rig:
        rig.initialise()
        rig.router.put_inode(inode(7, size=100))
        rig.router.put_dentry(ROOT, b"n", 7)
        rig.router.put_dentry(ROOT, b"absent", 0)
        rig.router.put_xattrs(7, [(b"user.a", bytes(100))])
        rig.kernel.ask(Op.LOOKUP, ROOT, b"n\0")
        for _ in range(3):
            rig.kernel.request(Op.READ, 99, ReadIn(0, 0, 60_000).pack())
            rig.kernel.request(Op.WRITE, 7, write_in(0, 0, bytes(10_000)))
            rig.kernel.request(Op.GETXATTR, 8, getxattr_in(100, b"user.a"))


def test_a_router_that_starts_and_ends_leaks_nothing(scratch: Path) -> None:
    assert grows(lambda: live(scratch)) < TOLERATED


def test_routers_that_cannot_start(scratch: Path) -> None:
    def fail() -> None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            make_router(scratch, scratch).start(
                999, workers=1, spin_us=0, disk_threads=1, max_write=4096, io_uring=False
            )

    assert grows(fail) < TOLERATED


def test_what_is_cached_and_dropped(rig: Rig) -> None:
    def cache_rows() -> None:
        for ino in range(10, 30):
            rig.router.put_inode(inode(ino))
            rig.router.put_dentry(ROOT, b"%d" % ino, ino)
            rig.router.put_dentry(ROOT, b"absent-%d" % ino, 0)
            rig.router.put_xattrs(ino, [(b"user.a", bytes(50))])
            rig.router.put_xattrs(ino, [(b"user.b", bytes(60))])
            rig.router.add_lookups(ino)
            rig.router.drop_inode(ino)
            rig.router.drop_dentry(ROOT, b"absent-%d" % ino)
            rig.router.counters()
            rig.router.heat(100)

    assert grows(cache_rows) < TOLERATED


BUFFERS = 16
"""Of requests that had to wait, kept for the next ones, and of the threads where they wait."""


class Answers:
    """For ``Router.set_upcalls``: answers of each kind, and errors."""

    @staticmethod
    def write(_ino: int, offset: int, data: bytes | memoryview, *, wait: bool) -> int:
        """What is not at the beginning must wait."""
        if offset and not wait:
            raise WouldBlock
        return len(data)

    @staticmethod
    def read(_ino: int, _offset: int, size: int, *, again: bool, **_others: object) -> bytes | None:
        """First cached, then read."""
        return bytes(size) if again else None

    @staticmethod
    def mkdir(*_fields: object, **_others: object) -> None:
        """Fails."""
        raise ZeroDivisionError

    @staticmethod
    def failed(_operation: str, exc: BaseException, _seconds: float) -> int | None:
        """See ``Router.set_upcalls``."""
        return None if isinstance(exc, WouldBlock) else 5


def test_requests_leak_nothing(scratch: Path) -> None:
    with Rig(scratch, workers=1, functions=Answers()) as rig:
        rig.initialise()

        def ask() -> None:
            for offset, size in ((0, 5), (0, 50_000), (0, 300_000)):
                reply = rig.kernel.ask(Op.WRITE, 9, write_in(0, offset, bytes(size)))
                assert reply.body == struct.pack("=II", size, 0)
            assert len(rig.kernel.ask(Op.READ, 9, ReadIn(0, 0, 100_000).pack()).body) == 100_000
            assert rig.kernel.ask(Op.MKDIR, 9, struct.pack("=II", 0o755, 0) + b"n\0").error == 5
            unique = rig.kernel.request(Op.READLINK, 9)
            rig.pyfuse3.reply(rig.pyfuse3.request(), error=5)
            assert rig.kernel.reply().unique == unique

        assert grows(ask) < TOLERATED

        def ask_for_what_waits() -> None:
            for size in (50_000, 300_000):
                reply = rig.kernel.ask(Op.WRITE, 9, write_in(0, 9, bytes(size)))
                assert reply.body == struct.pack("=II", size, 0)

        assert grows(ask_for_what_waits) < BUFFERS * (MAX_WRITE + 65536)
    rig.forget()


def test_arguments_that_are_refused_leak_nothing(rig: Rig) -> None:
    def refuse() -> None:
        with pytest.raises(TypeError):
            rig.router.put_inode((1, 2))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="inode number"):
            rig.router.put_inode(inode(0))
        with pytest.raises(OverflowError):
            rig.router.put_inode(inode(2**64))
        with pytest.raises(TypeError):
            rig.router.put_xattrs(7, [(b"user.a", b"1"), 5])  # type: ignore[list-item]
        with pytest.raises(ValueError, match="name"):
            rig.router.put_dentry(ROOT, b"", 7)

    assert grows(refuse) < TOLERATED


# -------- what one thread frees, another can use

# Prints what the process has in memory after each turn; of as many threads as THREADS says.
THREADS = 4
CACHED_BY_THREADS = """
import os, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tests.native.rig import make_router
from tests.metadata.rows import inode

def taken():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

router = make_router(Path(), Path(), 32 << 20)

def cache_rows(first):
    for ino in range(first, first + 100_000):
        router.put_inode(inode(ino))
        router.put_dentry(1, b"%d" % ino, ino)

with ThreadPoolExecutor(4) as threads:
    all_there = threading.Barrier(4)
    list(threads.map(lambda _: all_there.wait(), range(4)))
    for first in range(10, 2_000_000, 200_000):  # each time by the next of the threads
        threads.submit(cache_rows, first).result()
        router.clear()
        print(taken())
"""


def test_what_was_cached_by_another_thread_leaves_room(scratch: Path) -> None:
    """Names are cached by the event loop and by each thread that calls."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    # A sanitizer's malloc replaces the slabs: it withholds what was freed, and keeps some for each
    # thread, so that the memory is steady only when each of them has had its turn.
    environment["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"
    turns = THREADS if "TIERFS_SANITIZER" in os.environ else 1
    command = [sys.executable, "-c", CACHED_BY_THREADS]
    printed = subprocess.check_output(command, text=True, cwd=scratch, env=environment)
    taken = [int(line) for line in printed.split()]
    assert max(taken[turns:]) < max(taken[:turns]) + (4 << 20), printed
