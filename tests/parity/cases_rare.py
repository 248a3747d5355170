"""Calls that few programs make: openat2, asynchronous I/O, sockets, hints, ioctls, *xattrat."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Mapping

from tests.parity.files import HEAD, content, opened, pattern
from tests.parity.harness import Place, case

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100


def _call(place: Place, number: int, *args: object) -> int:
    """A system call that the C library has no function for."""
    return place.libc.long("syscall", ctypes.c_long(number), *args)


# ---------------------------------------------------------------- openat2

OPENAT2 = 437
RESOLVE = {
    "nothing": 0,
    "no_xdev": 0x01,
    "no_magiclinks": 0x02,
    "no_symlinks": 0x04,
    "beneath": 0x08,
    "in_root": 0x10,
    "unknown": 0x4000,
}
"""openat2(2), but for RESOLVE_CACHED, which depends on what the kernel remembers."""

PATHS = ["folder/file", "link", "folder/up/file", "../file", "/file", "absent", "mounted/version"]


@case.each(resolve=list(RESOLVE), path=PATHS)
def openat2(place: Place, resolve: str, path: str) -> object:
    """As container runtimes open what a stranger has named."""
    place.directory("folder")
    place.file("file", b"upper")
    place.file("folder/file", b"inner")
    place.symlink("link", "folder/file")
    place.symlink("folder/up", "..")
    place.symlink("mounted", "/proc")
    how = struct.pack("QQQ", os.O_RDONLY, 0, RESOLVE[resolve])
    with opened(place.path, os.O_PATH) as fd:
        asked = (ctypes.c_int(fd), os.fsencode(path), how, ctypes.c_size_t(len(how)))
        got: object = "EAGAIN"  # whenever something is mounted or renamed at the same time
        while got == "EAGAIN":
            got = place.attempt(_call, place, OPENAT2, *asked)
    if not isinstance(got, int):
        return got
    try:
        return os.read(got, 5)
    finally:
        os.close(got)


# ---------------------------------------------------------------- asynchronous I/O

IO_SETUP, IO_DESTROY, IO_GETEVENTS, IO_SUBMIT = 206, 207, 208, 209
COMMANDS = {"pread": 0, "pwrite": 1, "fsync": 2, "fdsync": 3}
IOCB = "QIiHhIQQqQII"
"""struct iocb (linux/aio_abi.h): data, key, flags, opcode, priority, descriptor, buffer, ..."""

EVENT = "QQqq"


@case.each(command=list(COMMANDS), flags=["RDWR", "DIRECT"], offset=[0, HEAD - 4096, 10 * HEAD])
def asynchronous(place: Place, command: str, flags: str, offset: int) -> object:
    """io_submit(2), as MySQL reads and writes."""
    path = place.file("file", pattern(2 * HEAD))
    chosen = os.O_RDWR | (os.O_DIRECT if flags == "DIRECT" else 0)
    with opened(path, chosen) as fd, mmap.mmap(-1, 8192) as buffer:
        buffer[:] = b"n" * 8192
        result = _submit(place, COMMANDS[command], fd, buffer, offset)
        return result, bytes(buffer[:8192]) == b"n" * 8192, content(path)


def _submit(place: Place, opcode: int, fd: int, buffer: mmap.mmap, offset: int) -> object:
    """Submit one command and wait for it: what it gave, or the errno's name."""
    context = ctypes.c_ulong(0)
    place.libc.long("syscall", ctypes.c_long(IO_SETUP), ctypes.c_long(1), ctypes.byref(context))
    data = (ctypes.c_char * len(buffer)).from_buffer(buffer)
    transfers = opcode in (COMMANDS["pread"], COMMANDS["pwrite"])
    where = (ctypes.addressof(data), len(buffer), offset) if transfers else (0, 0, 0)
    iocb = ctypes.create_string_buffer(struct.pack(IOCB, 0, 0, 0, opcode, 0, fd, *where, 0, 0, 0))
    pointers = (ctypes.c_void_p * 1)(ctypes.addressof(iocb))
    try:
        one = ctypes.c_long(1)
        submitted = place.attempt(_call, place, IO_SUBMIT, context, one, pointers)
        if submitted != 1:
            return submitted
        events = ctypes.create_string_buffer(struct.calcsize(EVENT))
        _call(place, IO_GETEVENTS, context, one, one, events, None)
        return struct.unpack(EVENT, events.raw[: struct.calcsize(EVENT)])[2]
    finally:
        _call(place, IO_DESTROY, context)
        del data


# ---------------------------------------------------------------- waiting


