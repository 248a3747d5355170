"""Requests answered by functions: by the worker itself, or in a pool where they have to wait."""

from __future__ import annotations

import errno
import os
import stat
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.metadata.rows import inode
from tests.native.functions import Call, Functions
from tests.native.rig import PATIENCE_S, Rig
from tests.native.wire import AttrOut, Entry, Op, ReadIn, getattr_in, getxattr_in, write_in
from tierfs.fs.locks import WouldBlock

FILE, OTHER, DIRECTORY, MADE = 100, 1000, 200, 300
MODE = stat.S_IFREG | 0o640
CALLER = (1000, 1001, 1002)
"""As the requests of the tests have it."""

NAMES = [
    "lookup",
    "mknod",
    "mkdir",
    "symlink",
    "link",
    "unlink",
    "rmdir",
    "rename",
    "rename2",
    "readlink",
    "readdir",
    "fsyncdir",
    "getattr",
    "setattr",
    "getxattr",
    "listxattr",
    "setxattr",
    "removexattr",
    "statfs",
    "read",
    "write",
    "fsync",
]


@pytest.fixture
def functions() -> Functions:
    """All that the router can call."""
    return Functions(*NAMES)


@pytest.fixture
def rig(scratch: Path, functions: Functions) -> Iterator[Rig]:
    """A router that calls, after INIT."""
    with Rig(scratch, workers=1, functions=functions) as made:
        made.initialise()
        yield made
    made.forget()


def body(form: str, *fields: int, names: bytes = b"") -> bytes:
    """Fields and strings."""
    return struct.pack("=" + form, *fields) + names


SETATTR = body("IIQQQQqQIIIIIIII", 3, 0, 0, 5, 0, 6, -7, 0, 8, 9, 0, 0o600, 0, 11, 12, 0)

CALLS = [
    (Op.MKNOD, body("IIII", MODE, 7, 0o27, 0, names=b"n\0"), "mknod", (MODE, 7, 0o27, b"n"), "c"),
    (Op.MKDIR, body("II", 0o755, 0o27, names=b"n\0"), "mkdir", (0o755, 0o27, b"n"), "c"),
    (Op.SYMLINK, b"n\0to/there\0", "symlink", (b"n", b"to/there"), "c"),
    (Op.LINK, body("Q", FILE, names=b"n\0"), "link", (FILE, b"n"), ""),
    (Op.UNLINK, b"n\0", "unlink", (b"n",), ""),
    (Op.RMDIR, b"n\0", "rmdir", (b"n",), ""),
    (Op.RENAME, body("Q", 7, names=b"a\0b\0"), "rename", (7, b"a", b"b"), "c"),
    (Op.RENAME2, body("QII", 7, 2, 0, names=b"a\0b\0"), "rename2", (7, 2, b"a", b"b"), "c"),
    (
        Op.SETXATTR,
        body("II", 3, 1, names=b"user.a\0\0v\0"),
        "setxattr",
        (1, b"user.a", b"\0v\0"),
        "c",
    ),
    (Op.REMOVEXATTR, b"user.a\0", "removexattr", (b"user.a",), "c"),
    (Op.FSYNC, body("QII", 0, 1, 0), "fsync", (1,), "w"),
    (Op.FSYNCDIR, body("QII", 0, 1, 0), "fsyncdir", (1,), "w"),
    (Op.SETATTR, SETATTR, "setattr", ((3, 5, 6, -7, 8, 9, 0o600, 11, 12),), "cw"),
    (Op.WRITE, write_in(0, 7, b"data"), "write", (7, b"data"), "w"),
    (Op.READ, ReadIn(0, 7, 9).pack(), "read", (7, 9), "aw"),
    (Op.READDIRPLUS, ReadIn(0, 7, 9).pack(), "readdir", (7, 9), "a"),
    (Op.LOOKUP, b"n\0", "lookup", (b"n",), "aw"),
    (Op.GETATTR, getattr_in(), "getattr", (), "aw"),
    (Op.GETXATTR, getxattr_in(9, b"user.a"), "getxattr", (b"user.a",), "c"),
    (Op.LISTXATTR, getxattr_in(9), "listxattr", (), "c"),
    (Op.READLINK, b"", "readlink", (), ""),
    (Op.STATFS, b"", "statfs", (), ""),
]
"""Requests, and the function, its arguments and those by name: caller, again, wait."""


