"""Where a run puts its files, how much fits there, and that it takes them away again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path

import pytest

from tierfs.base.errors import TierfsError
from tierfs.base.units import GIB, MIB
from tierfs.demo import caches, mounts, space, workspace
from tierfs.demo.mounts import is_mounted, read_mounts
from tierfs.demo.space import Images, fit
from tierfs.demo.storage import storage_of

WANTED = Images(1200, 600 * MIB)


def give_room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(space, "free_bytes", lambda _: free)


def test_all_images_fit_in_much_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give_room(monkeypatch, 100 * GIB)
    assert fit(WANTED, 250 * MIB, [tmp_path]) == WANTED


def test_fewer_images_in_little_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give_room(monkeypatch, GIB)
    images = fit(WANTED, 250 * MIB, [tmp_path])
    assert 100 < images.files < WANTED.files
    assert images.bytes * space.COPIES + 250 * MIB < GIB


def test_no_room_is_an_error_that_says_where_and_what(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    give_room(monkeypatch, 100 * MIB)
    with pytest.raises(TierfsError, match=r"too little room: about 394MiB is needed; choose --dir"):
        fit(WANTED, 250 * MIB, [tmp_path])


def test_temporary_files_go_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert space.usual_place() == tmp_path


def test_temporary_files_go_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    roomy, small = tmp_path / "roomy", tmp_path / "small"
    roomy.mkdir()
    small.mkdir()
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(space, "USUAL_PLACES", (small, roomy))
    monkeypatch.setattr(space, "free_bytes", lambda place: {roomy: 2, small: 1}[place])
    assert space.usual_place() == roomy


def test_a_workspace_is_deleted_even_after_a_failure(tmp_path: Path) -> None:
    with (
        contextlib.suppress(ZeroDivisionError),
        workspace.workspace(tmp_path, None, None, keep=False) as work,
    ):
        assert work.source.is_relative_to(tmp_path)
        sum(1 / size for size in (0,))
    assert os.listdir(tmp_path) == []


def test_tiers_lie_where_the_user_says(tmp_path: Path) -> None:
    flash, disk = tmp_path / "nvme", tmp_path / "raid"
    flash.mkdir()
    disk.mkdir()
    with workspace.workspace(tmp_path, flash, disk, keep=False) as work:
        assert work.flash.parent.parent == flash
        assert work.disk.parent.parent == work.source.parent.parent == disk
        assert work.mountpoint.is_dir()
        assert len(work.roots) == 3
    assert os.listdir(flash) == os.listdir(disk) == []


def test_a_kept_workspace_stays(tmp_path: Path) -> None:
    with workspace.workspace(tmp_path, None, None, keep=True) as work:
        pass
    assert work.source.is_dir()


def test_nothing_is_deleted_below_a_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with workspace.workspace(tmp_path, None, None, keep=True) as work:
        monkeypatch.setattr(workspace, "is_mounted", lambda _: True)
        with pytest.raises(TierfsError, match="still mounted"):
            work.delete()
    assert work.source.is_dir()


def test_what_cannot_be_deleted_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    with (
        pytest.raises(TierfsError, match="could not delete"),
        workspace.workspace(tmp_path, None, None, keep=False),
    ):
        pass


def test_cleaning_up_is_not_interrupted() -> None:
    before = signal.getsignal(signal.SIGINT)
    with workspace.undisturbed():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_mounts_are_read_with_their_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mountinfo"
    table.write_bytes(b"36 35 0:42 / /a\\040b\\134c rw shared:1 - fuse.tierfs v.yaml rw\n")
    monkeypatch.setattr(mounts, "TABLE", table)
    (entry,) = read_mounts()
    assert (entry.path, entry.device, entry.type) == (rb"/a b\c", "0:42", "fuse.tierfs")
    assert is_mounted(Path(r"/a b\c"))
    assert not is_mounted(Path("/a"))


def test_storage_is_named() -> None:
    assert str(storage_of(Path("/proc"))).startswith("proc on ")


def test_dropping_caches_reads_no_pipe_and_needs_no_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("missing")
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(caches, "DROP_CACHES", tmp_path / "missing" / "drop_caches")
    assert caches.drop_caches([tmp_path]) is False
    monkeypatch.setattr(caches, "DROP_CACHES", tmp_path / "drop_caches")
    assert caches.drop_caches([tmp_path]) is True
