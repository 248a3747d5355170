"""The metrics count what strace saw a program do."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.exporter import scrape
from tests.support.mounting import FAST_PATH, Mount
from tests.support.proc import Argument, run

TRANSFERS = "pread64,preadv,preadv2,pwrite64"
LINE = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
OPERATIONS = {
    "mkdir": "mkdir",
    "mkdirat": "mkdir",
    "rename": "rename",
    "renameat": "rename",
    "renameat2": "rename",
    "unlink": "unlink",
    "unlinkat": "unlink",
    "setxattr": "setxattr",
}
"""The request that a system call makes."""

PROGRAM = """
import contextlib, mmap, os, sys
top = sys.argv[1]
failed = contextlib.suppress(OSError)
for number in range(7):
    os.mkdir(f"{top}/directory-{number}")
    open(f"{top}/file-{number}", "w").close()
with failed:
    os.mkdir(f"{top}/directory-0")
with failed:
    os.mkdir(f"{top}/none/below")
for number in range(5):
    os.rename(f"{top}/file-{number}", f"{top}/directory-1/file-{number}")
os.rename(f"{top}/directory-2", f"{top}/directory-3")
with failed:
    os.rename(f"{top}/file-0", f"{top}/file-9")
with failed:
    os.rename(f"{top}/directory-0", f"{top}/directory-1")
for number in range(3):
    os.unlink(f"{top}/directory-1/file-{number}")
with failed:
    os.unlink(f"{top}/directory-1/file-0")
with failed:
    os.unlink(f"{top}/directory-1")
for number in range(4):
    os.setxattr(f"{top}/file-5", f"user.{number}", b"x" * 100)
with failed:
    os.setxattr(f"{top}/file-5", "user.0", b"y", os.XATTR_CREATE)
with failed:
    os.setxattr(f"{top}/file-5", "user.none", b"y", os.XATTR_REPLACE)
direct = os.open(f"{top}/file-6", os.O_RDWR | os.O_DIRECT)
memory = memoryview(mmap.mmap(-1, 1 << 20))
for offset, size in [(0, 4096), (4096, 65536), (1 << 20, 1 << 20), (8192, 4096)]:
    os.pwrite(direct, memory[:size], offset)
for offset, size in [(0, 1 << 20), (0, 4096), (0, 4096), (1 << 20, 1 << 20), (1 << 30, 4096)]:
    os.preadv(direct, [memory[:size]], offset)
"""
"""What fails is found by the kernel, or by tierfs: neither is a success."""


class Seen(NamedTuple):
    """What strace saw below a directory."""

    succeeded: Counter[str]
    read: int
    written: int


def traced(mount: Mount, log: Path) -> Seen:
    """Run the program on a mount."""
    strace: list[Argument] = [
        "strace",
        "-f",
        "-y",
        "-o",
        log,
        "-e",
        f"trace={','.join(OPERATIONS)},{TRANSFERS}",
    ]
    run([*strace, sys.executable, "-c", PROGRAM, mount.path])
    succeeded: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for call, arguments, result in LINE.findall(log.read_text()):
        if str(mount.path) not in arguments or int(result) < 0:
            continue
        if call in OPERATIONS:
            succeeded[OPERATIONS[call]] += 1
        else:
            size["read" if call.startswith("pread") else "written"] += int(result)
    return Seen(succeeded, size["read"], size["written"])


def test_the_metrics_are_what_strace_saw(mounted: Mount, tmp_path: Path) -> None:
    before = scrape(mounted)
    seen = traced(mounted, tmp_path / "strace")
    assert seen.succeeded == {"mkdir": 7, "rename": 6, "unlink": 3, "setxattr": 4}
    assert (seen.written, seen.read) == (4096 + 65536 + 2**20 + 4096, 2**21 + 2 * 4096)

    def grown(name: str) -> int:
        return int(after.get(name, 0) - before.get(name, 0))

    after = scrape(mounted)
    for operation, number in seen.succeeded.items():
        name = f'tierfs_requests_total{{operation="{operation}",result="ok"}}'
        assert grown(name) == number, operation
    for what, wanted in (("read", seen.read), ("written", seen.written)):
        tiers = [f'tierfs_{what}_bytes_total{{tier="{tier}"}}' for tier in ("flash", "disk")]
        assert sum(map(grown, tiers)) == wanted, what


def too_small(path: Path) -> None:
    """Ask for an attribute with a buffer into which it does not fit."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getxattr(os.fsencode(path), b"user.long", ctypes.create_string_buffer(10), 10) < 0:
        raise OSError(ctypes.get_errno(), "getxattr")


Failure = tuple[int, str, Callable[[Path], object]]
FAILURES: list[Failure] = [
    (errno.ENODATA, "getxattr", lambda path: os.getxattr(path, "user.none")),
    (errno.ENOTEMPTY, "rmdir", lambda path: path.parent.rmdir()),
]
FOUND_BY_PYFUSE3: list[Failure] = [
    (errno.ERANGE, "getxattr", too_small),
    (errno.ENODATA, "setxattr", lambda path: os.setxattr(path, "user.n", b"", os.XATTR_REPLACE)),
    (errno.EEXIST, "setxattr", lambda path: os.setxattr(path, "user.long", b"", os.XATTR_CREATE)),
]
"""Without the router: it tells the handlers neither the flags nor the size of the buffer."""


@pytest.mark.parametrize(
    ("number", "operation", "fail"),
    [*FAILURES, *(FOUND_BY_PYFUSE3 if FAST_PATH else ())],
    ids=lambda value: str(value)[:12],
)
def test_a_failure_has_its_own_name(
    mounted: Mount, number: int, operation: str, fail: Callable[[Path], object]
) -> None:
    """ERANGE was once counted as ENODATA."""
    path = mounted.path / "directory" / "file"
    path.parent.mkdir()
    path.touch()
    os.setxattr(path, "user.long", b"x" * 100)
    name = errno.errorcode[number]
    before = scrape(mounted)
    with pytest.raises(OSError, check=lambda error: error.errno == number):
        fail(path)
    after = scrape(mounted)
    results = {
        key: after[key] - before.get(key, 0)
        for key in after
        if key.startswith(f'tierfs_requests_total{{operation="{operation}"')
    }
    assert {key for key, count in results.items() if count} == {
        f'tierfs_requests_total{{operation="{operation}",result="{name}"}}'
    }