@pytest.mark.parametrize(("opcode", "message", "name", "arguments", "named"), CALLS)
def test_a_function_gets_the_fields_of_its_request(
    rig: Rig,
    functions: Functions,
    opcode: int,
    message: bytes,
    name: str,
    arguments: tuple[object, ...],
    named: str,
) -> None:
    unique = rig.kernel.request(opcode, DIRECTORY, message)
    call = functions.next()
    assert (call.name, call.arguments) == (name, (DIRECTORY, *arguments))
    expected = {"caller": CALLER, "again": False, "wait": False}
    assert call.keywords == {key: value for key, value in expected.items() if key[0] in named}
    call.answer(OSError(errno.EDQUOT, "no"))
    reply = rig.kernel.reply()
    assert (reply.unique, reply.error, reply.body) == (unique, errno.EDQUOT, b"")
    assert [type(exc) for _, exc in functions.failures] == [OSError]


@pytest.mark.parametrize(("opcode", "message"), [call[:2] for call in CALLS if call[1]])
def test_what_is_too_short_is_invalid(
    rig: Rig, functions: Functions, opcode: int, message: bytes
) -> None:
    for length in range(len(message)):
        if opcode in {Op.FSYNC, Op.FSYNCDIR, Op.SETATTR} and length >= len(message) - 4:
            continue  # the last field does not matter
        assert rig.kernel.ask(opcode, DIRECTORY, message[:length]).error == errno.EINVAL
    assert functions.are_idle()


def test_a_write_that_lies_about_its_size_is_invalid(rig: Rig, functions: Functions) -> None:
    for size in (0, 3, 5, 2**32 - 1):
        message = write_in(0, 0, b"data", size=size)
        assert rig.kernel.ask(Op.WRITE, FILE, message).error == errno.EINVAL
    assert functions.are_idle()


@pytest.mark.parametrize("size", [1, 4096, 4097, 1 << 17, 1 << 20])
def test_a_write_is_answered_with_what_was_written(
    rig: Rig, functions: Functions, size: int
) -> None:
    data = os.urandom(size)
    unique = rig.kernel.request(Op.WRITE, FILE, write_in(0, 7, data))
    call = functions.next()
    (_, _, given) = call.arguments
    assert bytes(given) == data
    call.answer(size)
    reply = rig.kernel.reply()
    assert (reply.unique, reply.body) == (unique, struct.pack("=II", size, 0))
    if isinstance(given, memoryview):
        with pytest.raises(ValueError, match="released"):
            bytes(given)


def test_an_inode_that_is_made_is_told_as_by_a_lookup(rig: Rig, functions: Functions) -> None:
    rig.kernel.request(Op.MKDIR, DIRECTORY, body("II", 0o755, 0, names=b"name\0"))
    rig.router.put_inode(inode(MADE, mode=MODE))
    rig.router.put_dentry(DIRECTORY, b"name", MADE)
    functions.next().answer(inode(MADE, mode=MODE))
    reply = rig.kernel.reply()
    entry = Entry.parse(reply.body)
    assert (reply.error, entry.nodeid, entry.attr.mode) == (0, MADE, MODE)
    assert rig.kernel.ask(Op.LOOKUP, DIRECTORY, b"name\0").body == reply.body


def test_what_cannot_be_cached_is_told_all_the_same(rig: Rig, functions: Functions) -> None:
    for value, found in ((inode(MADE, size=5), MADE), ((), 0)):
        rig.kernel.request(Op.LOOKUP, DIRECTORY, b"name\0")
        functions.next().answer()
        again = functions.next()
        assert again.keywords["again"]
        again.answer(value)
        entry = Entry.parse(rig.kernel.reply().body)
        assert (entry.nodeid, entry.entry_valid) == (found, 86400)


def test_a_size_and_its_blocks(rig: Rig, functions: Functions) -> None:
    sparse = inode(FILE, size=1 << 20)._replace(sparse=1)
    for value, valid, blocks in (((sparse, 8), 1, 8), (sparse, 0, 2048), (inode(FILE), 86400, 0)):
        rig.kernel.request(Op.GETATTR, FILE, getattr_in())
        functions.next().answer(value)
        told = AttrOut.parse(rig.kernel.reply().body)
        assert (told.valid, told.attr.blocks) == (valid, blocks)


def test_values_of_attributes_that_may_be_too_long(rig: Rig, functions: Functions) -> None:
    for size, error, told in (
        (0, 0, struct.pack("=II", 5, 0)),
        (4, errno.ERANGE, b""),
        (5, 0, b"value"),
    ):
        rig.kernel.request(Op.GETXATTR, FILE, getxattr_in(size, b"user.a"))
        functions.next().answer(b"value")
        reply = rig.kernel.reply()
        assert (reply.error, reply.body) == (error, told)


