"""A tier whose filesystem has shut down: the daemon lives on, calls fail, nothing falls through."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.loop_devices import Kind, loop_filesystem, shut_down
from tests.support.mounting import DEAD, HEAD, Mount
from tests.support.proc import running, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts loop devices")

BROKEN = {errno.EIO, errno.EROFS, *DEAD}


@pytest.fixture(params=["ext4", "xfs"])
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
def device(tmp_path: Path, kind: Kind) -> Iterator[Path]:
    with loop_filesystem(tmp_path, kind) as path:
        yield path


def write(path: Path, data: bytes) -> int:
    """The errno of writing a file and making it durable; 0: it was done."""
    try:
        with path.open("wb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno or -1
    return 0


def expect_failures(mount: Mount) -> None:
    mount.log.allow(r".")


def test_the_daemon_outlives_a_flash_that_shut_down(make_mount: MakeMount, device: Path) -> None:
    mount = make_mount(flash=device / "flash")
    for name in ("before", "removed"):
        assert write(mount.path / name, b"x" * 2 * HEAD) == 0
    expect_failures(mount)
    (mount.path / "removed").unlink()  # what is left of it is freed in the background
    shut_down(device)
    assert write(mount.path / "after", b"y") in BROKEN
    wait_until(
        lambda: "in the background, " in mount.log.text(), what="a task that fails", timeout=40
    )
    assert write(mount.path / "later", b"z") in BROKEN
    assert running(mount.pid)
    assert mount.is_mounted()
    mount.abort()
    assert os.listdir(mount.path) == []


def test_the_daemon_outlives_a_disk_that_shut_down(make_mount: MakeMount, device: Path) -> None:
    mount = make_mount(disk=device / "disk")
    assert write(mount.path / "before", b"x" * 2 * HEAD) == 0
    expect_failures(mount)
    shut_down(device)
    assert write(mount.path / "after", b"y" * 2 * HEAD) in BROKEN
    assert write(mount.path / "small", b"y") in {0, *BROKEN}
    assert running(mount.pid)
    assert (mount.path / "before").stat().st_size == 2 * HEAD
    mount.abort()
    assert os.listdir(mount.path) == []
