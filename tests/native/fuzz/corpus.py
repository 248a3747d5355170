"""The inputs that fuzzing begins with: ``python -m tests.native.fuzz.corpus DIRECTORY``."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.native.rig import NO_OPEN
from tests.native.wire import (
    InitOut,
    Op,
    ReadIn,
    Reply,
    Request,
    batch_forget_in,
    forget_in,
    getattr_in,
    getxattr_in,
    init_in,
    write_in,
)

KERNEL, PYFUSE3 = 0, 1

INIT = Request(Op.INIT, 0, 0, init_in(NO_OPEN))
LOOKUP = Request(Op.LOOKUP, 0, 1, b"f\0")
READ = Request(Op.READ, 0, 5, ReadIn(0, 0, 4000).pack())
UNKNOWN = Request(Op.READ, 0, 77, ReadIn(0, 0, 65536).pack())
LISTING = Request(Op.READDIRPLUS, 0, 1, ReadIn(0, 0, 4096).pack())
STRANGE = Request(100, 0, 5, b"of a kind that nobody knows")
REQUESTS = (
    INIT,
    LOOKUP,
    READ,
    UNKNOWN,
    LISTING,
    Request(Op.LOOKUP, 0, 1, b"z\0"),
    Request(Op.LOOKUP, 0, 2, b"nothing\0"),
    Request(Op.GETATTR, 0, 5, getattr_in()),
    Request(Op.GETXATTR, 0, 5, getxattr_in(100, b"user.a")),
    Request(Op.GETXATTR, 0, 6, getxattr_in(0, b"security.capability")),
    Request(Op.LISTXATTR, 0, 5, getxattr_in(100)),
    Request(Op.LISTXATTR, 0, 7, getxattr_in(0)),
    Request(Op.FORGET, 0, 7, forget_in(1)),
    Request(Op.BATCH_FORGET, 0, 0, batch_forget_in([(5, 1), (7, 9)])),
    Request(Op.READ, 0, 8, ReadIn(0, 4090, 9000).pack()),
    Request(Op.WRITE, 0, 5, write_in(0, 0, bytes(100))),
    Request(Op.WRITE, 0, 5, write_in(0, 0, bytes(5000))),
    Request(Op.STATFS, 0, 1, b""),
    Request(Op.OPEN, 0, 5, bytes(8)),
    Request(Op.CREATE, 0, 1, bytes(16) + b"new\0"),
    Request(Op.FSYNC, 0, 5, bytes(16)),
    Request(Op.SETXATTR, 0, 5, struct.pack("=II", 5, 0) + b"user.a\0value"),
    Request(Op.REMOVEXATTR, 0, 5, b"user.a\0"),
    Request(Op.SETATTR, 0, 5, bytes(88)),
    Request(Op.MKNOD, 0, 1, bytes(16) + b"new\0"),
    Request(Op.MKDIR, 0, 1, bytes(8) + b"new\0"),
    Request(Op.SYMLINK, 0, 1, b"new\0target\0"),
    Request(Op.LINK, 0, 1, bytes(8) + b"new\0"),
    Request(Op.UNLINK, 0, 1, b"f\0"),
    Request(Op.RENAME, 0, 1, bytes(8) + b"f\0g\0"),
    Request(Op.RENAME2, 0, 1, bytes(16) + b"f\0g\0"),
    Request(Op.READLINK, 0, 5, b""),
    Request(Op.INTERRUPT, 0, 0, bytes(8)),
)
CONVERSATIONS: tuple[tuple[Request | Reply, ...], ...] = (
    (INIT, Reply(0, 0, InitOut().pack()), Request(Op.OPENDIR, 0, 1, bytes(8)), LOOKUP),
    (UNKNOWN, READ, LISTING),
    (STRANGE, Reply(0, 0, b"answer"), Reply(0, 2, b"")),
    (STRANGE, Reply(0, 2**31, b"")),  # -(-2^31) does not fit
    (LOOKUP, LOOKUP, Request(Op.FORGET, 0, 6, forget_in(2))),
)


def packed(messages: tuple[Request | Reply, ...]) -> bytes:
    """One input: for each message whose it is, its length and its bytes."""
    out = b""
    for message in messages:
        whole = message.pack()
        out += struct.pack("<BH", KERNEL if isinstance(message, Request) else PYFUSE3, len(whole))
        out += whole
    return out


def inputs() -> Iterator[bytes]:
    """All of them."""
    for request in REQUESTS:
        yield packed((request,))
    for conversation in CONVERSATIONS:
        yield packed(conversation)
    yield packed(REQUESTS)


def main(directory: Path) -> None:
    """Write them."""
    directory.mkdir(parents=True)
    for number, data in enumerate(inputs()):
        (directory / f"{number:03}").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
