"""Idle cores do not sleep deeply while a program waits for one answer after the other."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount
from tests.support.proc import open_files, wait_until
from tierfs.daemon.native import PM_QOS

pytestmark = [pytest.mark.alone, pytest.mark.once]

LATENCY_US = 3


def latency_us() -> int:
    """The shortest that anybody on this machine asks for now; it can be read as it is written."""
    (value,) = struct.unpack("=i", PM_QOS.read_bytes())
    return int(value)


@contextmanager
def busy(path: Path) -> Iterator[None]:
    """A thread that gets an extended attribute again and again: the kernel keeps none."""
    over = threading.Event()

    def ask() -> None:
        with suppress(OSError):  # the daemon may be killed meanwhile
            while not over.is_set():
                os.getxattr(path, "user.a")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def mounted(make_mount: MakeMount, latency: str) -> Mount:
    mount = make_mount.formatted()
    mount.configure("fast_path", f"{{io_uring: false, cpu_latency: {latency}}}")
    mount.mount("fastpath")
    (mount.path / "f").touch()
    os.setxattr(mount.path / "f", "user.a", b"1")
    return mount


def test_cores_are_kept_awake_while_requests_come(make_mount: MakeMount) -> None:
    before = latency_us()
    mount = mounted(make_mount, f"{LATENCY_US}us")
    with busy(mount.path / "f"):
        wait_until(lambda: latency_us() <= LATENCY_US, what="cores are kept awake")
    wait_until(lambda: latency_us() == before, what="cores may sleep")


def test_a_killed_daemon_keeps_nothing_awake(make_mount: MakeMount) -> None:
    before = latency_us()
    mount = mounted(make_mount, f"{LATENCY_US}us")
    with busy(mount.path / "f"):
        wait_until(lambda: latency_us() <= LATENCY_US, what="cores are kept awake")
        mount.kill()  # while it asks for that
    wait_until(lambda: latency_us() == before, what="cores may sleep")


def test_the_setting_leaves_the_cores_alone(make_mount: MakeMount) -> None:
    mount = mounted(make_mount, "any")
    assert str(PM_QOS) not in open_files(mount.pid)
