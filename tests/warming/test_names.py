from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.support.filesystems import memory_filesystem
from tests.support.proc import run
from tierfs.base.errors import NotMounted
from tierfs.warming.heads import HEAD_XATTR, Heads
from tierfs.warming.names import (
    ELSEWHERE,
    GONE,
    LISTED_DIRECTORIES,
    SPECIAL,
    SYMLINKS,
    Named,
    Names,
)
from tierfs.warming.order import Found
from tierfs.warming.tally import Tally

ODD = b"line\nbreak \xff"


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def names(tally: Tally) -> Names:
    return Names(Heads(), tally, lambda path: path.endswith(b"known"))


@pytest.fixture
def tree(scratch: Path) -> Path:
    """Two files, one a level down under an odd name, and one of each thing that is left alone."""
    root = scratch / "tree"
    inner = root / "a" / os.fsdecode(ODD)
    inner.mkdir(parents=True)
    (root / "file").touch()
    (inner / os.fsdecode(ODD)).touch()
    (root / "link").symlink_to("file")
    (root / "folder-link").symlink_to("a")
    os.mkfifo(root / "fifo")
    return root


def below(names: Names, path: bytes) -> Iterator[Found]:
    """The files in and below a directory, be it in a mount or not."""
    return names.below([Named(path, os.lstat(path), was_cached=False)])


def test_a_directory_is_gone_through(names: Names, tally: Tally, tree: Path) -> None:
    found = {one.path: one for one in below(names, os.fsencode(tree))}
    top = os.fsencode(tree)
    assert set(found) == {top + b"/file", top + b"/a/" + ODD + b"/" + ODD}
    for path, one in found.items():
        facts = os.stat(path)
        assert (one.device, one.inode) == (facts.st_dev, facts.st_ino)
    assert tally.skipped == {SYMLINKS: 2, SPECIAL: 1}
    assert (tally.found, tally.directories, tally.errors) == (2, 3, 0)


def test_what_a_list_names_is_taken_as_it_is(names: Names, tally: Tally, tree: Path) -> None:
    listed = [os.fsencode(tree / name) for name in ("file", "a", "link", "fifo", "missing")]
    assert [one.path for one in names.listed([*listed, b"nul\0byte"])] == listed[:1]
    assert tally.skipped == {LISTED_DIRECTORIES: 1, SYMLINKS: 1, SPECIAL: 1}
    assert [(problem.path, problem.reason.split(";")[0]) for problem in tally.problems] == [
        (listed[4], "No such file or directory"),
        (b"nul\0byte", "a name cannot hold a NUL byte"),
    ]


def test_a_name_is_asked_for_before_it_is_looked_up(names: Names, tree: Path) -> None:
    (tree / "known").touch()
    found = names.listed([os.fsencode(tree / "file"), os.fsencode(tree / "known")])
    assert [one.was_cached for one in found] == [False, True]


def test_links_of_the_command_line_are_followed(tally: Tally, tree: Path) -> None:
    with patch("os.getxattr", return_value=b"8192"):
        names = Names(Heads(), tally, lambda _: False)
        arguments = names.arguments([os.fsencode(tree / "link"), os.fsencode(tree / "gone")])
    assert [named.path for named in arguments] == [os.fsencode(tree / "file")]
    assert [problem.path for problem in tally.problems] == [os.fsencode(tree / "gone")]


def test_a_directory_that_vanishes_is_no_error(names: Names, tally: Tally, tree: Path) -> None:
    going = below(names, os.fsencode(tree))
    assert next(going).path == os.fsencode(tree / "file")
    (tree / "a").rename(tree.parent / "elsewhere")
    assert list(going) == []
    assert tally.skipped[GONE] == 1
    assert tally.errors == 0


def test_a_filesystem_mounted_inside_is_left_alone(
    names: Names, tally: Tally, scratch: Path
) -> None:
    (scratch / "file").touch()
    with memory_filesystem(scratch / "other", 1) as other:
        (other / "inside").touch()
        found = [one.path for one in below(names, os.fsencode(scratch))]
    assert found == [os.fsencode(scratch / "file")]
    assert tally.skipped == {ELSEWHERE: 1}


def test_deep_trees_need_no_recursion(names: Names, scratch: Path) -> None:
    deepest = scratch / "/".join("d" * 1500)
    run(["mkdir", "-p", deepest])
    (deepest / "file").touch()
    try:
        assert len(list(below(names, os.fsencode(scratch)))) == 1
    finally:
        run(["rm", "-r", scratch / "d"])  # shutil.rmtree, which comes next, would recurse


def test_other_filesystems_are_refused(names: Names, scratch: Path) -> None:
    with pytest.raises(NotMounted, match=f"{scratch} is not in a tierfs mount"):
        names.arguments([os.fsencode(scratch / "missing"), os.fsencode(scratch)])


def test_the_length_of_heads_is_asked_once(scratch: Path) -> None:
    heads = Heads()
    with patch("os.getxattr", return_value=b"8192") as asked:
        assert [heads.length(7, os.fsencode(scratch)) for _ in range(3)] == [8192] * 3
    asked.assert_called_once_with(os.fsencode(scratch), HEAD_XATTR)
