from __future__ import annotations

import errno
import os

import pytest

from tests.fs.calls import Somebody, fails, make
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.fs import acl
from tierfs.fs.xattrs import VALUE_MAX
from tierfs.metadata.xattrs import FEW

CREATE, REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE


@pytest.fixture
def ino(small: LooseVolume) -> int:
    return make(small, b"file").ino


@pytest.mark.parametrize("name", [b"user.a", b"trusted.a", b"security.a", b"user.\xff\xfe"])
def test_a_value_of_each_namespace_is_kept(small: LooseVolume, ino: int, name: bytes) -> None:
    small.fs.xattrs.set(ino, name, b"\0value")
    small.reopen()
    assert small.fs.xattrs.get(ino, name) == b"\0value"
    assert small.fs.xattrs.names(ino) == [name]
    small.fs.xattrs.remove(ino, name)
    assert small.fs.xattrs.names(ino) == []


@pytest.mark.parametrize("name", [b"", b"a", b"other.a", b"system.a", b"USER.a"])
def test_other_namespaces_are_refused(small: LooseVolume, ino: int, name: bytes) -> None:
    with fails(errno.EOPNOTSUPP):
        small.fs.xattrs.set(ino, name, b"v")
    for call in (small.fs.xattrs.get, small.fs.xattrs.remove):
        with fails(errno.EOPNOTSUPP):
            call(ino, name)


@pytest.mark.parametrize("name", [b"user.", b"trusted.", b"security."])
def test_a_namespace_is_no_name(small: LooseVolume, ino: int, name: bytes) -> None:
    for call in (small.fs.xattrs.get, small.fs.xattrs.remove):
        with fails(errno.EINVAL):
            call(ino, name)
    with fails(errno.EINVAL):
        small.fs.xattrs.set(ino, name, b"v")


def test_what_stays_the_same_is_no_change(small: LooseVolume, ino: int) -> None:
    small.fs.xattrs.set(ino, b"user.a", b"v")
    before = small.fs.attributes.get(ino)
    small.clock.tick()
    small.fs.xattrs.set(ino, b"user.a", b"v")
    small.fs.xattrs.remove(ino, acl.ACCESS)
    assert small.fs.attributes.get(ino) == before


def test_more_attributes_of_a_file_than_are_remembered(small: LooseVolume, ino: int) -> None:
    names = [b"user.%03d" % number for number in range(3 * FEW)]
    for name in names:
        small.fs.xattrs.set(ino, name, b"v", CREATE)
    for name in names:
        small.fs.xattrs.set(ino, name, b"w", REPLACE)
    assert small.fs.xattrs.names(ino) == names
    assert {small.fs.xattrs.get(ino, name) for name in names} == {b"w"}
    for name in names:
        small.fs.xattrs.remove(ino, name)
        with fails(errno.ENODATA):
            small.fs.xattrs.remove(ino, name)
    assert small.fs.xattrs.names(ino) == []


def test_an_attribute_that_was_rolled_back_was_never_there(small: LooseVolume, ino: int) -> None:
    small.os.clear()
    small.os.fail(Point("index.commit", 0), errno.EIO)
    small.os.fail(Point("index.commit", 2), errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        small.fs.xattrs.set(ino, b"user.a", b"v")
    small.fs.xattrs.set(ino, b"user.a", b"v", CREATE)
    with pytest.raises(OSError, match="Input/output"):
        small.fs.xattrs.remove(ino, b"user.a")
    small.fs.xattrs.set(ino, b"user.a", b"w", REPLACE)
    assert small.fs.xattrs.get(ino, b"user.a") == b"w"


def test_the_flags_create_and_replace_are_obeyed(small: LooseVolume, ino: int) -> None:
    put = small.fs.xattrs.set
    with fails(errno.ENODATA):
        put(ino, b"user.a", b"1", REPLACE)
    put(ino, b"user.a", b"2", CREATE)
    with fails(errno.EEXIST):
        put(ino, b"user.a", b"3", CREATE)
    assert small.fs.xattrs.get(ino, b"user.a") == b"2"
    put(ino, b"user.a", b"4", REPLACE)
    put(ino, b"user.a", b"", 0)
    assert small.fs.xattrs.get(ino, b"user.a") == b""


def test_the_size_of_a_value(small: LooseVolume, ino: int) -> None:
    small.fs.xattrs.set(ino, b"user.a", bytes(VALUE_MAX))
    with fails(errno.E2BIG):
        small.fs.xattrs.set(ino, b"user.a", bytes(VALUE_MAX + 1))
    assert small.fs.xattrs.get(ino, b"user.a") == bytes(VALUE_MAX)


def test_what_is_not_there(small: LooseVolume, ino: int) -> None:
    with fails(errno.ENODATA):
        small.fs.xattrs.get(ino, b"user.a")
    with fails(errno.ENODATA):
        small.fs.xattrs.remove(ino, b"user.a")
    with fails(errno.ESTALE):
        small.fs.xattrs.set(999, b"user.a", b"v")


def test_trusted_is_for_the_privileged(small: LooseVolume, ino: int) -> None:
    for name in (b"user.a", b"trusted.b", b"security.c"):
        small.fs.xattrs.set(ino, name, b"v")
    assert small.fs.xattrs.names(ino) == [b"security.c", b"trusted.b", b"user.a"]
    assert small.fs.xattrs.names(ino, Somebody()) == [b"security.c", b"user.a"]
