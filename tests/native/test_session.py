"""Start and end: every thread ends, every descriptor is closed, and nobody waits for ever."""

from __future__ import annotations

import errno
import gc
import os
import resource
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.guards.descriptors import open_descriptors, opened_since
from tests.metadata.rows import inode
from tests.native.rig import PATIENCE_S, Rig, make_router, opened
from tests.native.tasks import threads, threads_since, wait_for_their_end
from tests.native.wire import Op, ReadIn, write_in
from tierfs.native._router import ANSWERED, Router

ARGUMENTS: dict[str, Any] = {
    "workers": 2,
    "spin_us": 0,
    "disk_threads": 2,
    "max_write": 65536,
    "io_uring": False,
}


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def wait_for(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], PATIENCE_S)[0])


@contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """No more than ``more`` descriptors can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free, least = 0, 0
    used = set(open_descriptors())
    while free < more + 1:
        free += least not in used
        least += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (least - 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -------- stop


def test_stop_ends_every_thread_and_closes_the_device(scratch: Path) -> None:
    before = threads()
    with Rig(scratch, workers=4) as rig:
        rig.initialise()
        assert threads_since(before) == 5  # one stands by
        rig.router.stop()
        wait_for_their_end(before)
        assert rig.kernel.receive() == b""
        assert rig.pyfuse3.receive() == b""


def test_a_router_that_nobody_stopped_ends_with_its_object(scratch: Path) -> None:
    before, descriptors = threads(), open_descriptors()
    rig = Rig(scratch)
    rig.initialise()
    rig.kernel.close()
    rig.pyfuse3.close()
    os.close(rig.ended)
    rig.forget()
    gc.collect()
    wait_for_their_end(before)
    assert not opened_since(descriptors)


def test_stop_is_idempotent_also_from_many_threads_at_once(scratch: Path) -> None:
    for _ in range(20):
        with Rig(scratch) as rig:
            rig.initialise()
            looks = [rig.router.counters] * 4
            calls = [threading.Thread(target=call) for call in [rig.router.stop] * 4 + looks]
            for call in calls:
                call.start()
            for call in calls:
                call.join()
            rig.router.stop()


def test_a_router_starts_once(scratch: Path) -> None:
    with Rig(scratch) as rig:
        ours, theirs = pair()
        with ours, theirs:
            with pytest.raises(RuntimeError):
                rig.router.start(theirs.fileno(), **ARGUMENTS)
            rig.router.stop()
            with pytest.raises(RuntimeError):
                rig.router.start(theirs.fileno(), **ARGUMENTS)
            assert theirs.fileno() in open_descriptors()


def test_what_was_stopped_before_it_started_does_not_start(scratch: Path) -> None:
    router = make_router(scratch, scratch)
    router.stop()
    ours, theirs = pair()
    with ours, theirs, pytest.raises(RuntimeError):
        router.start(theirs.fileno(), **ARGUMENTS)


def test_the_view_outlives_the_threads(scratch: Path) -> None:
    with Rig(scratch) as rig:
        rig.initialise()
        rig.kernel.ask(Op.FLUSH)
        rig.router.put_inode(inode(7))
        rig.router.stop()
        rig.router.put_inode(inode(8))
        rig.router.put_statfs((0,) * 8, 1.0)
        rig.router.add_lookups(8)
        counters = rig.router.counters()
        assert (counters.inodes, counters.known_inodes) == (2, 1)
        assert counters.answered[ANSWERED.index("open")].ok == 1
        assert rig.router.heat(5) == []


def test_stop_with_everything_in_flight(scratch: Path, tmp_path: Path) -> None:
    """Queued messages, what was forwarded, and READs of disk threads."""
    for directory in (scratch, tmp_path):
        before = threads()
        with Rig(directory, workers=3) as rig:
            rig.initialise()
            for ino in range(10, 40):
                rig.put_object(rig.objects, ino, bytes(100_000))
                rig.router.put_inode(inode(ino, size=100_000, prefix=0))
            for number in range(3000):
                rig.kernel.request(Op.LOOKUP, 1, b"n" * 250 + b"\0")
                rig.kernel.request(Op.READ, number % 60, ReadIn(0, 0, 50_000).pack())
                rig.kernel.request(Op.WRITE, 9, write_in(0, 0, bytes(5000)))
                if number % 100 == 0:
                    while not rig.kernel.is_silent():
                        rig.kernel.receive()
        wait_for_their_end(before)


# -------- the end of a side


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("spin_us", [0, 200])
@pytest.mark.parametrize("side", ["kernel", "pyfuse3"])
def test_the_end_of_either_side_ends_all(
    scratch: Path, side: str, spin_us: int, workers: int
) -> None:
    before = threads()
    with Rig(scratch, spin_us=spin_us, workers=workers) as rig:
        rig.initialise()
        assert not select.select([rig.ended], [], [], 0)[0]
        (rig.kernel if side == "kernel" else rig.pyfuse3).close()
        assert wait_for(rig.ended)
        rig.router.stop()
        wait_for_their_end(before)


def test_who_asks_when_pyfuse3_is_gone_gets_an_error(scratch: Path) -> None:
    with Rig(scratch, workers=1) as rig:
        rig.initialise()
        for _ in range(50):
            rig.kernel.request(Op.READLINK, 9)
            rig.kernel.request(Op.READ, 9, ReadIn(0, 0, 10).pack())
        rig.pyfuse3.close()
        assert wait_for(rig.ended)
        rig.router.stop()
        while message := rig.kernel.receive():
            assert int.from_bytes(message[4:8], "little", signed=True) == -errno.ENOMEM


# -------- what cannot be started


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": 0},
        {"workers": 17},
        {"disk_threads": 0},
        {"disk_threads": 257},
        {"max_write": 0},
        {"max_write": 4097},
        {"max_write": 2 << 20},
    ],
)
def test_numbers_out_of_range(scratch: Path, wrong: dict[str, int]) -> None:
    router = make_router(scratch, scratch)
    ours, theirs = pair()
    with ours, theirs:
        with pytest.raises(ValueError, match="wanted"):
            router.start(theirs.fileno(), **{**ARGUMENTS, **wrong})
        assert theirs.fileno() in open_descriptors()


def test_a_device_that_is_none(scratch: Path) -> None:
    before = open_descriptors()
    router = make_router(scratch, scratch)
    with pytest.raises(OSError, match="Bad file descriptor"):
        router.start(999, **ARGUMENTS)
    with pytest.raises(RuntimeError):
        router.start(999, **ARGUMENTS)
    del router
    assert not opened_since(before)


@pytest.mark.parametrize("more", [0, 1, 2])
def test_no_descriptor_to_start_with(scratch: Path, more: int) -> None:
    before = open_descriptors()
    router = make_router(scratch, scratch)
    ours, theirs = pair()
    with ours:
        with few_descriptors(more), pytest.raises(OSError, match="Too many open files"):
            router.start(theirs.detach(), **ARGUMENTS)
        assert ours.recv(100) == b""  # the device is closed: no client waits
    router.stop()
    del router
    assert not opened_since(before)


@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_no_descriptor_to_make_one_with(scratch: Path, more: int) -> None:
    before = open_descriptors()
    refused = pytest.raises(OSError, match="Too many open files")
    with opened(scratch) as number, few_descriptors(more), refused:
        Router(memory=1 << 20, heads=number, objects=number)
    assert not opened_since(before)


def test_directories_that_are_none() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        Router(memory=1 << 20, heads=998, objects=999)
    with pytest.raises(ValueError, match="negative"):
        Router(memory=-1, heads=998, objects=999)


def test_no_thread_to_start_with(scratch: Path) -> None:
    """RLIMIT_AS takes away the room for stacks after the buffers were made, or before."""
    before = open_descriptors()
    for room in range(0, 40 << 20, 3 << 20):
        router = make_router(scratch, scratch)
        ours, theirs = pair()
        with ours, little_memory(room):
            failed = 0
            try:
                peer, ended = router.start(theirs.detach(), **{**ARGUMENTS, "workers": 8})
                os.close(peer)
                os.close(ended)
            except OSError as exc:
                failed = exc.errno or -1
            assert failed in {0, errno.ENOMEM, errno.EAGAIN}
            assert not failed or ours.recv(100) == b""
        router.stop()
        del router
    assert not opened_since(before)


@contextmanager
def little_memory(more: int) -> Iterator[None]:
    """No more than ``more`` bytes of address space, about; a sanitizer needs it all."""
    if "TIERFS_SANITIZER" in os.environ:
        more = 1 << 60
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = min(pages * resource.getpagesize() + more, 2**62)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
