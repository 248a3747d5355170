"""Tar, with xattrs and access lists, from the mount and into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.places import Place
from tests.support.proc import run
from tests.support.trees import differences, make_tree, snapshot

OPTIONS = ("--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--format=pax")


@pytest.fixture
def tree(scratch: Path) -> Path:
    root = scratch / "tree"
    root.mkdir()
    make_tree(root, files=60)
    return root


def test_round_trip_equals(tree: Path, place: Place) -> None:
    inside, archive, second = place.path / "in", place.path / "a.tar", place.path / "second"
    inside.mkdir()
    second.mkdir()
    run(["tar", *OPTIONS, "-C", tree, "-cf", archive, "."])
    run(["tar", *OPTIONS, "-p", "-C", inside, "-xf", archive])
    place.remount()
    assert differences(snapshot(tree), snapshot(inside)) == []
    run(["tar", *OPTIONS, "-C", inside, "-cf", archive, "."])
    run(["tar", *OPTIONS, "-p", "-C", second, "-xf", archive])
    assert differences(snapshot(tree), snapshot(second)) == []
