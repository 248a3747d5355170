"""Copies of a tree are equal to it in everything that rsync compares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.mounting import Mount
from tests.support.places import Place
from tests.support.proc import drop_page_cache, run
from tests.support.trees import differences, make_tree, snapshot

pytestmark = pytest.mark.long

FILES = int(os.environ.get("TIERFS_TREE_FILES", "400"))
"""Files of the generated tree; a real one of any size is given by TIERFS_TREE=DIRECTORY."""

LIMIT = 1800 if "TIERFS_TREE" in os.environ or FILES > 5000 else 110
"""Seconds that one copy or comparison may take."""


@pytest.fixture
def tree(scratch: Path) -> Path:
    if real := os.environ.get("TIERFS_TREE"):
        return Path(real)
    root = scratch / "tree"
    root.mkdir()
    make_tree(root, files=FILES)
    return root


def changes(source: Path, target: Path) -> str:
    """What rsync would have to do to make `target` equal to `source`."""
    options = ["-aHAXc", "--delete", "--dry-run", "--itemize-changes"]
    return run(["rsync", *options, f"{source}/", f"{target}/"], timeout=LIMIT).stdout


@pytest.mark.timeout(4 * LIMIT)
def test_copy_stays_equal(tree: Path, place: Place) -> None:
    copy = place.path / "copy"
    run(["cp", "-a", tree, copy], timeout=LIMIT)
    assert changes(tree, copy) == ""
    place.remount()
    assert changes(tree, copy) == ""
    drop_page_cache()
    assert changes(tree, copy) == ""


def test_rsync_writes_an_equal_tree(tree: Path, place: Place) -> None:
    copy = place.path / "copy"
    run(["rsync", "-aHAX", f"{tree}/", f"{copy}/"], timeout=LIMIT)
    place.remount()
    assert changes(tree, copy) == ""


def test_comparison_would_see_a_change(scratch: Path, mounted: Mount) -> None:
    tree, copy = scratch / "tree", mounted.path / "copy"
    tree.mkdir()
    make_tree(tree, files=20)
    run(["cp", "-a", tree, copy])
    os.setxattr(copy / "sparse", "user.more", b"1")
    assert "sparse" in changes(tree, copy)
    os.removexattr(copy / "sparse", "user.more")
    assert changes(tree, copy) == ""
    assert differences(snapshot(tree), snapshot(copy)) == []
