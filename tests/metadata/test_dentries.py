from __future__ import annotations

import pytest

from tests.metadata.rows import add, inode, names
from tierfs.metadata.dentries import FIRST_PAGE, LAST_PAGE
from tierfs.metadata.index import Index

NAMES = [
    b"plain",
    b" ",
    b"\xff\xfe",  # no UTF-8
    b"\xc3",  # half a character
    "e\u0301".encode(),  # the same letter twice, composed and not
    "\u00e9".encode(),
    b"UPPER",
    b"upper",
    b"new\nline",
    b"x" * 255,
    bytes(byte for byte in range(1, 256) if byte != ord("/")),
]


def test_a_name_is_its_bytes(index: Index) -> None:
    made = {name: add(index, name) for name in NAMES}
    assert {name: index.dentries.find(1, name) for name in NAMES} == made
    assert sorted(names(index)) == sorted(NAMES)
    assert index.dentries.find(1, b"Plain") is None


def test_a_name_stands_for_one_inode_in_each_directory(index: Index) -> None:
    one, other = add(index, b"name", parent=1), add(index, b"name", parent=20)
    assert index.dentries.find(1, b"name") == one
    assert index.dentries.find(20, b"name") == other
    assert names(index, parent=20) == [b"name"]


def test_a_listing_goes_on_behind_its_cookie(index: Index) -> None:
    for number in range(4 * LAST_PAGE):
        add(index, b"%d" % number)
    every = list(index.dentries.after(1, 0))
    for start in (0, 1, FIRST_PAGE - 1, FIRST_PAGE, 3 * FIRST_PAGE, LAST_PAGE, len(every) - 1):
        assert names(index, cookie=every[start].cookie) == [e.name for e in every[start + 1 :]]


@pytest.mark.parametrize(
    "count", [0, 1, FIRST_PAGE - 1, FIRST_PAGE, 3 * FIRST_PAGE, 2 * LAST_PAGE + 1]
)
def test_a_listing_of_any_number_of_pages_ends(index: Index, count: int) -> None:
    made = [b"%d" % number for number in range(count)]
    for name in made:
        add(index, name)
    assert names(index) == made[::-1]


def test_an_entry_that_points_elsewhere_keeps_its_place(index: Index) -> None:
    for name in (b"a", b"b", b"c"):
        add(index, name)
    other = add(index, b"d")
    with index.transaction():
        index.dentries.point(1, b"b", other.ino)
    assert names(index) == [b"d", b"c", b"b", b"a"]
    assert index.dentries.find(1, b"b") == other


def test_an_entry_that_is_renamed_keeps_its_place(index: Index) -> None:
    for name in (b"a", b"b", b"c"):
        add(index, name)
    renamed = index.dentries.find(1, b"b")
    assert renamed is not None
    with index.transaction():
        index.dentries.rename(1, b"b", b"x", renamed.ino)
    assert names(index) == [b"c", b"x", b"a"]


def test_a_directory_is_empty_without_entries(index: Index) -> None:
    assert index.dentries.is_empty(1)
    add(index, b"a")
    assert not index.dentries.is_empty(1)
    with index.transaction():
        index.dentries.delete(1, b"a")
    assert index.dentries.is_empty(1)


def test_a_name_is_found_by_the_hint_of_its_inode(index: Index) -> None:
    made = add(index, b"a\xff", parent=20)
    assert index.dentries.name_of(made) == b"a\xff"
    assert index.dentries.name_of(inode(made.ino, parent=21)) is None
