"""Access control lists; what Linux answers was taken from tmpfs and ext4 with the same calls."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fs.calls import DIRECTORY, FILE, SYMLINK, fails, make
from tests.support.volumes import LooseVolume
from tierfs.fs import acl
from tierfs.fs.acl import Ace, Acl, Tag
from tierfs.fs.attributes import Changes

NOBODY = 0xFFFFFFFF
MINIMAL: Acl = (
    Ace(Tag.USER_OBJ, 6, NOBODY),
    Ace(Tag.GROUP_OBJ, 4, NOBODY),
    Ace(Tag.OTHER, 0, NOBODY),
)
EXTENDED: Acl = (
    Ace(Tag.USER_OBJ, 7, NOBODY),
    Ace(Tag.USER, 6, 1234),
    Ace(Tag.GROUP_OBJ, 5, NOBODY),
    Ace(Tag.GROUP, 7, 99),
    Ace(Tag.MASK, 6, NOBODY),
    Ace(Tag.OTHER, 1, NOBODY),
)


def perms(entries: Acl) -> dict[int, int]:
    return {entry.tag: entry.perm for entry in entries}


def test_the_form_is_that_of_the_kernel() -> None:
    assert acl.render(MINIMAL[:1]) == b"\x02\0\0\0" + b"\x01\0\x06\0\xff\xff\xff\xff"
    assert acl.parse(acl.render(EXTENDED)) == EXTENDED


aces = st.builds(Ace, st.sampled_from(list(Tag)), st.integers(0, 7), st.integers(0, NOBODY))


@given(st.lists(aces).map(tuple))
def test_what_is_rendered_is_parsed(entries: Acl) -> None:
    assert acl.parse(acl.render(entries)) == entries


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x02\0\0",
        b"\x01\0\0\0",
        b"\x02\0\0\0\x01",
        acl.render(EXTENDED)[:-1],
        acl.render((Ace(0x40, 7, NOBODY),)),
    ],
)
def test_what_is_no_list_is_refused(value: bytes) -> None:
    with fails(errno.EINVAL):
        acl.parse(value)


@pytest.mark.parametrize(("entries", "mode"), [(MINIMAL, 0o640), (EXTENDED, 0o761)])
def test_the_mode_of_a_list(entries: Acl, mode: int) -> None:
    assert acl.mode_of(entries, 0o104777) == 0o104000 | mode


def test_only_a_list_without_names_is_minimal() -> None:
    assert acl.is_minimal(MINIMAL)
    assert not acl.is_minimal(EXTENDED)


@given(st.integers(0, 0o7777))
def test_after_chmod_list_and_mode_agree(mode: int) -> None:
    for entries in (MINIMAL, EXTENDED):
        assert acl.mode_of(acl.after_chmod(entries, mode), mode) == mode


def test_chmod_changes_the_mask_and_not_the_group() -> None:
    changed = perms(acl.after_chmod(EXTENDED, 0o740))
    assert changed[Tag.MASK] == 4
    assert changed[Tag.GROUP_OBJ] == 5
    assert changed[Tag.USER] == 6


@given(st.integers(0, 0o777))
def test_what_is_inherited_allows_no_more_than_was_asked(asked: int) -> None:
    for default in (MINIMAL, EXTENDED):
        got = acl.inherit(acl.render(default), FILE & ~0o777 | asked)
        assert got.mode & 0o777 & ~asked == 0
        assert got.default is None
        assert (got.access is None) == (default is MINIMAL)
        if got.access:
            assert acl.mode_of(acl.parse(got.access), 0) == got.mode & 0o777


def test_without_a_default_list_nothing_changes() -> None:
    assert acl.inherit(None, FILE) == (FILE, None, None)
    assert acl.inherit(acl.render(EXTENDED), SYMLINK) == (SYMLINK, None, None)


def test_a_tree_inherits_the_default_list(small: LooseVolume) -> None:
    get = small.fs.xattrs.get
    default = acl.render(EXTENDED)
    top = make(small, b"top", DIRECTORY)
    small.fs.xattrs.set(top.ino, acl.DEFAULT, default)
    sub = make(small, b"sub", DIRECTORY | 0o777, top.ino)
    assert get(sub.ino, acl.DEFAULT) == default
    assert acl.parse(get(sub.ino, acl.ACCESS)) == EXTENDED
    assert sub.mode & 0o777 == 0o761
    leaf = make(small, b"leaf", FILE & ~0o777 | 0o640, sub.ino)
    assert leaf.mode & 0o777 == 0o640
    assert perms(acl.parse(get(leaf.ino, acl.ACCESS)))[Tag.MASK] == 4
    with fails(errno.ENODATA):
        get(leaf.ino, acl.DEFAULT)
    link = make(small, b"link", SYMLINK, sub.ino)
    assert small.fs.xattrs.names(link.ino) == []


def test_setting_a_list_sets_the_mode(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    small.fs.xattrs.set(ino, acl.ACCESS, acl.render(EXTENDED))
    assert small.fs.attributes.get(ino).mode == FILE & ~0o777 | 0o761
    small.fs.attributes.set(ino, Changes(mode=0o640))
    changed = perms(acl.parse(small.fs.xattrs.get(ino, acl.ACCESS)))
    assert (changed[Tag.USER_OBJ], changed[Tag.MASK], changed[Tag.OTHER]) == (6, 4, 0)


def test_a_list_that_the_mode_can_say_is_not_stored(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    small.fs.xattrs.set(ino, acl.ACCESS, acl.render(EXTENDED))
    small.fs.xattrs.set(ino, acl.ACCESS, acl.render(MINIMAL))
    assert small.fs.xattrs.names(ino) == []
    assert small.fs.attributes.get(ino).mode == FILE & ~0o777 | 0o640


def test_only_a_directory_has_a_default_list(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    with fails(errno.EACCES):
        small.fs.xattrs.set(ino, acl.DEFAULT, acl.render(EXTENDED))
    small.fs.xattrs.remove(ino, acl.DEFAULT)


def test_a_list_that_is_none_changes_nothing(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    with fails(errno.EINVAL):
        small.fs.xattrs.set(ino, acl.ACCESS, b"nonsense")
    assert small.fs.attributes.get(ino).mode == FILE