@case.each(name=["file", "."], call=["poll", "select"])
def wait_for_a_file(place: Place, name: str, call: str) -> object:
    """A file is always ready."""
    place.file("file", b"some bytes")
    with place.opened(name) as fd:
        if call == "select":
            return place.attempt(select.select, [fd], [fd], [fd], 0) == ([fd], [fd], [])
        waiting = select.poll()
        waiting.register(fd)
        return [event for _, event in waiting.poll(0)]


@case.each(name=["file", "."])
def wait_for_a_file_with_epoll(place: Place, name: str) -> object:
    """Event loops ask so whether a descriptor is one that they can wait for."""
    place.file("file", b"some bytes")
    with place.opened(name) as fd, select.epoll() as waiting:
        added = place.attempt(waiting.register, fd, select.EPOLLIN)
        return added, [event for _, event in waiting.poll(0)]


# ---------------------------------------------------------------- sockets


@case
def socket_by_name(place: Place) -> object:
    """bind(2) makes the name; who may write to it, here its owner, may connect."""
    os.chdir(place.path)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        before = place.touched(["."], server.bind, "socket")
        taken = place.attempt(client.bind, "socket")
        not_listening = place.attempt(client.connect, "socket")
        server.listen()
        stranger = place.as_user(1000, 1000, [], _connect, "socket")
        os.chown("socket", 1000, 1000)
        allowed = place.as_user(1000, 1000, [], _connect, "socket")
        os.rename("socket", "moved")
        moved = place.attempt(client.connect, "moved")
        os.unlink("moved")
        gone = place.attempt(_connect, "moved")
        return before, taken, not_listening, stranger, allowed, moved, gone, place.tree()


