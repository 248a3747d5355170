"""Links and FIFOs in the place of objects, on a mount: with the fast path and without."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount, both_ways
from tests.support.mounting import HEAD
from tests.support.proc import run

SECRET = b"root's secret" * (HEAD // 4)
DATA = b"0123456789abcdef" * (HEAD // 4)
"""Four heads of data."""


def link(path: Path, secret: Path) -> None:
    path.unlink()
    path.symlink_to(secret)


def link_directory(path: Path, _secret: Path) -> None:
    moved = path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to(moved)
    (moved / path.name).write_bytes(SECRET)


def fifo(path: Path, _secret: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def error_of(function: Callable[[], object]) -> int | None:
    try:
        function()
    except OSError as exc:
        return exc.errno
    return None


@pytest.mark.timeout(60)
@both_ways
def test_nothing_outside_is_read_or_written(
    make_mount: MakeMount, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """A link leads nowhere, a FIFO holds nobody up, and the mount lives on."""
    mount = make_mount(*options)
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    cases = [(tier, trick) for trick in (link, fifo, link_directory) for tier in ("flash", "disk")]
    names = [f"{tier} {trick.__name__}" for tier, trick in cases]
    for name in names:
        (mount.path / name).write_bytes(DATA)
        mount.log.allow(name)
    mount.remount(*options)
    for name, (tier, trick) in zip(names, cases, strict=True):
        path = mount.path / name
        ino = path.stat().st_ino
        trick(mount.flash_object(ino) if tier == "flash" else mount.disk_object(ino), secret)
        at = 0 if tier == "flash" else 2 * HEAD
        assert error_of(lambda: first_byte(path, at)) == errno.EIO, name  # noqa: B023 - called at once
        assert error_of(lambda: overwrite(path, at)) == errno.EIO, name  # noqa: B023 - called at once
        if trick is link:
            (mount.path / "other").write_bytes(DATA)
            (mount.path / "other").unlink()
    assert secret.read_bytes() == SECRET
    for moved in mount.flash.parent.glob("*/*/00/moved/*"):
        assert not moved.is_file() or b"overwritten" not in moved.read_bytes()
    (mount.path / "made").mkdir()


def first_byte(path: Path, at: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), 1, at)


def overwrite(path: Path, at: int) -> None:
    with path.open("rb+", buffering=0) as file:
        os.pwrite(file.fileno(), b"overwritten", at)


def test_a_volume_of_somebody_else_is_refused(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    if os.geteuid() != 0:
        return
    os.chown(mount.flash, 11004, 11004)
    done = run(
        [sys.executable, "-m", "tierfs", "mount", mount.volume_file, mount.path],
        statuses=(3,),
        timeout=60,
    )
    assert f"{mount.flash} belongs to user 11004" in done.stderr
    assert "chown root" in done.stderr
