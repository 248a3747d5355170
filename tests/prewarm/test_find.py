"""Which files are found, and in which order."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.filesystems import memory_filesystem
from tests.support.proc import run
from tierfs.common.errors import NotMounted, UsageError
from tierfs.prewarm.counts import Counts
from tierfs.prewarm.find import (
    ELSEWHERE,
    GONE,
    HEAD_XATTR,
    LISTED_DIRECTORIES,
    LONGEST,
    SPECIAL,
    SYMLINKS,
    FileFinder,
    Found,
    Given,
    HeadLengths,
    in_disk_order,
    parse_list,
)

ODD = b"line\nbreak \xff"


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def finder(counts: Counts) -> FileFinder:
    return FileFinder(HeadLengths(), counts, lambda path: path.endswith(b"known"))


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


def below(finder: FileFinder, path: bytes) -> Iterator[Found]:
    """The files in and below a directory, be it in a mount or not."""
    return finder.below([Given(path, os.lstat(path), was_cached=False)])


def test_a_directory_is_gone_through(finder: FileFinder, counts: Counts, tree: Path) -> None:
    found = {one.path: one for one in below(finder, os.fsencode(tree))}
    top = os.fsencode(tree)
    assert set(found) == {top + b"/file", top + b"/a/" + ODD + b"/" + ODD}
    for path, one in found.items():
        facts = os.stat(path)
        assert (one.device, one.inode) == (facts.st_dev, facts.st_ino)
    assert counts.skipped == {SYMLINKS: 2, SPECIAL: 1}
    assert (counts.found, counts.directories, counts.errors) == (2, 3, 0)


def test_what_a_list_names_is_taken_as_it_is(
    finder: FileFinder, counts: Counts, tree: Path
) -> None:
    listed = [os.fsencode(tree / name) for name in ("file", "a", "link", "fifo", "missing")]
    assert [one.path for one in finder.listed([*listed, b"nul\0byte"])] == listed[:1]
    assert counts.skipped == {LISTED_DIRECTORIES: 1, SYMLINKS: 1, SPECIAL: 1}
    assert [(problem.path, problem.reason.split(";")[0]) for problem in counts.problems] == [
        (listed[4], "No such file or directory"),
        (b"nul\0byte", "a name cannot hold a NUL byte"),
    ]


def test_a_name_is_asked_for_before_it_is_looked_up(finder: FileFinder, tree: Path) -> None:
    (tree / "known").touch()
    found = finder.listed([os.fsencode(tree / "file"), os.fsencode(tree / "known")])
    assert [one.was_cached for one in found] == [False, True]


def test_links_of_the_command_line_are_followed(counts: Counts, tree: Path) -> None:
    with patch("os.getxattr", return_value=b"8192"):
        finder = FileFinder(HeadLengths(), counts, lambda _: False)
        arguments = finder.arguments([os.fsencode(tree / "link"), os.fsencode(tree / "gone")])
    assert [named.path for named in arguments] == [os.fsencode(tree / "file")]
    assert [problem.path for problem in counts.problems] == [os.fsencode(tree / "gone")]


def test_a_directory_that_vanishes_is_no_error(
    finder: FileFinder, counts: Counts, tree: Path
) -> None:
    going = below(finder, os.fsencode(tree))
    assert next(going).path == os.fsencode(tree / "file")
    (tree / "a").rename(tree.parent / "elsewhere")
    assert list(going) == []
    assert counts.skipped[GONE] == 1
    assert counts.errors == 0


def test_a_filesystem_mounted_inside_is_left_alone(
    finder: FileFinder, counts: Counts, scratch: Path
) -> None:
    (scratch / "file").touch()
    with memory_filesystem(scratch / "other", 1) as other:
        (other / "inside").touch()
        found = [one.path for one in below(finder, os.fsencode(scratch))]
    assert found == [os.fsencode(scratch / "file")]
    assert counts.skipped == {ELSEWHERE: 1}


def test_deep_trees_need_no_recursion(finder: FileFinder, scratch: Path) -> None:
    deepest = scratch / "/".join("d" * 1500)
    run(["mkdir", "-p", deepest])
    (deepest / "file").touch()
    try:
        assert len(list(below(finder, os.fsencode(scratch)))) == 1
    finally:
        run(["rm", "-r", scratch / "d"])  # shutil.rmtree, which comes next, would recurse


def test_other_filesystems_are_refused(finder: FileFinder, scratch: Path) -> None:
    with pytest.raises(NotMounted, match=f"{scratch} is not in a tierfs mount"):
        finder.arguments([os.fsencode(scratch / "missing"), os.fsencode(scratch)])


def test_the_length_of_heads_is_asked_once(scratch: Path) -> None:
    heads = HeadLengths()
    with patch("os.getxattr", return_value=b"8192") as asked:
        assert [heads.length(7, os.fsencode(scratch)) for _ in range(3)] == [8192] * 3
    asked.assert_called_once_with(os.fsencode(scratch), HEAD_XATTR)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """``data`` cut into pieces of these sizes, and one with the rest."""
    cut = []
    for size in sizes:
        cut.append(data[:size])
        data = data[size:]
    return [piece for piece in [*cut, data] if piece]


def names_in(chunks: list[bytes], separator: bytes) -> list[bytes]:
    waiting = [*chunks, b""]
    return list(parse_list(lambda: waiting.pop(0), separator))


@given(
    st.lists(st.binary(max_size=8).map(lambda name: name.replace(b"\0", b"\n"))),
    st.lists(st.integers(1, 5)),
    st.sampled_from([b"", b"\0"]),
)
def test_names_come_whole_wherever_the_pieces_end(
    names: list[bytes], sizes: list[int], end: bytes
) -> None:
    data = b"\0".join(names) + end
    assert names_in(pieces(data, sizes), b"\0") == [name for name in names if name]


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a b\n\n\xff\n", [b"a b", b"\xff"]),
        (b" a \r\n", [b" a \r"]),
    ],
)
def test_names_are_read_line_by_line(data: bytes, names: list[bytes]) -> None:
    assert names_in([data] if data else [], b"\n") == names


def test_what_is_no_list_does_not_fill_the_memory() -> None:
    endless = parse_list(lambda: b"x" * 4096, b"\n")
    with pytest.raises(UsageError, match=f"more than {LONGEST} bytes"):
        next(endless)


FOUND = st.builds(
    Found, st.integers(1, 2), st.integers(1, 50), st.binary(max_size=3), st.booleans()
)


@given(st.lists(FOUND), st.integers(1, 10))
def test_each_window_is_sorted_and_nothing_is_lost(found: list[Found], window: int) -> None:
    expected = [one for batch in batches(found, window) for one in sorted(batch)]
    assert list(in_disk_order(found, window)) == expected


def batches(found: list[Found], size: int) -> Iterator[list[Found]]:
    for start in range(0, len(found), size):
        yield found[start : start + size]


def test_no_more_than_a_window_is_taken_ahead() -> None:
    taken = 0

    def endless() -> Iterator[Found]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield Found(1, -number, b"", was_cached=False)

    ordered = in_disk_order(endless(), window=100)
    assert [next(ordered).inode for _ in range(100)] == list(range(-99, 1))
    assert taken == 100
    next(ordered)
    assert taken == 200
