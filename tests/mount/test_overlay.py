"""A mount as the upper layer of an overlay, as container runtimes make them."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounting import Mount
from tests.support.proc import as_root, run


@pytest.fixture
def merged(mounted: Mount, scratch: Path) -> Iterator[Path]:
    """An overlay whose lower layer has `file` and `folder/inner`."""
    lower, merged = scratch / "lower", scratch / "merged"
    for path in (lower / "folder", merged, mounted.path / "upper", mounted.path / "work"):
        path.mkdir(parents=True)
    (lower / "file").write_text("below", encoding="utf-8")
    (lower / "folder" / "inner").write_text("inner", encoding="utf-8")
    layers = f"lowerdir={lower},upperdir={mounted.path}/upper,workdir={mounted.path}/work"
    run(as_root("mount", "-t", "overlay", "tierfs-test", "-o", layers, merged), timeout=20)
    with contextlib.ExitStack() as stack:
        stack.callback(run, as_root("umount", merged), timeout=20)
        yield merged


def test_what_is_removed_is_hidden_by_a_whiteout(merged: Path, mounted: Mount) -> None:
    (merged / "file").unlink()
    assert sorted(os.listdir(merged)) == ["folder"]
    left = (mounted.path / "upper" / "file").lstat()
    assert (stat.S_IFMT(left.st_mode), left.st_rdev) == (stat.S_IFCHR, 0)


def test_what_is_renamed_leaves_a_whiteout(merged: Path, mounted: Mount) -> None:
    (merged / "file").rename(merged / "moved")
    assert (merged / "moved").read_text(encoding="utf-8") == "below"
    assert not (merged / "file").exists()
    assert stat.S_ISCHR((mounted.path / "upper" / "file").lstat().st_mode)


def test_a_folder_is_copied_up_and_replaced(merged: Path) -> None:
    (merged / "folder" / "inner").write_text("changed", encoding="utf-8")
    assert (merged / "folder" / "inner").read_text(encoding="utf-8") == "changed"
    (merged / "folder" / "inner").unlink()
    (merged / "folder").rmdir()
    (merged / "folder").mkdir()
    assert os.listdir(merged / "folder") == []
