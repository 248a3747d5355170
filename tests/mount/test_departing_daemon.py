"""A daemon that ends leaves alone what lies, or is mounted next, at the place of its own mount."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.mounting import Mount, mounts_at
from tests.support.proc import run, wait_until

pytestmark = pytest.mark.long

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")


@contextmanager
def tmpfs(path: Path) -> Iterator[None]:
    """A filesystem of somebody else, upon what is mounted at `path`."""
    run(["mount", "-t", "tmpfs", "none", path])
    try:
        yield
    finally:
        run(["umount", path])


@needs_root
def test_the_next_mount_at_the_same_place_stays(mounted: Mount) -> None:
    with (mounted.path / "file").open("wb"):
        os.kill(mounted.pid, signal.SIGTERM)
        wait_until(lambda: not mounted.is_mounted(), what="the busy mount is hidden")
        with tmpfs(mounted.path):
            mounted.wait_for_daemon()
            assert mounts_at(mounted.path) == 1


@needs_root
def test_a_mount_upon_ours_stays(mounted: Mount) -> None:
    (mounted.path / "ours").touch()
    with tmpfs(mounted.path):
        (mounted.path / "theirs").touch()
        os.kill(mounted.pid, signal.SIGTERM)
        mounted.wait_for_daemon()
        assert os.listdir(mounted.path) == ["theirs"]
    assert "another mount lies over" in mounted.log.text()
    mounted.mount()
    assert mounts_at(mounted.path) == 1
    assert os.listdir(mounted.path) == ["ours"]


def test_a_signal_after_a_lazy_unmount_ends_it(mounted: Mount) -> None:
    with (mounted.path / "file").open("wb"):
        lazily = ["umount", "-l"] if os.geteuid() == 0 else ["fusermount3", "-u", "-z"]
        run([*lazily, mounted.path])
        os.kill(mounted.pid, signal.SIGTERM)
        mounted.wait_for_daemon()
    mounted.mount()
    assert os.listdir(mounted.path) == ["file"]


@needs_root
def test_one_that_is_bound_elsewhere_ends_all_the_same(mounted: Mount, tmp_path: Path) -> None:
    run(["mount", "--bind", mounted.path, tmp_path])
    try:
        os.kill(mounted.pid, signal.SIGTERM)
        mounted.wait_for_daemon()
        assert not mounted.is_mounted()
    finally:
        run(["umount", tmp_path])
