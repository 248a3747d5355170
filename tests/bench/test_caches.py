from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tierfs.base.errors import TierfsError
from tierfs.bench.framework import caches
from tierfs.bench.framework.caches import Coldness, Remount, drop_kernel_caches, keep_caches
from tierfs.bench.framework.mounts import filesystem_of, mountpoints


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in place of the kernel's, so that the machine keeps its caches."""
    path = tmp_path / "drop_caches"
    path.touch()
    monkeypatch.setattr(caches, "DROP_CACHES", path)
    return path


def test_root_drops_everything(switch: Path, tmp_path: Path) -> None:
    assert drop_kernel_caches(tmp_path) is Coldness.KERNEL
    assert switch.read_text() == "3\n"


def test_others_drop_the_bytes_of_the_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "DROP_CACHES", tmp_path / "nowhere" / "drop_caches")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert drop_kernel_caches(tmp_path) is Coldness.PAGES


def test_nothing_may_be_dropped(tmp_path: Path) -> None:
    assert keep_caches(tmp_path) is Coldness.WARM


def test_colder_includes_less_cold() -> None:
    assert Coldness.WARM < Coldness.PAGES < Coldness.KERNEL < Coldness.DAEMON


def test_a_command_remounts(switch: Path, tmp_path: Path) -> None:
    remount = Remount(f"touch '{tmp_path}/done'")
    assert remount(tmp_path) is Coldness.DAEMON
    assert (tmp_path / "done").exists()
    assert switch.read_text() == "3\n"


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(TierfsError, match=r"the command to remount .* failed: no such thing"):
        Remount("echo no such thing >&2; exit 3")(tmp_path)
    with pytest.raises(TierfsError, match="ended with 3"):
        Remount("exit 3")(tmp_path)


def test_a_command_that_only_unmounts_is_told(make_mount: MakeMount) -> None:
    mount = make_mount()
    assert filesystem_of(mount.path) == "fuse.tierfs"
    assert mount.path in mountpoints()
    with pytest.raises(TierfsError, match=r"left \w+ there instead of fuse\.tierfs"):
        Remount(f"umount '{mount.path}'")(mount.path)
    mount.wait_for_daemon()
    assert mount.path not in mountpoints()