WRONG: list[tuple[int, bytes, object]] = [
    (Op.WRITE, write_in(0, 0, b"data"), "all"),
    (Op.WRITE, write_in(0, 0, b"data"), None),
    (Op.WRITE, write_in(0, 0, b"data"), -1),
    (Op.MKDIR, body("II", 0, 0, names=b"n\0"), None),
    (Op.MKDIR, body("II", 0, 0, names=b"n\0"), (1, 2)),
    (Op.SETATTR, SETATTR, (inode(FILE), "many")),
    (Op.READLINK, b"", "text"),
    (Op.READLINK, b"", bytes(2 << 20)),
    (Op.STATFS, b"", (1, 2)),
]


@pytest.mark.parametrize(("opcode", "message", "value"), WRONG)
def test_what_makes_no_reply_is_an_io_error(
    rig: Rig, functions: Functions, opcode: int, message: bytes, value: object
) -> None:
    rig.kernel.request(opcode, FILE, message)
    functions.next().answer(value)
    assert rig.kernel.reply().error == errno.EIO


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_failure_that_nobody_can_name_is_an_io_error(rig: Rig, functions: Functions) -> None:
    for failure in (ZeroDivisionError(), KeyboardInterrupt()):
        rig.kernel.request(Op.UNLINK, DIRECTORY, b"n\0")
        functions.next().answer(failure)
        assert rig.kernel.reply().error == errno.EIO


# -------- where it has to wait


def test_what_must_wait_goes_on_elsewhere_and_holds_nobody_up(
    rig: Rig, functions: Functions
) -> None:
    """As many as there are threads for disks, and more."""
    slow: list[Call] = []
    for number in range(80):
        rig.kernel.request(Op.WRITE, FILE + number, write_in(0, 0, b"data"))
        first = functions.next()
        assert not first.keywords["wait"]
        first.answer(WouldBlock())
        if number < 64:
            slow.append(functions.next())
            assert slow[-1].keywords["wait"]
            assert slow[-1].thread != first.thread
    assert functions.are_idle()
    unique = rig.kernel.request(Op.UNLINK, DIRECTORY, b"n\0")
    functions.next().answer()
    assert rig.kernel.reply().unique == unique
    rig.router.put_inode(inode(OTHER))
    assert rig.kernel.ask(Op.GETATTR, OTHER, getattr_in()).error == 0
    for call in slow:
        call.answer(4)
    for _ in range(80 - len(slow)):
        functions.next().answer(4)
    assert {rig.kernel.reply().error for _ in range(80)} == {0}


def test_what_must_wait_may_go_on_with_something_else(rig: Rig, functions: Functions) -> None:
    threads = []

    def resume() -> object:
        threads.append(threading.get_native_id())
        return inode(FILE, size=5), 8

    rig.kernel.request(Op.GETATTR, FILE, getattr_in())
    call = functions.next()
    call.answer(WouldBlock(resume))
    assert AttrOut.parse(rig.kernel.reply().body).attr.size == 5
    assert threads
    assert threads != [call.thread]
    assert functions.are_idle()


def test_a_large_write_that_must_wait_keeps_its_bytes(rig: Rig, functions: Functions) -> None:
    data = [os.urandom(1 << 20) for _ in range(3)]
    slow = []
    for each in data:
        rig.kernel.request(Op.WRITE, FILE, write_in(0, 0, each))
        functions.next().answer(WouldBlock())
        slow.append(functions.next())
    for call, each in zip(slow, data, strict=True):
        assert bytes(call.arguments[2]) == each
        call.answer(1 << 20)
        assert rig.kernel.reply().error == 0


def test_an_index_that_is_busy_is_waited_for_elsewhere(scratch: Path) -> None:
    functions = Functions("unlink")
    busy = threading.Event()
    functions.ready = lambda: not busy.is_set()  # type: ignore[attr-defined]
    with Rig(scratch, workers=1, functions=functions) as rig:
        rig.initialise()
        threads = set()
        for _ in range(2):
            rig.kernel.request(Op.UNLINK, DIRECTORY, b"n\0")
            call = functions.next()
            threads.add(call.thread)
            call.answer()
            assert rig.kernel.reply().error == 0
            busy.set()
        assert len(threads) == 2
    rig.forget()


