"""Messages of any length and kind: no crash, no hang, and no answer to what was not said."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.metadata.rows import inode
from tests.native.rig import Rig
from tests.native.wire import (
    IN_HEADER,
    WITHOUT_REPLY,
    Op,
    ReadIn,
    Reply,
    Request,
    batch_forget_in,
    forget_in,
    getattr_in,
    getxattr_in,
    write_in,
)
from tierfs.metadata.inodes import ROOT

EIO, ENOSYS = 5, 38
NEVER_ANSWERED = WITHOUT_REPLY | {41}  # NOTIFY_REPLY
NEED: dict[int, int] = {
    Op.LOOKUP: 2,
    Op.GETATTR: 16,
    Op.GETXATTR: 10,
    Op.LISTXATTR: 8,
    Op.READ: 40,
    Op.READDIRPLUS: 40,
}
"""Bytes that a request must have to be answered with anything but an error."""


@pytest.fixture
def filled(scratch: Path) -> Iterator[Rig]:
    """Knows inodes 1 to 9 and their names."""
    with Rig(scratch, workers=1) as rig:
        rig.initialise()
        fill(rig)
        yield rig
    rig.forget()


def fill(rig: Rig) -> None:
    for ino in range(1, 10):
        rig.router.put_inode(inode(ino, size=100, mode=0o40755 if ino < 3 else 0o100644))
        rig.router.put_dentry(ROOT, b"%d" % ino, ino)
        rig.router.put_xattrs(ino, [(b"user.a", b"1" * ino)])
        rig.put_object(rig.heads, ino, bytes(100))
        rig.router.add_lookups(ino, 2**40)


def settle(rig: Rig) -> list[Reply]:
    """All replies to what was sent; pyfuse3 refuses what it gets.

    There is one worker: what came before the mark was forwarded before the mark is answered.
    """
    replies = []
    mark = rig.kernel.request(Op.FLUSH)
    while (reply := rig.kernel.reply()).unique != mark:
        replies.append(reply)
    owed = 0
    while not rig.pyfuse3.is_silent():
        request = rig.pyfuse3.request()
        if request.opcode not in NEVER_ANSWERED:
            rig.pyfuse3.reply(request, error=EIO)
            owed += 1
    return replies + [rig.kernel.reply() for _ in range(owed)]


@pytest.mark.parametrize("opcode", [*range(56), 100, 4096, 2**32 - 1])
def test_every_opcode_with_every_length(filled: Rig, opcode: int) -> None:
    for length in range(100):
        for fill in (b"\0", b"\xff", b"1"):
            body = fill * length
            unique = filled.kernel.request(opcode, 5, body)
            replies = settle(filled)
            if opcode in NEVER_ANSWERED:
                assert replies == []
            else:
                assert [reply.unique for reply in replies] == [unique]
                assert replies[0].error or length >= NEED.get(opcode, 0)


@pytest.mark.parametrize("length", [0, 1, 4, 15, IN_HEADER - 1])
def test_less_than_a_header_is_dropped(filled: Rig, length: int) -> None:
    if length:
        filled.kernel.send(b"\xff" * length)
    assert settle(filled) == []


@pytest.mark.parametrize("claimed", [0, 1, IN_HEADER - 1, IN_HEADER, 55, 57, 2**32 - 1])
def test_a_length_that_is_not_that_of_the_message(filled: Rig, claimed: int) -> None:
    message = Request(Op.GETATTR, 4444, 5, getattr_in()).pack()
    filled.kernel.send(struct.pack("=I", claimed) + message[4:])
    assert settle(filled) == [Reply(4444, EIO, b"")]


def test_names_without_an_end(filled: Rig) -> None:
    for opcode, body in [
        (Op.LOOKUP, b"5"),
        (Op.LOOKUP, b"\0"),
        (Op.LOOKUP, b"\x005\0"),
        (Op.GETXATTR, getxattr_in(100) + b"user.a"),
        (Op.GETXATTR, getxattr_in(100) + b"\0"),
    ]:
        assert filled.forwarded(opcode, ROOT, body).body == body


VALID = [
    Request(Op.LOOKUP, 0, ROOT, b"5\0"),
    Request(Op.GETATTR, 0, 5, getattr_in()),
    Request(Op.GETXATTR, 0, 5, getxattr_in(100, b"user.a")),
    Request(Op.LISTXATTR, 0, 5, getxattr_in(100)),
    Request(Op.READ, 0, 5, ReadIn(0, 0, 50).pack()),
    Request(Op.READDIRPLUS, 0, ROOT, ReadIn(0, 0, 4096).pack()),
    Request(Op.WRITE, 0, 5, write_in(0, 0, bytes(5000))),
    Request(Op.FORGET, 0, 5, forget_in(1)),
    Request(Op.BATCH_FORGET, 0, 0, batch_forget_in([(5, 1), (6, 1)])),
    Request(Op.SETXATTR, 0, 5, bytes(16)),
    Request(Op.INIT, 0, 0, bytes(64)),
]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    base=st.sampled_from(VALID),
    cut=st.integers(0, 200),
    tail=st.binary(max_size=64),
    spots=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6),
)
def test_valid_messages_with_faults(
    filled: Rig, base: Request, cut: int, tail: bytes, spots: list[tuple[int, int]]
) -> None:
    body = bytearray(base.body[: len(base.body) - cut] if cut < 150 else base.body)
    for at, value in spots:
        if at < len(body):
            body[at] = value
    unique = filled.kernel.request(base.opcode, base.nodeid, bytes(body) + tail)
    replies = settle(filled)
    if base.opcode in NEVER_ANSWERED:
        assert replies == []
    else:
        assert [reply.unique for reply in replies] == [unique]


def test_noise(filled: Rig) -> None:
    source = random.Random(1)
    for _ in range(1500):
        length = source.choice([40, 41, 56, 80, 84, 100, 4096])
        message = bytearray(os.urandom(length))
        struct.pack_into("=II", message, 0, length, source.randrange(50))
        struct.pack_into("=QQ", message, 8, source.randrange(1, 2**40) * 2, source.randrange(10))
        if length >= 84:  # a READ of gigabytes is none that the kernel makes
            struct.pack_into("=I", message, 56, source.randrange(2**20))
        filled.kernel.send(bytes(message))
    settle(filled)
    assert filled.kernel.ask(Op.FLUSH).error == ENOSYS


def test_replies_of_any_kind(filled: Rig) -> None:
    """pyfuse3 is trusted as well; still nothing breaks."""
    for length in range(1, 120):
        filled.pyfuse3.send(b"\x01" * length)
        filled.pyfuse3.send(struct.pack("=IiQ", length, -EIO, 12345678 + length) + bytes(length))
    unique = filled.kernel.request(Op.READLINK, 9)
    filled.pyfuse3.reply(filled.pyfuse3.request())
    while filled.kernel.receive() != Reply(unique, 0, b"").pack():
        pass
    assert filled.kernel.ask(Op.FLUSH).error == ENOSYS
