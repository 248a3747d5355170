"""The comparison of trees sees what it is there to see."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.proc import run
from tests.support.trees import differences, make_tree, snapshot

CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: _overwrite(root / "plain-0", b"!"),
    "mode": lambda root: (root / "sparse").chmod(0o640),
    "time": lambda root: os.utime(root / "sparse", ns=(1, 1)),
    "xattr": lambda root: os.setxattr(root / "plain-0", "user.label", b"another"),
    "hard link": lambda root: os.link(root / "sparse", root / "more"),
    "symbolic link": lambda root: _relink(root / "dangling", "elsewhere"),
    "missing": lambda root: (root / "sparse").unlink(),
    "access list": lambda root: run(["setfacl", "-m", "u:777:rw", root / "sparse"]),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    make_tree(root, files=20)
    (root / "plain-0").chmod(0o644)
    return root


def test_tree_equals_its_copy(tree: Path, tmp_path: Path) -> None:
    run(["cp", "-a", tree, tmp_path / "copy"])
    assert differences(snapshot(tree), snapshot(tmp_path / "copy")) == []


@pytest.mark.parametrize("change", CHANGES)
def test_comparison_sees_a_change(tree: Path, change: str) -> None:
    before = snapshot(tree)
    CHANGES[change](tree)
    assert differences(before, snapshot(tree))


def _overwrite(path: Path, data: bytes) -> None:
    facts = path.stat()
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)
