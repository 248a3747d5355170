from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import machine
from tests.benchmarks.machine import (
    Coldness,
    drop_kernel_caches,
    filesystem_of,
    mountpoints,
)
from tests.support.fixtures import MakeMount


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in place of the kernel's, so that the machine keeps its caches."""
    path = tmp_path / "drop_caches"
    path.touch()
    monkeypatch.setattr(machine, "DROP_CACHES", path)
    return path


def test_root_drops_everything(switch: Path, tmp_path: Path) -> None:
    assert drop_kernel_caches(tmp_path) is Coldness.KERNEL
    assert switch.read_text() == "3\n"


def test_others_drop_the_bytes_of_the_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "DROP_CACHES", tmp_path / "nowhere" / "drop_caches")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert drop_kernel_caches(tmp_path) is Coldness.PAGES


def test_the_filesystem_of_a_mount_is_named(make_mount: MakeMount) -> None:
    mount = make_mount()
    assert filesystem_of(mount.path) == "fuse.tierfs"
    assert mount.path in mountpoints()
