"""Git over thousands of files: clone, commit, gc, repack, worktrees, fsck."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.programs.test_git import git
from tests.support.mounting import HEAD
from tests.support.places import Place
from tests.support.proc import run

pytestmark = pytest.mark.long

FILES = int(os.environ.get("TIERFS_GIT_LARGE_FILES", "1000"))
"""Files in the repository that is cloned; in the long run ten thousand."""

LIMIT = 120 + FILES // 10
"""Seconds that the whole cycle may take."""

SIZES = (0, 40, 700, 700, 3000, 3000, 9000, HEAD + 100)
"""Sizes of the files, in bytes: as in a source tree, with a few larger ones."""

CHANGED = 7
"""One file in this many is changed by the commit that is made on the mount."""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A native repository with one commit of all files."""
    repository = tmp_path_factory.mktemp("large") / "origin"
    git(repository.parent, "init", "--quiet", "--initial-branch=main", repository)
    chance = random.Random(4)
    for number in range(FILES):
        path = name_of(repository, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(SIZES[number % len(SIZES)]))
    commit(repository, "everything")
    return repository


@pytest.mark.timeout(LIMIT)
def test_cycle_over_thousands_of_files(origin: Path, place: Place) -> None:
    clone, tree = place.path / "clone", place.path / "tree"
    git(place.path, "clone", "--quiet", "--no-hardlinks", origin, clone)
    change(clone)
    commit(clone, "one file in seven")
    git(clone, "gc", "--quiet")
    git(clone, "worktree", "add", "--quiet", "-b", "other", tree, "HEAD~1")
    run(["diff", "-r", "--exclude=.git", origin, tree], timeout=LIMIT)
    commit_in_worktree(tree)
    git(clone, "repack", "-a", "-d", "--quiet")
    git(clone, "worktree", "remove", "--force", tree)
    place.remount()
    assert not tree.exists()
    assert len(list((clone / ".git/objects/pack").glob("*.pack"))) == 1
    check(clone)


def commit_in_worktree(tree: Path) -> None:
    """Take a third of the files away and move a folder, on the worktree's own branch."""
    git(tree, "rm", "-r", "--quiet", "part-0", "part-1")
    git(tree, "mv", "part-2", "moved")
    git(tree, "commit", "--quiet", "-m", "in a worktree")
    assert git(tree, "status", "--porcelain") == ""


def change(repository: Path) -> None:
    """Append to some files, and replace others by renaming a new one over them."""
    for number in range(0, FILES, CHANGED):
        path = name_of(repository, number)
        if number % 2:
            with path.open("ab") as file:
                file.write(b"one more line\n")
        else:
            path.with_suffix(".new").write_bytes(b"replaced\n" * number)
            path.with_suffix(".new").replace(path)


def commit(repository: Path, message: str) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", message)


def check(repository: Path) -> None:
    assert git(repository, "fsck", "--full", "--strict") == ""
    assert git(repository, "status", "--porcelain") == ""
    listed = git(repository, "ls-tree", "-r", "--name-only", "HEAD").splitlines()
    assert len(listed) == FILES
    assert git(repository, "worktree", "list").count("\n") == 1


def name_of(repository: Path, number: int) -> Path:
    return repository / f"part-{number % 6}" / f"folder-{number % 60}" / f"file-{number}.txt"
