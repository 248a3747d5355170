"""A disk that makes one reader wait makes nobody else wait.

The slow disk is a file lease. Whoever holds a write lease on a file (fcntl(2), F_SETLEASE) makes
every open(2) of it by another process wait until the lease is given up, and can ask whether
somebody does. So the daemon's access to one object hangs exactly as long as the test wants, the
test knows that it hangs, and nothing depends on the speed of the machine: no device mapper, no
second FUSE filesystem, no tracing. The kernel ends the wait itself after 45 seconds
(/proc/sys/fs/lease-break-time), so a failing test hangs nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounting import Mount
from tests.support.proc import run, start, stop, wait_until

pytestmark = pytest.mark.alone

DATA = bytes(range(256)) * 1024
"""Four heads."""

DIGEST = hashlib.sha256(DATA).hexdigest()

SOON = 10
"""Seconds in which what waits for nothing is done, far below the time after which a lease ends."""

READERS = 6
"""Readers that wait for the same object."""

OTHERS = (
    "stat slow && ls -l",
    "cat small",
    "cat other | cmp - other",
    "echo new > created && mv created renamed && rm renamed",
    "mkdir folder && setfattr -n user.a -v b folder && rmdir folder",
    "dd if=/dev/zero of=large bs=100k count=4 conv=fsync 2>&1",
    "head -c 1000 small | cmp - small",
)
"""What must not wait: attributes, heads and tails of other files, and every kind of change."""


@pytest.fixture
def cold(mounted: Mount) -> Mount:
    """A mount with some files that neither kernel nor daemon has read or opened."""
    for name in ("slow", "other"):
        (mounted.path / name).write_bytes(DATA)
    (mounted.path / "small").write_bytes(DATA[:1000])
    mounted.remount()
    return mounted


class Lease:
    """A write lease on an open file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)

    def wait_for_a_reader(self) -> None:
        """Wait until the kernel wants the lease back because somebody waits for it."""
        wait_until(self._is_wanted_back, what="a reader that waits for the file", timeout=SOON)

    def _is_wanted_back(self) -> bool:
        # The kind that is left once it has been given up (target_leasetype, fs/locks.c).
        return fcntl.fcntl(self._descriptor, fcntl.F_GETLEASE) != fcntl.F_WRLCK


@contextlib.contextmanager
def held(path: Path) -> Iterator[Lease]:
    """Make whoever opens `path` wait inside the block."""
    # The signal that tells the holder would end it. A handler is no better: Python may run it
    # only after the wait that it is to end, or, with an Event, inside it and wait for its lock.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield Lease(descriptor)
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, before)


def test_others_go_on_while_one_read_waits(cold: Mount) -> None:
    inode = (cold.path / "slow").stat().st_ino
    with held(cold.disk_object(inode)) as lease:
        reader = start(["sha256sum", cold.path / "slow"])
        lease.wait_for_a_reader()
        for command in OTHERS:
            run(["sh", "-c", command], cwd=cold.path, timeout=SOON)
        assert reader.poll() is None, "the read did not wait for its object"
    assert answer(reader) == DIGEST


def test_head_of_the_waiting_file_is_there(cold: Mount) -> None:
    """The head comes from flash: who needs no more of the file does not wait for the disk."""
    inode = (cold.path / "slow").stat().st_ino
    with held(cold.disk_object(inode)), (cold.path / "slow").open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        assert os.pread(file.fileno(), 4096, 0) == DATA[:4096]


def test_many_waiting_readers_all_get_their_data(cold: Mount) -> None:
    inode = (cold.path / "slow").stat().st_ino
    with held(cold.disk_object(inode)) as lease:
        readers = [start(["sha256sum", cold.path / "slow"]) for _ in range(READERS)]
        lease.wait_for_a_reader()
        run(["cmp", "small", "small"], cwd=cold.path, timeout=SOON)
    assert [answer(reader) for reader in readers] == [DIGEST] * READERS


@pytest.mark.once
def test_lease_makes_a_native_reader_wait(tmp_path: Path) -> None:
    """The proof of the mechanism itself."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with held(path) as lease:
        reader = start(["sha256sum", path])
        lease.wait_for_a_reader()
        assert reader.poll() is None
    assert answer(reader) == DIGEST


def answer(reader: subprocess.Popen[str]) -> str:
    """The digest that a reader prints once it may read on."""
    try:
        return reader.communicate(timeout=SOON)[0].split()[0]
    finally:
        stop(reader)
