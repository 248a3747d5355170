"""rsync both ways: a tree goes to the mount, changes, goes back, and is equal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.mounting import HEAD
from tests.support.places import Place
from tests.support.proc import run
from tests.support.trees import differences, make_tree, snapshot

pytestmark = pytest.mark.long

FILES = int(os.environ.get("TIERFS_TREE_FILES", "150"))
"""Files of the generated tree."""

LIMIT = 60 + FILES // 10
"""Seconds that one run of rsync may take."""

WAYS = {
    "new file": (),
    "in place": ("--inplace", "--no-whole-file"),
    "delayed": ("--delay-updates", "--fsync"),
}
"""How rsync writes what has changed; the first: a new file, renamed over the old one."""

EXACT = ("--delete", "--modify-window=-1")
"""Nanoseconds count: else a link made in the same second keeps its own time."""


def rsync(source: Path, target: Path, *options: str) -> None:
    run(["rsync", "-aHAX", *EXACT, *options, f"{source}/", f"{target}/"], timeout=LIMIT)


@pytest.mark.timeout(5 * LIMIT)
@pytest.mark.parametrize("way", WAYS)
def test_tree_goes_there_and_back(scratch: Path, place: Place, way: str) -> None:
    tree, inside, back = scratch / "tree", place.path / "inside", scratch / "back"
    tree.mkdir()
    make_tree(tree, files=FILES)
    rsync(tree, inside, *WAYS[way])
    rsync(inside, back, *WAYS[way])
    assert differences(snapshot(tree), snapshot(back)) == []
    change(tree)
    rsync(tree, inside, *WAYS[way])
    place.remount()
    rsync(inside, back, *WAYS[way])
    assert differences(snapshot(tree), snapshot(inside)) == []
    assert differences(snapshot(tree), snapshot(back)) == []


def change(tree: Path) -> None:
    """Change something of every kind: bytes, a size, names, links, attributes, access lists."""
    (tree / "sparse").unlink()
    (tree / "up").symlink_to("dangling")
    (tree / "long").unlink()
    with (tree / "plain-0").open("ab") as file:  # which has a second name
        file.write(b"x" * 3 * HEAD)
    for path in [path for path in tree.rglob("plain-*6") if path.is_file()]:
        with path.open("r+b") as file:
            file.write(b"other bytes in the middle of nothing")
        path.rename(path.with_name("renamed " + path.name))
    os.setxattr(tree, "user.changed", b"yes")
    (tree / "folder-0").chmod(0o711)
    run(["setfacl", "-m", "u:23456:r", tree / "plain-0"])
