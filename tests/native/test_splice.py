"""Large writes whose bytes stay in a pipe until a function puts them into a file."""

from __future__ import annotations

import errno
import os
import resource
import select
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.metadata.rows import inode
from tests.native.functions import PATIENCE_S, Call, Functions
from tests.native.rig import Rig
from tests.native.test_upcalls import CALLS, NAMES
from tests.native.wire import Op, Request, getattr_in, write_in
from tests.support.filesystems import memory_filesystem
from tierfs.fs.locks import WouldBlock

FILE: Final = 100
OTHER: Final = 1000
LARGE: Final = (1 << 20) - 4096
"""Of which a request fits into a pipe that anybody may have."""

OFFSET: Final = 5 << 20


@pytest.fixture
def functions() -> Functions:
    """All that the router can call."""
    return Functions(*NAMES)


@pytest.fixture
def rig(scratch: Path, functions: Functions) -> Iterator[Rig]:
    """A router that has read a large write."""
    with Rig(scratch, workers=1, functions=functions, max_write=LARGE) as made:
        made.initialise()
        assert isinstance(write(made, functions, os.urandom(LARGE)).arguments[2], memoryview)
        yield made
    made.forget()


@pytest.fixture
def file(scratch: Path) -> Iterator[int]:
    """A descriptor to read and write by."""
    descriptor = os.open(scratch / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def begin(rig: Rig, functions: Functions, data: bytes) -> Call:
    """Have a write come by the pipe; the call that it makes.

    A worker that has taken the lead from one in a long call reads its first request into memory.
    """
    for _ in range(10):
        rig.kernel.request(Op.WRITE, FILE, write_in(0, 7, data))
        call = functions.next()
        assert len(call.arguments[2]) == len(data)
        if not isinstance(call.arguments[2], bytes | memoryview):
            return call
        end(rig, call, len(data))
    raise AssertionError("no write comes by the pipe")


def end(rig: Rig, call: Call, size: int = LARGE) -> None:
    """Answer it; the kernel is told so."""
    call.answer(size)
    reply = rig.kernel.reply()
    assert (reply.error, reply.body) == (0, struct.pack("=II", size, 0))


def write(rig: Rig, functions: Functions, data: bytes) -> Call:
    """Have a write come whichever way, and check its bytes."""
    rig.kernel.request(Op.WRITE, FILE, write_in(0, 7, data))
    call = functions.next()
    assert bytes(call.arguments[2]) == data
    end(rig, call, len(data))
    return call


def test_bytes_go_straight_into_a_file(rig: Rig, functions: Functions, file: int) -> None:
    for number in range(3):
        data = os.urandom(LARGE - 4096 * number - number)
        call = begin(rig, functions, data)
        assert call.arguments[2].splice(file, OFFSET) == len(data)
        end(rig, call, len(data))
        assert os.pread(file, len(data) + 1, OFFSET) == data
        os.ftruncate(file, 0)


def test_bytes_can_be_looked_at(rig: Rig, functions: Functions, file: int) -> None:
    data = os.urandom(LARGE)
    call = begin(rig, functions, data)
    with memoryview(call.arguments[2]) as view:
        assert view.readonly
        assert view[1000:2000] == data[1000:2000]
    assert call.arguments[2].splice(file, 0) == 0  # in memory by now
    assert bytes(call.arguments[2]) == data
    end(rig, call)
    assert not os.fstat(file).st_size


def test_what_is_in_the_file_can_be_had_back(rig: Rig, functions: Functions, file: int) -> None:
    data = os.urandom(LARGE)
    call = begin(rig, functions, data)
    assert call.arguments[2].splice(file, OFFSET) == LARGE
    call.arguments[2].fetch()
    os.ftruncate(file, 0)
    assert bytes(call.arguments[2]) == data
    call.answer(WouldBlock())
    again = functions.next()
    assert again.keywords["wait"]
    assert bytes(again.arguments[2]) == data
    end(rig, again)
    write(rig, functions, data)


def test_what_is_in_the_file_alone_is_not_written_again(
    rig: Rig, functions: Functions, file: int
) -> None:
    """Who gave the file away without ``fetch``: somebody may have changed it."""
    call = begin(rig, functions, os.urandom(LARGE))
    call.arguments[2].splice(file, 0)
    call.answer(WouldBlock())
    assert rig.kernel.reply().error == errno.ENOMEM
    assert functions.are_idle()
    write(rig, functions, os.urandom(LARGE))


def test_what_is_in_the_file_and_was_cut_is_lost(rig: Rig, functions: Functions, file: int) -> None:
    call = begin(rig, functions, os.urandom(LARGE))
    call.arguments[2].splice(file, 0)
    os.ftruncate(file, LARGE - 1)
    with pytest.raises(OSError, match="Input/output") as lost:
        call.arguments[2].fetch()
    call.answer(lost.value)
    assert rig.kernel.reply().error == errno.EIO
    write(rig, functions, os.urandom(LARGE))


def test_a_file_without_room_leaves_the_bytes_in_memory(
    rig: Rig, functions: Functions, scratch: Path
) -> None:
    data = os.urandom(LARGE)
    with memory_filesystem(scratch / "small", 1) as small:
        descriptor = os.open(small / "file", os.O_RDWR | os.O_CREAT)
        os.pwrite(descriptor, bytes(300_000), 0)
        call = begin(rig, functions, data)
        put = call.arguments[2].splice(descriptor, 300_000)
        assert 0 < put < LARGE
        assert os.pread(descriptor, LARGE, 300_000)[:put] == data[:put]
        assert bytes(call.arguments[2]) == data
        call.answer(OSError(errno.ENOSPC, "full"))
        assert rig.kernel.reply().error == errno.ENOSPC
        call = begin(rig, functions, data)
        with pytest.raises(OSError, match="No space left"):
            call.arguments[2].splice(descriptor, 2 << 20)
        assert bytes(call.arguments[2]) == data
        os.close(descriptor)
        end(rig, call)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_APPEND])
