"""READ: from both objects, and what happens when they are not as the table says."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.metadata.rows import inode
from tests.native.functions import Call, Functions
from tests.native.rig import Rig
from tests.native.wire import Op, ReadIn, Reply
from tierfs.common.extents import WHOLE_FILE

HEAD = 8192
SIZE = 3 * HEAD + 5
CHUNK = 65536
POISON = b"\xee"
RWF_DONTCACHE = 0x80
"""linux/fs.h, since Linux 6.14; Python has no name for it."""


@pytest.fixture
def functions() -> Functions:
    """Python is asked for what the router cannot read."""
    return Functions("read")


def cache_split(rig: Rig, data: bytes, prefix: int, ino: int = 7) -> None:
    """A file whose flash object is poisoned behind the prefix, and its disk object below."""
    row = inode(ino, size=len(data), prefix=prefix)
    head = data[:prefix]
    if head:
        rig.put_object(rig.heads, ino, head + POISON * 100)
    if len(data) > prefix:
        rig.put_object(rig.objects, ino, POISON * prefix + data[prefix:] + POISON * 100)
    rig.router.put_inode(row)


def read(rig: Rig, offset: int, size: int, ino: int = 7) -> Reply:
    return rig.kernel.ask(Op.READ, ino, ReadIn(0, offset, size).pack())


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    prefix=st.sampled_from([0, 1, 4096, HEAD, SIZE, SIZE + 9, WHOLE_FILE]),
    offset=st.one_of(st.integers(0, SIZE + 10), st.sampled_from([HEAD - 1, SIZE, 2**62])),
    size=st.one_of(st.integers(0, SIZE + 10), st.just(1 << 20)),
)
def test_any_range_of_a_file(rig: Rig, prefix: int, offset: int, size: int) -> None:
    data = bytes(i % 251 for i in range(SIZE))
    rig.router.clear()
    cache_split(rig, data, prefix)
    reply = read(rig, offset, size)
    assert (reply.error, reply.body) == (0, data[offset : offset + size])


def test_an_empty_file_needs_no_object(rig: Rig) -> None:
    rig.router.put_inode(inode(7))
    assert read(rig, 0, 4096).body == b""


def objects(rig: Rig) -> list[Path]:
    return [
        path for store in (rig.heads, rig.objects) for path in store.rglob("*") if path.is_file()
    ]


def forget(path: Path) -> None:
    """Let the kernel keep no page of the file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def is_cached(path: Path, offset: int) -> bool:
    """Whether the byte at an offset can be read without waiting."""
    with path.open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(1)], offset, os.RWF_NOWAIT) == 1
        except BlockingIOError:
            return False


def lets_go(path: Path) -> bool:
    """Whether the filesystem knows RWF_DONTCACHE."""
    with path.open("rb") as file:
        try:
            os.preadv(file.fileno(), [bytearray(1)], 0, RWF_DONTCACHE)
        except OSError:
            return False
    return True


def test_bytes_that_are_not_in_memory_are_read_by_a_thread(slow_rig: Rig) -> None:
    data = os.urandom(SIZE)
    cache_split(slow_rig, data, HEAD)
    for path in objects(slow_rig):
        forget(path)
    assert read(slow_rig, 0, 1 << 20).body == data
    assert read(slow_rig, 0, 1 << 20).body == data


def test_what_the_mount_keeps_is_not_kept_below_it(slow_rig: Rig) -> None:
    """But for up to 31 pages that the kernel still has on its list of new ones when the read ends.

    The first page of a longer file is none of them, be memory in single pages or not.
    """
    files, size = range(10, 60), 256 * 1024
    for ino in files:
        cache_split(slow_rig, bytes(size), size, ino)
    for path in objects(slow_rig):
        forget(path)
    for ino in files:
        assert read(slow_rig, 0, size, ino).body == bytes(size)
    kept = sum(is_cached(path, 0) for path in objects(slow_rig))
    assert kept < len(files) // 2 if lets_go(objects(slow_rig)[0]) else kept == len(files)


def test_many_reads_at_a_time_from_a_disk(slow_rig: Rig) -> None:
    data = {ino: os.urandom(SIZE) for ino in range(10, 74)}
    for ino, each in data.items():
        cache_split(slow_rig, each, HEAD, ino)
    unique = {
        slow_rig.kernel.request(Op.READ, ino, ReadIn(0, offset, HEAD).pack()): each[offset:][:HEAD]
        for ino, each in data.items()
        for offset in range(0, SIZE, HEAD)
    }
    for _ in range(len(unique)):
        reply = slow_rig.kernel.reply()
        assert reply.body == unique.pop(reply.unique)


