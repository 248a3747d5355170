"""What is forwarded to pyfuse3, and what comes back."""

from __future__ import annotations

import errno
import os
import select
import struct
from pathlib import Path

import pytest

from tests.native.rig import NO_OPEN, Rig
from tests.native.wire import (
    InitOut,
    Op,
    Reply,
    Request,
    getattr_in,
    init_in,
)

ATOMIC_O_TRUNC, DONT_MASK, MAX_PAGES, CACHE_SYMLINKS = 1 << 3, 1 << 6, 1 << 22, 1 << 23
ASYNC_DIO = 1 << 15
CHUNK = 65536


def test_a_miss_is_forwarded_unchanged(rig: Rig) -> None:
    for opcode, body in [
        (Op.LOOKUP, b"unknown\0"),
        (Op.GETATTR, getattr_in()),
        (Op.SETATTR, os.urandom(88)),
        (Op.MKNOD, os.urandom(16) + b"n\0"),
        (Op.UNLINK, b"n\0"),
        (Op.SETXATTR, os.urandom(65536 + 300)),
        (Op.STATFS, b""),
        (100, b"of a kind that nobody knows"),
        (4096, b""),
    ]:
        request = rig.forwarded(opcode, 9, body)
        assert request == Request(opcode, request.unique, 9, body)


@pytest.mark.parametrize(
    ("opcode", "size"),
    [
        (Op.READDIR, 40),
        (Op.READDIRPLUS, 40),
        (Op.FSYNC, 16),
        (Op.FSYNCDIR, 16),
        (Op.WRITE, 44),
        (Op.LSEEK, 24),
        (Op.FALLOCATE, 32),
    ],
)
def test_the_handle_is_the_inode_number(rig: Rig, opcode: int, size: int) -> None:
    body = bytes(range(1, 17)) + bytes(size - 16)
    request = rig.forwarded(opcode, 0x1122334455667788, body)
    assert request.body == struct.pack("=Q", 0x1122334455667788) + body[8:]


def test_a_short_message_is_forwarded_as_it_is(rig: Rig) -> None:
    for opcode in (Op.READDIR, Op.FSYNC, Op.WRITE, Op.LSEEK):
        assert rig.forwarded(opcode, 9, bytes(12)).body == bytes(12)


def test_what_comes_back_is_not_changed(rig: Rig) -> None:
    for error, body in [(0, os.urandom(CHUNK + 100)), (errno.EACCES, b""), (0, b"")]:
        unique = rig.kernel.request(Op.READLINK, 9)
        rig.pyfuse3.reply(rig.pyfuse3.request(), body, error)
        assert rig.kernel.reply() == Reply(unique, error, body)


def test_a_notification_comes_through(rig: Rig) -> None:
    """FUSE_NOTIFY_INVAL_INODE: its code, which is not negative, stands for the error."""
    message = struct.pack("=IiQ", 16 + 24, 2, 0) + bytes(24)
    rig.pyfuse3.send(message)
    assert rig.kernel.receive() == message


# -------- INIT


def test_the_reply_to_init_is_adapted(scratch: Path) -> None:
    with Rig(scratch, max_write=256 * 1024) as rig:
        offered = NO_OPEN | ATOMIC_O_TRUNC | ASYNC_DIO | DONT_MASK | MAX_PAGES | CACHE_SYMLINKS
        rig.kernel.request(Op.INIT, 0, init_in(offered))
        request = rig.pyfuse3.request()
        assert request.body == init_in(offered)
        told = InitOut(flags=ATOMIC_O_TRUNC | ASYNC_DIO | 1, flags2=5, max_stack_depth=3)
        rig.pyfuse3.reply(request, told.pack())
        assert InitOut.parse(rig.kernel.reply().body) == told._replace(
            flags=1 | DONT_MASK | MAX_PAGES | CACHE_SYMLINKS,
            max_write=256 * 1024,
            max_pages=64,
            max_background=64,
            congestion_threshold=48,
        )


def test_nothing_is_claimed_that_the_kernel_did_not_offer(scratch: Path) -> None:
    with Rig(scratch) as rig:
        assert rig.initialise(flags=0).flags == 0


def test_a_kernel_that_cannot_do_without_open_is_let_open(scratch: Path) -> None:
    with Rig(scratch) as rig:
        rig.initialise(flags=1 << 17)
        for opcode in (Op.OPEN, Op.OPENDIR, Op.CREATE):
            rig.forwarded(opcode, 9, bytes(16))
        assert rig.kernel.ask(Op.FLUSH, 9, bytes(24)).error == errno.ENOSYS


def test_a_refusal_of_init_and_a_short_reply_are_left_alone(scratch: Path) -> None:
    with Rig(scratch) as rig:
        for error, body in [(errno.EPROTO, b""), (0, struct.pack("=II", 7, 31) + bytes(16))]:
            unique = rig.kernel.request(Op.INIT, 0, init_in(NO_OPEN))
            rig.pyfuse3.reply(rig.pyfuse3.request(), body, error)
            assert rig.kernel.reply() == Reply(unique, error, body)


# -------- INTERRUPT


def test_nobody_below_is_told_of_interrupts(rig: Rig) -> None:
    """pyfuse3 ignores them, and libfuse would answer EAGAIN, for which nobody waits."""
    slow = rig.kernel.request(Op.READLINK, 9)
    request = rig.pyfuse3.request()
    rig.kernel.request(Op.INTERRUPT, 0, struct.pack("=Q", slow))
    rig.kernel.ask(Op.FLUSH, 9)
    rig.pyfuse3.reply(request)
    assert rig.kernel.reply().unique == slow
    assert rig.pyfuse3.is_silent()


# -------- when pyfuse3 is slow


def test_requests_wait_in_order_where_pyfuse3_does_not_read(scratch: Path) -> None:
    with Rig(scratch, workers=1) as rig:
        rig.initialise()
        names = [b"%05d" % i + b"n" * 200 for i in range(20_000)]
        uniques = [rig.kernel.request(Op.LOOKUP, 9, name + b"\0") for name in names]
        assert rig.kernel.ask(Op.FLUSH, 9).error == errno.ENOSYS  # others are served meanwhile
        for unique, name in zip(uniques, names, strict=True):
            request = rig.pyfuse3.request()
            assert request == Request(Op.LOOKUP, unique, 9, name + b"\0")
        assert rig.pyfuse3.is_silent()


def test_what_waits_is_sent_while_the_kernel_goes_on_asking(scratch: Path) -> None:
    """Native answers in a row must not keep requests back that found the socket full."""
    with Rig(scratch, workers=1) as rig:
        rig.initialise()
        sent = 0
        while sent < 20_000:
            sent += 1
            rig.kernel.request(Op.LOOKUP, 9, b"n" * 200 + b"\0")
        rig.kernel.ask(Op.FLUSH, 9)
        flushes, got = 0, 0
        while got < sent:
            for _ in range(50):  # never a moment without a request
                rig.kernel.request(Op.FLUSH, 9)
                flushes += 1
            while not rig.pyfuse3.is_silent():
                rig.pyfuse3.request()
                got += 1
            while select.select([rig.kernel.connection], [], [], 0)[0]:
                rig.kernel.reply()
                flushes -= 1
        assert got == sent


@pytest.mark.parametrize("count", [1, 300])
def test_replies_are_seen_while_the_kernel_goes_on_asking(rig: Rig, count: int) -> None:
    uniques = [rig.kernel.request(Op.READLINK, 9) for _ in range(count)]
    for _ in range(count):
        rig.pyfuse3.reply(rig.pyfuse3.request())
    assert [rig.kernel.reply().unique for _ in range(count)] == uniques