def test_a_file_that_cannot_be_written_so(
    rig: Rig, functions: Functions, scratch: Path, flags: int
) -> None:
    data = os.urandom(LARGE)
    descriptor = os.open(scratch / "file", flags | os.O_CREAT)
    call = begin(rig, functions, data)
    if flags == os.O_RDONLY:
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            call.arguments[2].splice(descriptor, 0)
    else:
        assert call.arguments[2].splice(descriptor, 0) == 0
    os.close(descriptor)
    assert bytes(call.arguments[2]) == data
    end(rig, call)


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "no"), WouldBlock(), 0])
def test_bytes_that_nobody_took_are_not_the_next_ones(
    rig: Rig, functions: Functions, failure: object
) -> None:
    data = os.urandom(LARGE)
    for _ in range(3):
        begin(rig, functions, data).answer(failure)
        if isinstance(failure, WouldBlock):
            waiting = functions.next()
            assert bytes(waiting.arguments[2]) == data
            waiting.answer(0)
        reply = rig.kernel.reply()
        assert reply.error == (errno.EIO if isinstance(failure, OSError) else 0)
        write(rig, functions, os.urandom(4097))
        rig.router.put_inode(inode(OTHER, mode=stat.S_IFREG | 0o644))
        assert rig.kernel.ask(Op.GETATTR, OTHER, getattr_in()).error == 0


def test_nobody_can_keep_the_bytes(rig: Rig, functions: Functions, file: int) -> None:
    call = begin(rig, functions, os.urandom(LARGE))
    kept = call.arguments[2]
    end(rig, call)
    for use in (lambda: memoryview(kept), kept.fetch, lambda: kept.splice(file, 0)):
        with pytest.raises(ValueError, match="answered"):
            use()
    call = begin(rig, functions, os.urandom(LARGE))
    view = memoryview(call.arguments[2])
    call.answer(LARGE)
    assert rig.kernel.reply().error == errno.EIO
    assert [type(exc) for _, exc in functions.failures] == [BufferError]
    view.release()