def test_threads_that_must_not_wait_for_a_disk_are_told_so(scratch: Path) -> None:
    functions = Functions("write", "fsync")
    told: set[int] = set()
    functions.never_waits = lambda: told.add(threading.get_native_id())  # type: ignore[attr-defined]
    with Rig(scratch, workers=1, functions=functions) as rig:
        rig.initialise()
        rig.kernel.request(Op.WRITE, FILE, write_in(0, 0, b"data"))
        first = functions.next()
        first.answer(WouldBlock())
        second = functions.next()
        rig.kernel.request(Op.FSYNC, FILE, body("QII", 0, 0, 0))
        tried = functions.next()
        assert tried.thread == first.thread
        tried.answer(WouldBlock())
        third = functions.next()
        assert told == {first.thread}
        for call, value in ((second, 4), (third, None)):
            call.answer(value)
            assert rig.kernel.reply().error == 0
    rig.forget()


# -------- one after the other


def test_calls_are_made_in_the_order_of_the_requests(scratch: Path) -> None:
    """Whoever of many workers has read them."""
    functions = Functions("write", "getattr")
    with Rig(scratch, workers=4, functions=functions) as rig:
        rig.initialise()
        rig.router.put_inode(inode(FILE, size=5))
        rig.kernel.request(Op.WRITE, FILE, write_in(0, 0, b"data"))
        write = functions.next()
        stat_ = rig.kernel.request(Op.GETATTR, FILE, getattr_in())
        assert functions.are_idle(0.2)
        rig.router.put_inode(inode(FILE, size=9))
        write.answer(4)
        rig.kernel.reply()
        functions.next().answer()
        reply = rig.kernel.reply()
        assert (reply.unique, AttrOut.parse(reply.body).attr.size) == (stat_, 9)
    rig.forget()


@pytest.mark.parametrize("workers", [1, 4])
def test_a_call_that_takes_long_holds_up_nobody_who_needs_none(scratch: Path, workers: int) -> None:
    functions = Functions("unlink", "lookup")
    with Rig(scratch, workers=workers, functions=functions) as rig:
        rig.initialise()
        rig.router.put_inode(inode(OTHER))
        for _ in range(3):
            long = rig.kernel.request(Op.UNLINK, DIRECTORY, b"n\0")
            call = functions.next()
            for _ in range(100):
                assert rig.kernel.ask(Op.GETATTR, OTHER, getattr_in()).error == 0
            queued = [rig.kernel.request(Op.UNLINK, DIRECTORY, b"n\0") for _ in range(20)]
            assert rig.kernel.ask(Op.GETATTR, OTHER, getattr_in()).error == 0
            for unique in (long, *queued):
                call.answer()
                assert rig.kernel.reply().unique == unique
                if unique != queued[-1]:
                    call = functions.next()
            time.sleep(0.1)  # nobody looks any more
    rig.forget()


def test_calls_of_many_clients_are_made_by_one_thread(scratch: Path) -> None:
    """Else each call may find Python's memory in another core's caches."""
    functions, threads = Functions("unlink"), list[int]()

    def unlink(*_: object) -> None:
        threads.append(threading.get_native_id())
        sum(range(1000))

    functions.unlink = unlink  # type: ignore[attr-defined]
    with Rig(scratch, workers=4, functions=functions) as rig:
        rig.initialise()
        for _ in range(300):
            for _ in range(16):
                rig.kernel.request(Op.UNLINK, DIRECTORY, b"n\0")
            for _ in range(16):
                assert rig.kernel.reply().error == 0
    rig.forget()
    shares = sorted(threads.count(thread) for thread in set(threads))
    assert shares[-1] > 0.95 * len(threads), shares


# -------- the end


def test_stopping_waits_for_calls(rig: Rig, functions: Functions) -> None:
    calls = []
    rig.kernel.request(Op.WRITE, FILE, write_in(0, 0, b"data"))
    functions.next().answer(WouldBlock())
    calls.append(functions.next())
    rig.kernel.request(Op.FSYNC, FILE, body("QII", 0, 0, 0))
    functions.next().answer(WouldBlock())
    calls.append(functions.next())
    rig.kernel.request(Op.UNLINK, DIRECTORY, b"n\0")
    calls.append(functions.next())
    stopping = threading.Thread(target=rig.router.stop, daemon=True)
    stopping.start()
    for call in calls:
        stopping.join(0.1)
        assert stopping.is_alive()
        call.answer(4 if call.name == "write" else None)
    stopping.join(PATIENCE_S)
    assert not stopping.is_alive()


def test_functions_are_named_before_the_start(rig: Rig, functions: Functions) -> None:
    with pytest.raises(RuntimeError):
        rig.router.set_upcalls(functions)


def test_a_function_that_is_missing_leaves_its_requests_to_pyfuse3(scratch: Path) -> None:
    with Rig(scratch, workers=1, functions=Functions("write")) as rig:
        rig.initialise()
        assert rig.forwarded(Op.UNLINK, DIRECTORY, b"n\0").opcode == Op.UNLINK
    rig.forget()
