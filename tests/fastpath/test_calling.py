"""MKNOD and WRITE answered by functions, in the router's leading thread."""

from __future__ import annotations

import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fastpath.rig import Rig
from tests.fastpath.wire import Entry, Op, getattr_in, write_in
from tests.index.rows import inode
from tierfs.index.inodes import Inode

FILE, OTHER, DIRECTORY, MADE = 100, 101, 200, 300
MODE = stat.S_IFREG | 0o640
SOME = 64
"""Requests of one client after which it counts as the only one."""


class Functions:
    """Remembers what it is called with, and answers as it is told."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int, bytes]] = []
        self.made: list[tuple[object, ...]] = []
        self.threads: set[int] = set()
        self.views: list[memoryview] = []
        self.answer: Inode | int | None = inode(MADE, mode=MODE)
        self.raises = False
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def write(self, ino: int, offset: int, data: memoryview) -> int | None:
        """For WRITE: all of it, unless told otherwise."""
        self._called()
        self.written.append((ino, offset, bytes(data)))
        self.views.append(data)
        return len(data) if isinstance(self.answer, Inode) else self.answer

    def make(self, *fields: object) -> Inode | int | None:
        """For MKNOD."""
        self._called()
        self.made.append(fields)
        return self.answer

    def _called(self) -> None:
        self.threads.add(threading.get_ident())
        self.begun.set()
        self.go_on.wait()
        if self.raises:
            raise ZeroDivisionError


@pytest.fixture
def functions() -> Functions:
    """What the router calls."""
    return Functions()


@pytest.fixture
def rig(scratch: Path, functions: Functions) -> Iterator[Rig]:
    """A router that calls, after INIT."""
    with Rig(scratch, workers=1, functions=(functions.write, functions.make)) as made:
        made.initialise()
        yield made
        functions.go_on.set()
    made.forget()


def mknod_in(name: bytes) -> bytes:
    """The body of MKNOD: mode, rdev, umask, padding, name."""
    return struct.pack("=IIII", MODE, 0, 0o27, 0) + name + b"\0"


def ask_often(rig: Rig) -> None:
    """Make requests that are answered natively."""
    rig.router.put_inode(inode(OTHER))
    for _ in range(SOME):
        assert rig.kernel.ask(Op.GETATTR, OTHER, getattr_in()).error == 0


@pytest.fixture
def alone(rig: Rig) -> None:
    """A client that makes one request after the other."""
    ask_often(rig)


@pytest.mark.usefixtures("alone")
def test_a_write_is_answered_with_what_was_written(rig: Rig, functions: Functions) -> None:
    for data in (b"x", os.urandom(32768), os.urandom(1 << 17)):
        reply = rig.kernel.ask(Op.WRITE, FILE, write_in(0, 7, data))
        assert (reply.error, struct.unpack("=II", reply.body)) == (0, (len(data), 0))
        assert functions.written.pop() == (FILE, 7, data)


@pytest.mark.usefixtures("alone")
def test_the_bytes_of_a_write_cannot_be_read_later(rig: Rig, functions: Functions) -> None:
    rig.kernel.ask(Op.WRITE, FILE, write_in(0, 0, b"data"))
    with pytest.raises(ValueError, match="released"):
        bytes(functions.views[0])


@pytest.mark.usefixtures("alone")
def test_an_inode_that_is_made_is_told_as_by_a_lookup(rig: Rig, functions: Functions) -> None:
    reply = rig.kernel.ask(Op.MKNOD, DIRECTORY, mknod_in(b"name"))
    assert functions.made == [(DIRECTORY, b"name", MODE, 0, 1000, 1001, 0o27)]
    entry = Entry.parse(reply.body)
    assert (reply.error, entry.nodeid, entry.attr.mode) == (0, MADE, MODE)
    rig.router.put_inode(inode(MADE, mode=MODE))
    rig.router.put_entry(DIRECTORY, b"name", MADE)
    assert rig.kernel.ask(Op.LOOKUP, DIRECTORY, b"name\0").body == reply.body


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EEXIST])
def test_an_error_is_told(rig: Rig, functions: Functions, number: int) -> None:
    functions.answer = -number
    assert rig.kernel.ask(Op.WRITE, FILE, write_in(0, 0, b"data")).error == number
    assert rig.kernel.ask(Op.MKNOD, DIRECTORY, mknod_in(b"name")).error == number


@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_function_that_fails_is_an_io_error(rig: Rig, functions: Functions) -> None:
    functions.raises = True
    assert rig.kernel.ask(Op.WRITE, FILE, write_in(0, 0, b"data")).error == errno.EIO
    assert rig.kernel.ask(Op.MKNOD, DIRECTORY, mknod_in(b"name")).error == errno.EIO


@pytest.mark.usefixtures("alone")
def test_what_would_have_to_wait_is_passed_on(rig: Rig, functions: Functions) -> None:
    functions.answer = None
    for opcode, body in ((Op.WRITE, write_in(0, 5, b"data")), (Op.MKNOD, mknod_in(b"name"))):
        request = rig.passed_on(opcode, FILE, body)
        assert request.opcode == opcode
        assert request.body[-5:] == body[-5:]


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (Op.WRITE, write_in(0, 0, b"data", size=5)),
        (Op.WRITE, b"short"),
        (Op.MKNOD, mknod_in(b"no end")[:-1]),
        (Op.MKNOD, b"short"),
    ],
)
def test_what_is_malformed_is_no_call(
    rig: Rig, functions: Functions, opcode: int, body: bytes
) -> None:
    rig.passed_on(opcode, FILE, body)
    assert not functions.threads


def test_one_of_several_clients_is_not_waited_for(rig: Rig, functions: Functions) -> None:
    """Else what is answered natively would wait for Python."""
    rig.passed_on(Op.WRITE, FILE, write_in(0, 0, b"data"))
    assert not functions.threads


@pytest.mark.usefixtures("alone")
def test_what_is_large_is_passed_on(rig: Rig, functions: Functions) -> None:
    rig.passed_on(Op.WRITE, FILE, write_in(0, 0, bytes(1 << 18)))
    assert not functions.threads


@pytest.mark.usefixtures("alone")
def test_no_request_overtakes_one_that_was_passed_on(rig: Rig, functions: Functions) -> None:
    unlink = rig.kernel.request(Op.UNLINK, DIRECTORY, b"name\0")
    write = rig.kernel.request(Op.WRITE, FILE, write_in(0, 0, b"data"))
    for unique in (unlink, write):
        request = rig.pyfuse3.request()
        assert request.unique == unique
        rig.pyfuse3.reply(request)
        assert rig.kernel.reply().unique == unique
    assert not functions.threads


@pytest.mark.usefixtures("alone")
def test_stopping_waits_for_a_call(rig: Rig, functions: Functions) -> None:
    functions.go_on.clear()
    rig.kernel.request(Op.WRITE, FILE, write_in(0, 0, b"data"))
    assert functions.begun.wait(30)
    stopping = threading.Thread(target=rig.router.stop)
    stopping.start()
    stopping.join(0.1)
    assert stopping.is_alive()
    functions.go_on.set()
    stopping.join(30)
    assert not stopping.is_alive()


def test_functions_are_named_before_the_start(rig: Rig, functions: Functions) -> None:
    with pytest.raises(RuntimeError):
        rig.router.call(functions.write, functions.make)
