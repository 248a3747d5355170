"""Extended attributes answered natively."""

from __future__ import annotations

import errno
import struct

import pytest

from tests.metadata.rows import inode
from tests.native.rig import Rig
from tests.native.wire import Op, getxattr_in
from tierfs.fs import acl
from tierfs.fs.xattrs import NAMESPACES, VIRTUAL
from tierfs.metadata.cache_updater import MAX_CACHED_XATTRS

PAIRS = [(b"security.selinux", b"x\0"), (b"user.a", b""), (b"user.b", b"\0" * 300)]


@pytest.fixture
def cached(rig: Rig) -> Rig:
    rig.router.put_inode(inode(7))
    rig.router.put_xattrs(7, PAIRS)
    return rig


def test_cached_values_are_answered(cached: Rig) -> None:
    for name, value in PAIRS:
        size = cached.kernel.ask(Op.GETXATTR, 7, getxattr_in(0, name))
        assert size.body == struct.pack("=II", len(value), 0)
        reply = cached.kernel.ask(Op.GETXATTR, 7, getxattr_in(4096, name))
        assert (reply.error, reply.body) == (0, value)


def test_too_small_a_buffer_is_refused(cached: Rig) -> None:
    reply = cached.kernel.ask(Op.GETXATTR, 7, getxattr_in(299, b"user.b"))
    assert (reply.error, reply.body) == (errno.ERANGE, b"")
    assert cached.kernel.ask(Op.GETXATTR, 7, getxattr_in(300, b"user.b")).body == bytes(300)
    names = b"".join(name + b"\0" for name, _ in PAIRS)
    reply = cached.kernel.ask(Op.LISTXATTR, 7, getxattr_in(len(names) - 1))
    assert reply.error == errno.ERANGE


def test_the_list_of_names(cached: Rig) -> None:
    names = b"".join(name + b"\0" for name, _ in PAIRS)
    size = cached.kernel.ask(Op.LISTXATTR, 7, getxattr_in(0))
    assert size.body == struct.pack("=II", len(names), 0)
    assert cached.kernel.ask(Op.LISTXATTR, 7, getxattr_in(len(names))).body == names


def test_no_attribute_at_all(rig: Rig) -> None:
    rig.router.put_inode(inode(7))
    rig.router.put_xattrs(7, [])
    assert rig.kernel.ask(Op.LISTXATTR, 7, getxattr_in(0)).body == bytes(8)
    reply = rig.kernel.ask(Op.LISTXATTR, 7, getxattr_in(100))
    assert (reply.error, reply.body) == (0, b"")


def test_names_that_are_known_to_be_absent(cached: Rig) -> None:
    """In the namespaces in which tierfs stores attributes there is none but those cached."""
    for name in [*(space + b"no" for space in NAMESPACES), b"security.capability", *acl.NAMES]:
        for size in (0, 1000):
            reply = cached.kernel.ask(Op.GETXATTR, 7, getxattr_in(size, name))
            assert (name, reply.error) == (name, errno.ENODATA)


def test_names_that_only_python_knows(cached: Rig) -> None:
    """Virtual ones, those of no namespace of ours, and a namespace without a name."""
    for name in [
        VIRTUAL + b"prefix",
        VIRTUAL + b"pin",
        b"system.posix_acl",
        b"other.a",
        b"a",
        *NAMESPACES,
    ]:
        body = getxattr_in(10, name)
        assert cached.forwarded(Op.GETXATTR, 7, body).body == body


def test_who_may_see_trusted_names_python_finds_out(rig: Rig) -> None:
    rig.router.put_inode(inode(7))
    rig.router.put_xattrs(7, [(b"trusted.t", b"1"), (b"user.u", b"2")])
    rig.forwarded(Op.LISTXATTR, 7, getxattr_in(100))
    assert rig.kernel.ask(Op.GETXATTR, 7, getxattr_in(9, b"trusted.t")).body == b"1"


def test_uncached_ones_are_forwarded(cached: Rig) -> None:
    cached.router.put_inode(inode(7, size=5))  # keeps them
    assert cached.kernel.ask(Op.GETXATTR, 7, getxattr_in(9, b"user.a")).error == 0
    cached.router.drop_xattrs(7)
    cached.forwarded(Op.GETXATTR, 7, getxattr_in(9, b"user.a"))
    cached.router.put_xattrs(7, PAIRS)
    cached.router.drop_inode(7)
    cached.router.put_inode(inode(7))
    cached.forwarded(Op.LISTXATTR, 7, getxattr_in(9))


def test_as_many_as_are_read_ahead_fit_or_nothing_is_known(rig: Rig) -> None:
    rig.router.put_inode(inode(7))
    value = bytes(MAX_CACHED_XATTRS - len(b"user.n") - 4)
    rig.router.put_xattrs(7, [(b"user.n", value)])
    assert rig.kernel.ask(Op.GETXATTR, 7, getxattr_in(MAX_CACHED_XATTRS, b"user.n")).body == value
    rig.router.put_xattrs(7, [(b"user.n", value + b"+")])
    rig.forwarded(Op.GETXATTR, 7, getxattr_in(MAX_CACHED_XATTRS, b"user.n"))
    rig.router.put_xattrs(7, [(b"user.n", value), (b"user.o", b"")])
    rig.forwarded(Op.GETXATTR, 7, getxattr_in(MAX_CACHED_XATTRS, b"user.n"))


def test_attributes_of_an_inode_that_is_not_cached_are_not_kept(rig: Rig) -> None:
    rig.router.put_xattrs(7, PAIRS)
    rig.router.put_inode(inode(7))
    rig.forwarded(Op.GETXATTR, 7, getxattr_in(9, b"user.a"))


def test_wrong_pairs_are_refused_and_nothing_is_known_then(cached: Rig) -> None:
    for pairs in ([(b"user.a",)], [[b"user.a", b""]], [("user.a", b"")], 5):
        with pytest.raises(TypeError):
            cached.router.put_xattrs(7, pairs)  # type: ignore[arg-type]
    assert cached.kernel.ask(Op.GETXATTR, 7, getxattr_in(9, b"user.a")).error == 0
