"""A router between two socketpairs: the test is the kernel on one side and pyfuse3 on the other.

One read of either descriptor is one message, as of /dev/fuse.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from tests.native.functions import Functions
from tests.native.wire import InitOut, Op, Reply, Request, init_in
from tierfs.native._router import Router
from tierfs.storage.layout import object_path

PATIENCE_S: Final = 30
"""Seconds after which something that must come is missed."""

MEMORY: Final = 8 << 20
MAX_WRITE: Final = 1 << 20
MOST: Final = MAX_WRITE + 65536
NO_OPEN: Final = 1 << 17 | 1 << 24
"""FUSE_NO_OPEN_SUPPORT and FUSE_NO_OPENDIR_SUPPORT."""


class Side:
    """One end of a conversation."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(PATIENCE_S)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, 4 << 20)

    def send(self, message: bytes) -> None:
        """One message."""
        self.connection.send(message)

    def receive(self) -> bytes:
        """The next message; b"" at the end."""
        try:
            return self.connection.recv(MOST)
        except ConnectionResetError:  # closed with messages that nobody has read
            return b""

    def is_silent(self, seconds: float = 0.0) -> bool:
        """Whether there is no message, and none comes for so long."""
        return not select.select([self.connection], [], [], seconds)[0]

    def close(self) -> None:
        """End the conversation."""
        self.connection.close()


class Kernel(Side):
    """Sends requests; gets replies."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self.unique = 0

    def request(self, opcode: int, nodeid: int = 0, body: bytes = b"") -> int:
        """Send a request; returns its number, which is even (FUSE_REQ_ID_STEP, fuse_i.h)."""
        self.unique += 2
        self.send(Request(opcode, self.unique, nodeid, body).pack())
        return self.unique

    def reply(self) -> Reply:
        """The next reply."""
        return Reply.parse(self.receive())

    def ask(self, opcode: int, nodeid: int = 0, body: bytes = b"") -> Reply:
        """Send a request and take its reply."""
        unique = self.request(opcode, nodeid, body)
        reply = self.reply()
        assert reply.unique == unique
        return reply


class Pyfuse3(Side):
    """Gets what the router forwards; replies."""

    def request(self) -> Request:
        """The next request."""
        return Request.parse(self.receive())

    def reply(self, request: Request, body: bytes = b"", error: int = 0) -> None:
        """Answer a request."""
        self.send(Reply(request.unique, error, body).pack())


class Rig:
    """A started router and both its sides."""

    def __init__(
        self,
        directory: Path,
        *,
        memory: int = MEMORY,
        workers: int = 2,
        spin_us: int = 0,
        max_write: int = MAX_WRITE,
        io_uring: bool = False,
        functions: object | None = None,
        pm_qos: tuple[int, int] | None = None,
    ) -> None:
        self.heads, self.objects = directory / "heads", directory / "objects"
        for path in (self.heads, self.objects):
            path.mkdir(exist_ok=True)
        self.router = make_router(self.heads, self.objects, memory)
        self.functions = functions
        if functions is not None:
            self.router.set_upcalls(functions)
        if pm_qos is not None:
            self.router.use_pm_qos(*pm_qos)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self.kernel = Kernel(ours)
        peer, self.ended = self.router.start(
            theirs.detach(),
            workers=workers,
            spin_us=spin_us,
            disk_threads=8,
            max_write=max_write,
            io_uring=io_uring,
        )
        self.pyfuse3 = Pyfuse3(socket.socket(fileno=peer))

    def initialise(self, flags: int = NO_OPEN, flags2: int = 0) -> InitOut:
        """INIT, offering ``flags``; what the kernel is told."""
        unique = self.kernel.request(Op.INIT, 0, init_in(flags, flags2))
        self.pyfuse3.reply(self.pyfuse3.request(), InitOut().pack())
        reply = self.kernel.reply()
        assert (reply.unique, reply.error) == (unique, 0)
        return InitOut.parse(reply.body)

    def put_object(self, store: Path, ino: int, data: bytes, offset: int = 0) -> Path:
        """Write ``data`` at an offset of an object."""
        path = store / object_path(ino)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.seek(offset)
            file.write(data)
        return path

    def forwarded(self, opcode: int, nodeid: int = 0, body: bytes = b"") -> Request:
        """Send a request that the router cannot answer; what pyfuse3 gets and then answers."""
        unique = self.kernel.request(opcode, nodeid, body)
        request = self.pyfuse3.request()
        assert request.unique == unique
        self.pyfuse3.reply(request)
        assert self.kernel.reply().unique == unique
        return request

    def stop(self) -> None:
        """End everything."""
        if isinstance(self.functions, Functions):
            self.functions.close()
        self.router.stop()
        self.kernel.close()
        self.pyfuse3.close()
        os.close(self.ended)

    def forget(self) -> None:
        """Let go of the router, which keeps some descriptors as long as it lives."""
        del self.router

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def make_router(heads: Path, objects: Path, memory: int = MEMORY) -> Router:
    """A router that was not started."""
    with opened(heads) as first, opened(objects) as second:
        return Router(memory=memory, heads=first, objects=second)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of a directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
