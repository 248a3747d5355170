"""Attributes asked for before a change was are those before it.

The kernel keeps the attributes that it has while a file grows, and does not take new ones
(FUSE_I_SIZE_UNSTABLE, fs/fuse/inode.c). Told the new size by a GETATTR that it had sent before the
WRITE, it would show one stat(2) the new size and the next one the old.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.metadata.rows import inode
from tests.native.rig import Pyfuse3, Rig
from tests.native.wire import AttrOut, Op, Request, getattr_in, write_in

ROUNDS = 2000
FILE, OTHERS = 100, range(200, 216)
FILLER = [(Op.GETATTR, other) for other in OTHERS]
"""So many requests in a row that workers help."""


class Growing(threading.Thread):
    """pyfuse3's side: each WRITE makes the file a byte longer, cached before the reply."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(daemon=True)
        self.rig, self.side = rig, rig.pyfuse3
        self.size = 0
        rig.router.put_inode(inode(FILE, size=0))

    def run(self) -> None:
        """Until the router is stopped."""
        while message := self._next(self.side):
            request = Request.parse(message)
            if request.opcode == Op.WRITE:
                self.size += 1
                self.rig.router.put_inode(inode(FILE, size=self.size))
                self.side.reply(request, bytes(8))
            else:
                self.side.reply(request, AttrOut.of_size(self.size).pack())

    @staticmethod
    def _next(side: Pyfuse3) -> bytes:
        try:
            return side.receive()
        except OSError:
            return b""


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Rig]:
    """A router with more workers than cores."""
    with Rig(tmp_path, workers=4, spin_us=200) as rig:
        rig.initialise()
        yield rig
    rig.forget()


def test_a_size_asked_for_before_a_write_is_that_before_it(busy: Rig) -> None:
    for other in OTHERS:
        busy.router.put_inode(inode(other, size=1))
    growing = Growing(busy)
    growing.start()
    for size in range(ROUNDS):
        for opcode, ino in FILLER:
            busy.kernel.request(opcode, ino, getattr_in())
        asked = busy.kernel.request(Op.GETATTR, FILE, getattr_in())
        busy.kernel.request(Op.WRITE, FILE, write_in(0, size, b"x"))
        replies = [busy.kernel.reply() for _ in range(len(FILLER) + 2)]
        told = next(reply for reply in replies if reply.unique == asked)
        assert AttrOut.parse(told.body).attr.size == size
    busy.router.stop()
    growing.join()  # before its socket is closed
