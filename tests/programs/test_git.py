"""Git: many small files, renames over locks, memory-mapped packs."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.support.places import Place
from tests.support.proc import Argument, run
from tests.support.trees import differences, snapshot

FILES = int(os.environ.get("TIERFS_GIT_FILES", "300"))
"""Files in the repository that is cloned."""

SETTINGS = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "C",
    "GIT_COMMITTER_EMAIL": "c@example.org",
}


def git(directory: Path, *arguments: Argument) -> str:
    return run(["git", "-C", directory, *arguments], env=SETTINGS, timeout=100).stdout


@pytest.fixture
def origin(scratch: Path) -> Path:
    """A native repository with a few commits, each of which changes some of the files."""
    repository = scratch / "origin"
    git(scratch, "init", "--quiet", "--initial-branch=main", repository)
    chance = random.Random(2)
    for commit in range(3):
        for number in range(commit, FILES, commit + 1):
            path = repository / f"part-{number % 17}" / f"file-{number}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(chance.randbytes(chance.choice((100, 3000, 70_000))))
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "-m", f"commit {commit}")
    return repository


def test_clone_gc_and_fsck(origin: Path, place: Place) -> None:
    clone = place.path / "clone"
    git(place.path, "clone", "--quiet", "--no-hardlinks", origin, clone)
    git(clone, "gc", "--quiet", "--prune=now")
    place.remount()
    assert git(clone, "fsck", "--full", "--strict") == ""
    assert git(clone, "status", "--porcelain") == ""
    run(["diff", "-r", "--exclude=.git", origin, clone])


def test_commits_made_on_the_mount_come_back(origin: Path, place: Place, scratch: Path) -> None:
    clone = place.path / "clone"
    git(place.path, "clone", "--quiet", "--no-hardlinks", origin, clone)
    git(clone, "checkout", "--quiet", "-b", "work", "HEAD~1")
    git(clone, "mv", "part-0", "moved")
    git(clone, "commit", "--quiet", "-m", "rename a folder")
    git(clone, "rebase", "--quiet", "main")
    git(scratch, "clone", "--quiet", "--no-hardlinks", clone, scratch / "back")
    assert git(scratch / "back", "rev-parse", "HEAD") == git(clone, "rev-parse", "work")
    assert contents(scratch / "back" / "moved") == contents(clone / "moved")


def contents(folder: Path) -> dict[bytes, bytes]:
    assert differences(snapshot(folder), snapshot(folder)) == []
    return {name: entry.content for name, entry in snapshot(folder).items()}
