"""Requests of ranges, nameless files and times of birth: by functions, and out of the table."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.metadata.rows import inode
from tests.native.functions import Functions
from tests.native.rig import Rig
from tests.native.wire import Entry, Op, getattr_in
from tierfs.fs.locks import WouldBlock
from tierfs.metadata.inodes import Inode

FILE, OTHER, DIRECTORY, MADE = 100, 1000, 200, 300
SECOND = 10**9
BASIC, BIRTH = 0x7FF, 0x800
FALLOCATE = struct.pack("=QQQII", 0, 5, 2**40, 3, 0)
LSEEK = struct.pack("=QqII", 0, -5, os.SEEK_DATA, 0)
COPY = struct.pack("=QQQQQQQ", 0, 5, OTHER, 0, 2**40, 2**33, 0)
STATX = struct.pack("=IIQII", 0, 0, 0, 0, BASIC | BIRTH)
TMPFILE = struct.pack("=IIII", os.O_TMPFILE | os.O_EXCL, stat.S_IFREG | 0o600, 0o27, 0) + b"/\0"

CALLS = [
    (Op.FALLOCATE, FALLOCATE, "fallocate", (5, 2**40, 3), {"wait": False}),
    (Op.LSEEK, LSEEK, "lseek", (-5, os.SEEK_DATA), {"wait": True}),
    (Op.COPY_FILE_RANGE, COPY, "copy_file_range", (5, OTHER, 2**40, 2**33), {"wait": False}),
    (Op.COPY_FILE_RANGE_64, COPY, "copy_file_range_64", (5, OTHER, 2**40, 2**33), {"wait": False}),
    (
        Op.TMPFILE,
        TMPFILE,
        "tmpfile",
        (os.O_TMPFILE | os.O_EXCL, stat.S_IFREG | 0o600, 0o27),
        {"caller": (1000, 1001, 1002)},
    ),
    (Op.STATX, STATX, "getattr", (), {"again": False, "wait": False}),
]
"""Requests, and the function, its arguments and those by name."""

_STATX = struct.Struct("=QII16xIIQIIIHxxQQQQqIiqIiqIiqIiIIII112x")
TIMES = ("atime", "btime", "ctime", "mtime")


class Statx(NamedTuple):
    """``struct fuse_statx_out`` without what is always 0."""

    valid: int
    mask: int
    blksize: int
    nlink: int
    uid: int
    gid: int
    mode: int
    ino: int
    size: int
    blocks: int
    atime: int
    btime: int
    ctime: int
    mtime: int
    rdev: int

    @classmethod
    def parse(cls, body: bytes) -> Statx:
        """The structure in a reply."""
        valid, _, _, mask, blksize, _, nlink, uid, gid, mode, ino, size, blocks, _, *rest = (
            _STATX.unpack(body)
        )
        atime, btime, ctime, mtime = (
            rest[at] * SECOND + rest[at + 1] for at in range(0, len(TIMES) * 3, 3)
        )
        rdev = os.makedev(rest[-4], rest[-3])
        times = (atime, btime, ctime, mtime)
        return cls(valid, mask, blksize, nlink, uid, gid, mode, ino, size, blocks, *times, rdev)


@pytest.fixture
def functions() -> Functions:
    """All that the router can call."""
    return Functions(*{name for _, _, name, _, _ in CALLS})


@pytest.fixture
def rig(scratch: Path, functions: Functions) -> Iterator[Rig]:
    """A router that calls, after INIT."""
    with Rig(scratch, workers=1, functions=functions) as made:
        made.initialise()
        yield made
    made.forget()


@pytest.mark.parametrize(("opcode", "message", "name", "arguments", "named"), CALLS)
def test_a_function_gets_the_fields_of_its_request(
    rig: Rig,
    functions: Functions,
    opcode: int,
    message: bytes,
    name: str,
    arguments: tuple[object, ...],
    named: dict[str, object],
) -> None:
    unique = rig.kernel.request(opcode, FILE, message)
    call = functions.next()
    assert (call.name, call.arguments, call.keywords) == (name, (FILE, *arguments), named)
    call.answer(OSError(errno.EOPNOTSUPP, "no"))
    reply = rig.kernel.reply()
    assert (reply.unique, reply.error, reply.body) == (unique, errno.EOPNOTSUPP, b"")


@pytest.mark.parametrize(("opcode", "message"), [call[:2] for call in CALLS])
def test_what_is_too_short_is_invalid(
    rig: Rig, functions: Functions, opcode: int, message: bytes
) -> None:
    least = {Op.TMPFILE: 16}.get(Op(opcode), len(message))
    for length in range(least):
        assert rig.kernel.ask(opcode, FILE, message[:length]).error == errno.EINVAL
    assert functions.are_idle()


@pytest.mark.parametrize(
    ("opcode", "message", "value", "body"),
    [
        (Op.FALLOCATE, FALLOCATE, None, b""),
        (Op.LSEEK, LSEEK, 2**62, struct.pack("=Q", 2**62)),
        (Op.COPY_FILE_RANGE, COPY, 2**32 - 4096, struct.pack("=II", 2**32 - 4096, 0)),
        (Op.COPY_FILE_RANGE_64, COPY, 2**33, struct.pack("=Q", 2**33)),
    ],
)
def test_what_a_function_returns_is_told(
    rig: Rig, functions: Functions, opcode: int, message: bytes, value: object, body: bytes
) -> None:
    rig.kernel.request(opcode, FILE, message)
    functions.next().answer(value)
    reply = rig.kernel.reply()
    assert (reply.error, reply.body) == (0, body)


def test_a_nameless_file_is_told_and_open(rig: Rig, functions: Functions) -> None:
    rig.kernel.request(Op.TMPFILE, DIRECTORY, TMPFILE)
    functions.next().answer(inode(MADE, nlink=0))
    body = rig.kernel.reply().body
    entry = Entry.parse(body[:-16])
    assert (entry.nodeid, entry.attr.nlink) == (MADE, 0)
    assert struct.unpack("=QII", body[-16:]) == (MADE, 2, 0)  # FOPEN_KEEP_CACHE
    assert rig.kernel.ask(Op.RELEASE, MADE, bytes(24)).error == 0
    assert functions.are_idle()


def row(**changes: Any) -> Inode:  # noqa: ANN401 - fields
    """An inode with different times."""
    made = inode(FILE, mode=stat.S_IFREG | 0o4640, size=5000)
    made = made._replace(uid=5, gid=6, atime=7 * SECOND + 1, mtime=-3)
    made = made._replace(ctime=2**33 * SECOND, btime=9 * SECOND)
    return made._replace(**changes)


def test_a_time_of_birth_is_told_from_the_cache(rig: Rig, functions: Functions) -> None:
    for each in (row(), row(btime=0), row(mode=stat.S_IFBLK | 0o600, rdev=os.makedev(259, 70000))):
        rig.router.put_inode(each)
        found = Statx.parse(rig.kernel.ask(Op.STATX, FILE, STATX).body)
        assert found == Statx(
            86400,
            BASIC | (BIRTH if each.btime else 0),
            131072,
            1,
            5,
            6,
            each.mode,
            FILE,
            5000,
            16 if stat.S_ISREG(each.mode) else 0,
            each.atime,
            each.btime,
            each.ctime,
            each.mtime,
            each.rdev,
        )
    assert functions.are_idle()


def test_blocks_beside_a_time_of_birth_are_counted(rig: Rig, functions: Functions) -> None:
    rig.router.put_inode(row(sparse=1))
    rig.kernel.request(Op.STATX, FILE, STATX)
    functions.next().answer((row(sparse=1), 8))
    found = Statx.parse(rig.kernel.reply().body)
    assert (found.valid, found.blocks, found.btime) == (1, 8, 9 * SECOND)


@pytest.mark.parametrize("opcode", [Op.COPY_FILE_RANGE, Op.COPY_FILE_RANGE_64])
@pytest.mark.parametrize(("asked", "message"), [(Op.GETATTR, getattr_in()), (Op.STATX, STATX)])
def test_the_target_of_a_copy_is_not_told_of_from_the_cache_meanwhile(
    rig: Rig, functions: Functions, opcode: int, asked: int, message: bytes
) -> None:
    """Its size may be another already, which the kernel does not take before the reply."""
    for number in (FILE, OTHER):
        rig.router.put_inode(inode(number, size=5))
    copying = rig.kernel.request(opcode, FILE, COPY)
    functions.next().answer(WouldBlock())
    copy = functions.next()
    assert copy.keywords == {"wait": True}
    assert rig.kernel.ask(asked, FILE, message).error == 0  # of the source all is known
    telling = rig.kernel.request(asked, OTHER, message)
    call = functions.next()
    assert (call.name, call.arguments) == ("getattr", (OTHER,))
    call.answer(inode(OTHER, size=7))
    assert rig.kernel.reply().unique == telling
    copy.answer(2)
    assert rig.kernel.reply().unique == copying