def _connect(name: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(name)
    return "connected"


@case
def socket_is_no_file(place: Place) -> object:
    place.file("file")
    os.chdir(place.path)
    with socket.socket(socket.AF_UNIX) as client:
        return (
            place.attempt(client.connect, "file"),
            place.attempt(client.bind, "file"),
            place.attempt(client.bind, "absent/socket"),
            place.attempt(client.connect, "absent"),
        )


# ---------------------------------------------------------------- memory and pipes


@case
def memory_given_to_a_pipe(place: Place) -> object:
    """vmsplice(2), then splice(2) into a file."""
    path = place.file("file", pattern(2 * HEAD))
    given = ctypes.create_string_buffer(b"gift" * 1000)
    vector = struct.pack("PN", ctypes.addressof(given), 4000)
    reading, writing = os.pipe()
    try:
        with opened(path, os.O_RDWR) as fd:
            into = place.libc.long("vmsplice", writing, vector, ctypes.c_size_t(1), 0)
            out = os.splice(reading, fd, 4000, offset_dst=HEAD - 2000)
        return into, out, content(path)
    finally:
        os.close(reading)
        os.close(writing)


@case.each(flags=[mmap.MAP_SHARED, mmap.MAP_PRIVATE], how=["mlock", "MAP_POPULATE", "MAP_LOCKED"])
def pages_kept_in_memory(place: Place, flags: int, how: str) -> object:
    extra = {"mlock": 0, "MAP_POPULATE": mmap.MAP_POPULATE, "MAP_LOCKED": 0x2000}[how]
    path = place.file("file", pattern(2 * HEAD))
    with opened(path, os.O_RDWR) as fd, mmap.mmap(fd, 2 * HEAD, flags | extra) as view:
        address = ctypes.c_char.from_buffer(view)
        locked = place.attempt(place.libc.mlock, ctypes.byref(address), ctypes.c_size_t(2 * HEAD))
        del address
        view[HEAD : HEAD + 3] = b"new"
        return locked, view[HEAD - 2 : HEAD + 4], content(path)


# ---------------------------------------------------------------- fcntl

F_GET_RW_HINT, F_SET_RW_HINT, F_NOTIFY = 1035, 1036, 1026
DN_CREATE = 0x4


@case.each(hint=[0, 1, 5, 6])
def hint_of_lifetime(place: Place, hint: int) -> object:
    """F_SET_RW_HINT, as RocksDB gives."""
    place.file("file")
    with place.opened("file", os.O_RDWR) as fd:
        done = place.attempt(fcntl.fcntl, fd, F_SET_RW_HINT, struct.pack("Q", hint))
        return done, place.attempt(fcntl.fcntl, fd, F_GET_RW_HINT, bytes(8))


@case.each(name=["file", "."])
def old_notification(place: Place, name: str) -> object:
    """F_NOTIFY, dnotify: a signal for each name made."""
    place.file("file")
    return place.in_child(_notified, place, name)


def _notified(place: Place, name: str) -> object:
    seen: list[int] = []
    signal.signal(signal.SIGIO, lambda number, _frame: seen.append(number))
    with place.opened(name) as fd:
        asked = place.attempt(fcntl.fcntl, fd, F_NOTIFY, DN_CREATE)
        (place / "new").touch()
        return asked, len(seen)


STATUS_FLAGS = {
    "APPEND": os.O_APPEND,
    "NONBLOCK": os.O_NONBLOCK,
    "DIRECT": os.O_DIRECT,
    "NOATIME": os.O_NOATIME,
    "ASYNC": os.O_ASYNC,
    "SYNC": os.O_SYNC,
}


@case.each(flag=list(STATUS_FLAGS), name=["file", "."])
def flags_of_a_descriptor(place: Place, flag: str, name: str) -> object:
    place.file("file")
    with place.opened(name) as fd:
        done = place.attempt(fcntl.fcntl, fd, fcntl.F_SETFL, STATUS_FLAGS[flag])
        return done, fcntl.fcntl(fd, fcntl.F_GETFL)


# ---------------------------------------------------------------- ioctl

IOCTLS: Mapping[str, tuple[int, bytes]] = {
    "FIONREAD": (0x541B, bytes(4)),
    "FIGETBSZ": (2, bytes(4)),
    "FICLONERANGE": (0x4020940D, bytes(32)),
    "FIDEDUPERANGE": (0xC0189436, bytes(24)),
    "TCGETS": (0x5401, bytes(64)),
    "BLKGETSIZE64": (0x80081272, bytes(8)),
}


@case.each(request=list(IOCTLS), name=["file", "."])
def ioctl(place: Place, request: str, name: str) -> object:
    place.file("file", b"some bytes")
    number, argument = IOCTLS[request]
    with place.opened(name) as fd:
        return place.attempt(fcntl.ioctl, fd, number, argument)


@case.each(request=["FIBMAP", "FIEMAP"])
def where_blocks_are(place: Place, request: str) -> object:
    """filefrag(8); what it says is each filesystem's own."""
    place.file("file", pattern(2 * HEAD))
    number, argument = {
        "FIBMAP": (1, bytes(4)),
        "FIEMAP": (0xC020660B, struct.pack("QQIIII", 0, 2**63, 0, 0, 0, 0)),
    }[request]
    with place.opened("file") as fd:
        answer = place.attempt(fcntl.ioctl, fd, number, argument)
    return answer if isinstance(answer, str) else "an answer"


# ---------------------------------------------------------------- *xattrat

SETXATTRAT, GETXATTRAT, LISTXATTRAT, REMOVEXATTRAT = 463, 464, 465, 466
NAMED: Mapping[str, tuple[str, int]] = {
    "file": ("file", 0),
    "link": ("link", 0),
    "the link itself": ("link", AT_SYMLINK_NOFOLLOW),
    "empty path": ("", AT_EMPTY_PATH),
    "unknown flag": ("file", 0x8000),
    "absent": ("absent", 0),
}


@case.each(target=list(NAMED))
def xattrs_relative_to_a_descriptor(place: Place, target: str) -> object:
    """Since Linux 6.13; the descriptor is one that was opened with O_PATH."""
    place.file("file")
    place.symlink("link", "file")
    name, flags = NAMED[target]
    with opened(place / "file" if not name else place.path, os.O_PATH) as fd:
        path = (ctypes.c_int(fd), os.fsencode(name), ctypes.c_uint(flags))
        steps: list[Callable[[], object]] = [
            lambda: _value_call(place, SETXATTRAT, path, b"value"),
            lambda: _value_call(place, GETXATTRAT, path, bytes(5)),
            lambda: _call(place, LISTXATTRAT, *path, None, ctypes.c_size_t(0)),
            lambda: _call(place, REMOVEXATTRAT, *path, b"user.label"),
            lambda: _value_call(place, GETXATTRAT, path, bytes(5)),
        ]
        return [place.attempt(step) for step in steps], place.tree()


def _value_call(place: Place, number: int, path: tuple[object, ...], value: bytes) -> object:
    """With struct xattr_args: the value's address and size, and flags."""
    buffer = ctypes.create_string_buffer(value, len(value))
    arguments = struct.pack("QII", ctypes.addressof(buffer), len(value), 0)
    result = _call(place, number, *path, b"user.label", arguments, ctypes.c_size_t(16))
    return result, buffer.raw