def test_the_bytes_of_each_tier_are_counted(rig: Rig) -> None:
    cache_split(rig, bytes(SIZE), HEAD)
    read(rig, 0, SIZE)
    counters = rig.router.counters()
    assert (counters.flash_bytes, counters.disk_bytes) == (HEAD, SIZE - HEAD)


# -------- only Python knows


def asked(rig: Rig, offset: int, size: int, ino: int = 7) -> tuple[int, Call]:
    """Send a READ that must be asked for; its number, and the call."""
    unique = rig.kernel.request(Op.READ, ino, ReadIn(0, offset, size).pack())
    return unique, called(rig, offset, size, ino, again=False)


def called(rig: Rig, offset: int, size: int, ino: int = 7, *, again: bool) -> Call:
    """The next call, which must be for these bytes."""
    assert isinstance(rig.functions, Functions)
    call = rig.functions.next()
    assert (call.name, call.arguments) == ("read", (ino, offset, size))
    assert call.keywords["again"] == again
    return call


def test_an_uncached_file_is_asked_for_and_then_read(rig: Rig) -> None:
    unique, call = asked(rig, 5, 100)
    data = os.urandom(SIZE)
    cache_split(rig, data, HEAD)
    call.answer()
    assert rig.kernel.reply() == Reply(unique, 0, data[5:105])


def test_bytes_on_disk_of_an_adopted_file_are_asked_for(rig: Rig) -> None:
    """Its owner may have changed them: only Python compares the object with what it was."""
    data = os.urandom(SIZE)
    cache_split(rig, data, HEAD)
    rig.router.put_inode(inode(7, size=SIZE, prefix=HEAD)._replace(adopted=1))
    assert read(rig, 0, HEAD).body == data[:HEAD]
    unique, call = asked(rig, HEAD - 5, 10)
    call.answer(b"as checked")
    assert rig.kernel.reply() == Reply(unique, 0, b"as checked")


def test_an_answer_with_bytes_is_taken(rig: Rig) -> None:
    for body in (b"x" * 100, b"short", b""):
        unique, call = asked(rig, 5, 100)
        call.answer(body)
        assert rig.kernel.reply() == Reply(unique, 0, body)


def test_an_error_is_passed_back(rig: Rig) -> None:
    unique, call = asked(rig, 5, 100)
    call.answer(OSError(errno.EIO, "damage"))
    assert rig.kernel.reply() == Reply(unique, errno.EIO, b"")


@pytest.mark.parametrize("damage", ["missing head", "missing tail", "short head", "short tail"])
@pytest.mark.parametrize("place", ["rig", "slow_rig"])
def test_damage_is_shown_to_python(request: pytest.FixtureRequest, place: str, damage: str) -> None:
    """Even where it is cached: the second time the bytes themselves are asked for."""
    rig = request.getfixturevalue(place)
    assert isinstance(rig, Rig)
    cache_split(rig, bytes(SIZE), HEAD)
    store = rig.heads if "head" in damage else rig.objects
    (path,) = (path for path in store.rglob("*") if path.is_file())
    if "missing" in damage:
        path.unlink()
    else:
        os.truncate(path, HEAD // 2)
    unique = rig.kernel.request(Op.READ, 7, ReadIn(0, 0, SIZE).pack())
    assert isinstance(rig.functions, Functions)
    call = rig.functions.next()
    if not call.keywords["again"]:  # what a disk was waited for is not tried natively again
        call.answer()
        call = rig.functions.next()
    assert (call.arguments, call.keywords["again"]) == ((7, 0, SIZE), True)
    call.answer(OSError(errno.EIO, "damage"))
    assert rig.kernel.reply() == Reply(unique, errno.EIO, b"")


def test_a_file_that_is_not_cached_even_then_is_asked_for_its_bytes(rig: Rig) -> None:
    unique, call = asked(rig, 0, 10)
    call.answer()
    called(rig, 0, 10, again=True).answer(b"0123456789")
    assert rig.kernel.reply() == Reply(unique, 0, b"0123456789")


def test_one_that_is_no_regular_file_is_asked_for(rig: Rig) -> None:
    rig.router.put_inode(inode(7, mode=0o40755, size=10))
    unique, call = asked(rig, 0, 10)
    call.answer(OSError(errno.EISDIR, "a directory"))
    assert rig.kernel.reply() == Reply(unique, errno.EISDIR, b"")


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1 << 20])
def test_as_much_as_was_asked_for_is_taken_from_python(rig: Rig, size: int) -> None:
    data = os.urandom(size)
    unique, call = asked(rig, 3, size)
    call.answer()
    called(rig, 3, size, again=True).answer(data)
    assert rig.kernel.reply() == Reply(unique, 0, data)