@pytest.mark.parametrize(("opcode", "message", "name", "arguments", "named"), CALLS)
def test_other_requests_behind_a_large_write(
    rig: Rig,
    functions: Functions,
    opcode: int,
    message: bytes,
    name: str,
    arguments: tuple[object, ...],
    named: str,
) -> None:
    """They are as they would be by read(2)."""
    del named
    for _ in range(10):  # by the pipe, and not any more
        unique = rig.kernel.request(opcode, FILE, message)
        call = functions.next()
        assert (call.name, call.arguments) == (name, (FILE, *arguments))
        call.answer(OSError(errno.EDQUOT, "no"))
        reply = rig.kernel.reply()
        assert (reply.unique, reply.error) == (unique, errno.EDQUOT)
    write(rig, functions, os.urandom(LARGE))
    write(rig, functions, os.urandom(LARGE))


def test_after_a_while_writes_are_read_at_once_again(rig: Rig, functions: Functions) -> None:
    for _ in range(10):
        write(rig, functions, b"small")
    call = write(rig, functions, os.urandom(LARGE))
    assert isinstance(call.arguments[2], memoryview)
    end(rig, begin(rig, functions, os.urandom(LARGE)))


def test_messages_that_are_wrong(rig: Rig, functions: Functions) -> None:
    whole = os.urandom(LARGE)
    for size in (0, 3, LARGE - 1, LARGE + 1, 2**32 - 1):
        message = write_in(0, 0, whole, size=size)
        assert rig.kernel.ask(Op.WRITE, FILE, message).error == errno.EINVAL
        write(rig, functions, whole)
    message = Request(Op.WRITE, 2, FILE, write_in(0, 0, whole)).pack()
    for length in (1, 39, 40, 79, 80, 81, 200_000):
        rig.kernel.send(message[:length])
        if length >= 40:
            assert rig.kernel.reply().error == errno.EIO
        write(rig, functions, whole)
    assert functions.are_idle()


def test_writes_that_queue_behind_a_call(rig: Rig, functions: Functions, file: int) -> None:
    """The one that stands by reads them, by the pipe as well, and keeps them in memory."""
    data = [os.urandom(LARGE - number) for number in range(6)]
    first = begin(rig, functions, data[0])
    for number, each in enumerate(data[1:], 1):
        rig.kernel.request(Op.WRITE, FILE + number, write_in(0, 0, each))
    assert functions.are_idle(0.2)
    assert first.arguments[2].splice(file, 0) == LARGE
    end(rig, first)
    for number, each in enumerate(data[1:], 1):
        call = functions.next()
        assert call.arguments[0] == FILE + number
        assert bytes(call.arguments[2]) == each
        end(rig, call, len(each))
    assert os.pread(file, LARGE, 0) == data[0]


def test_where_nobody_is_called_pyfuse3_gets_the_bytes(scratch: Path) -> None:
    with Rig(scratch, workers=1, functions=Functions("unlink"), max_write=LARGE) as rig:
        rig.initialise()
        for number in range(4):
            message = write_in(FILE, 0, os.urandom(LARGE - number))
            assert rig.forwarded(Op.WRITE, FILE, message).body == message
    rig.forget()


def test_where_there_can_be_no_pipe(scratch: Path, functions: Functions) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Rig(scratch, workers=1, functions=functions, max_write=LARGE) as rig:
        rig.initialise()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            for _ in range(3):
                call = write(rig, functions, os.urandom(LARGE))
                assert isinstance(call.arguments[2], memoryview)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    rig.forget()


def test_the_end_of_the_connection(rig: Rig, functions: Functions) -> None:
    end(rig, begin(rig, functions, os.urandom(LARGE)))
    rig.kernel.close()
    assert select.select([rig.ended], [], [], PATIENCE_S)[0]
