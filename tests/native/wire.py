"""The FUSE protocol as bytes: requests and replies (include/uapi/linux/fuse.h of Linux)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple


class Op(IntEnum):
    """Opcodes (enum fuse_opcode)."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    CREATE = 35
    INTERRUPT = 36
    IOCTL = 39
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53


WITHOUT_REPLY = frozenset({Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT})

_IN = struct.Struct("=IIQQIIIHH")
_OUT = struct.Struct("=IiQ")
_ENTRY = struct.Struct("=QQQQII")
_ATTR = struct.Struct("=QQQQQQIIIIIIIIII")
_ATTR_OUT = struct.Struct("=QII")
_READ = struct.Struct("=QQIIQII")
_INIT_OUT = struct.Struct("=IIIIHHIIHHII")
_STATFS = struct.Struct("=QQQQQIIII24x")
_DIRENT = struct.Struct("=QQII")

IN_HEADER, OUT_HEADER = _IN.size, _OUT.size


class Request(NamedTuple):
    """What the kernel or the router sends."""

    opcode: int
    unique: int
    nodeid: int
    body: bytes
    uid: int = 1000
    gid: int = 1001
    pid: int = 1002

    def pack(self) -> bytes:
        """The message."""
        return (
            _IN.pack(
                IN_HEADER + len(self.body),
                self.opcode,
                self.unique,
                self.nodeid,
                self.uid,
                self.gid,
                self.pid,
                0,
                0,
            )
            + self.body
        )

    @classmethod
    def parse(cls, message: bytes) -> Request:
        """The request in a message, whose length must be right."""
        length, opcode, unique, nodeid, uid, gid, pid, _, _ = _IN.unpack_from(message)
        assert length == len(message)
        return cls(opcode, unique, nodeid, message[IN_HEADER:], uid, gid, pid)


class Reply(NamedTuple):
    """What answers a request; ``error`` is an errno, not negated."""

    unique: int
    error: int
    body: bytes

    def pack(self) -> bytes:
        """The message."""
        return _OUT.pack(OUT_HEADER + len(self.body), -self.error, self.unique) + self.body

    @classmethod
    def parse(cls, message: bytes) -> Reply:
        """The reply in a message, whose length must be right."""
        length, error, unique = _OUT.unpack_from(message)
        assert length == len(message)
        assert -512 < error <= 0
        return cls(unique, -error, message[OUT_HEADER:])


class Attr(NamedTuple):
    """``struct fuse_attr``."""

    ino: int
    size: int
    blocks: int
    atime: int
    mtime: int
    ctime: int
    atimensec: int
    mtimensec: int
    ctimensec: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    blksize: int
    flags: int


class Entry(NamedTuple):
    """``struct fuse_entry_out``."""

    nodeid: int
    generation: int
    entry_valid: int
    attr_valid: int
    entry_valid_nsec: int
    attr_valid_nsec: int
    attr: Attr

    @classmethod
    def parse(cls, body: bytes) -> Entry:
        """The entry in a reply."""
        assert len(body) == _ENTRY.size + _ATTR.size
        nodeid, generation, *valid = _ENTRY.unpack_from(body)
        attr = Attr(*_ATTR.unpack_from(body, _ENTRY.size))
        return cls(nodeid, generation, valid[0], valid[1], valid[2], valid[3], attr)


class AttrOut(NamedTuple):
    """``struct fuse_attr_out``."""

    valid: int
    valid_nsec: int
    attr: Attr

    @classmethod
    def parse(cls, body: bytes) -> AttrOut:
        """The attributes in a reply."""
        assert len(body) == _ATTR_OUT.size + _ATTR.size
        valid, nanoseconds, _ = _ATTR_OUT.unpack_from(body)
        return cls(valid, nanoseconds, Attr(*_ATTR.unpack_from(body, _ATTR_OUT.size)))

    @classmethod
    def of_size(cls, size: int) -> AttrOut:
        """Those of a file of which only the size matters."""
        return cls(0, 0, Attr(*(0, size), *(0,) * 14))

    def pack(self) -> bytes:
        """The body of a reply."""
        return _ATTR_OUT.pack(self.valid, self.valid_nsec, 0) + _ATTR.pack(*self.attr)


class ReadIn(NamedTuple):
    """``struct fuse_read_in``; READDIR has it as well."""

    fh: int
    offset: int
    size: int

    def pack(self) -> bytes:
        """The body of a request."""
        return _READ.pack(self.fh, self.offset, self.size, 0, 0, 0, 0)

    @classmethod
    def parse(cls, body: bytes) -> ReadIn:
        """The body of a request."""
        assert len(body) == _READ.size
        return cls(*_READ.unpack(body)[:3])


class InitOut(NamedTuple):
    """``struct fuse_init_out``."""

    major: int = 7
    minor: int = 31
    max_readahead: int = 131072
    flags: int = 0
    max_background: int = 12
    congestion_threshold: int = 9
    max_write: int = 131072
    time_gran: int = 1
    max_pages: int = 32
    map_alignment: int = 0
    flags2: int = 0
    max_stack_depth: int = 0

    def pack(self) -> bytes:
        """The body of a reply."""
        return _INIT_OUT.pack(*self) + bytes(64 - _INIT_OUT.size)

    @classmethod
    def parse(cls, body: bytes) -> InitOut:
        """The body of a reply."""
        assert len(body) == 64
        return cls(*_INIT_OUT.unpack_from(body))


def init_in(flags: int, flags2: int = 0) -> bytes:
    """The body of INIT, of Linux 6.x."""
    return struct.pack("=IIIII44x", 7, 45, 131072, flags, flags2)


def write_in(fh: int, offset: int, data: bytes, size: int | None = None) -> bytes:
    """The body of WRITE."""
    return _READ.pack(fh, offset, len(data) if size is None else size, 0, 0, 0, 0) + data


def getattr_in() -> bytes:
    """The body of GETATTR."""
    return struct.pack("=IIQ", 0, 0, 0)


def getxattr_in(size: int, name: bytes = b"") -> bytes:
    """The body of GETXATTR or, without a name, of LISTXATTR."""
    return struct.pack("=II", size, 0) + (name + b"\0" if name else b"")


def forget_in(count: int) -> bytes:
    """The body of FORGET."""
    return struct.pack("=Q", count)


def batch_forget_in(pairs: list[tuple[int, int]], count: int | None = None) -> bytes:
    """The body of BATCH_FORGET."""
    head = struct.pack("=II", len(pairs) if count is None else count, 0)
    return head + b"".join(struct.pack("=QQ", *pair) for pair in pairs)


def statfs_fields(body: bytes) -> tuple[int, ...]:
    """Blocks, bfree, bavail, files, ffree, bsize, namelen, frsize."""
    assert len(body) == _STATFS.size
    return _STATFS.unpack(body)[:8]


class Line(NamedTuple):
    """``struct fuse_direntplus``."""

    name: bytes
    cookie: int
    ino: int
    type: int
    entry: Entry


def listing(body: bytes) -> list[Line]:
    """The records of a reply to READDIRPLUS, each aligned to eight bytes."""
    lines, at = [], 0
    while at < len(body):
        entry = Entry.parse(body[at : at + 128])
        ino, cookie, length, kind = _DIRENT.unpack_from(body, at + 128)
        start = at + 128 + _DIRENT.size
        lines.append(Line(body[start : start + length], cookie, ino, kind, entry))
        at = start + length + -length % 8
    assert at == len(body)
    return lines
