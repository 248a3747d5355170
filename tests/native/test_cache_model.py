"""The table against models of it: exactly without eviction, and never wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.metadata.rows import inode
from tests.native.rig import Rig
from tests.native.wire import AttrOut, Entry, Op, Reply, getattr_in, getxattr_in

pytestmark = pytest.mark.long

EXAMPLES = int(os.environ.get("TIERFS_HYPOTHESIS_EXAMPLES", "0"))
DIRECTORIES = (1, 2, 3)
MODE = 0o40755
ENODATA = 61

numbers = st.integers(1, 8)
names = st.sampled_from([b"a", b"b", b"cc", b"d" * 255])
directories = st.sampled_from(DIRECTORIES)
values = st.one_of(st.none(), st.dictionaries(names.map(b"user.".__add__), st.binary(max_size=4)))
chosen = settings(
    max_examples=EXAMPLES or 100,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def asked(rig: Rig, opcode: int, ino: int, body: bytes) -> Reply | None:
    """The native reply; None: it was forwarded, and is answered with an error."""
    unique = rig.kernel.request(opcode, ino, body)
    passed = False
    while rig.kernel.is_silent():
        if not rig.pyfuse3.is_silent():
            rig.pyfuse3.reply(rig.pyfuse3.request(), error=5)
            passed = True
    reply = rig.kernel.reply()
    assert reply.unique == unique
    return None if passed else reply


class Model:
    """What the table holds, in plain dictionaries; ``None`` for an answer: a miss."""

    def __init__(self) -> None:
        self.inodes: dict[int, int] = {}
        self.entries: dict[tuple[int, bytes], int] = {}
        self.xattrs: dict[int, dict[bytes, bytes]] = {}
        self.listing: set[int] = set()
        self.complete: set[int] = set()

    def put_inode(self, ino: int, size: int) -> None:
        self.inodes[ino] = size

    def drop_inode(self, ino: int) -> None:
        for (parent, name), target in list(self.entries.items()):
            if target == ino:
                self.drop_dentry(parent, name)
        self.inodes.pop(ino, None)
        self.xattrs.pop(ino, None)
        self.break_completeness(ino)

    def put_dentry(self, parent: int, name: bytes, ino: int) -> None:
        self.entries.pop((parent, name), None)
        if ino == 0 and parent not in self.complete:
            self.entries[parent, name] = 0
        elif ino and ino in self.inodes:
            self.entries[parent, name] = ino
        elif ino:
            self.break_completeness(parent)

    def drop_dentry(self, parent: int, name: bytes) -> None:
        self.entries.pop((parent, name), None)
        self.break_completeness(parent)

    def break_completeness(self, directory: int) -> None:
        self.listing.discard(directory)
        self.complete.discard(directory)

    def begin_fill(self, ino: int) -> bool:
        begun = ino in self.inodes and ino not in self.complete
        if begun:
            self.listing.add(ino)
        return begun

    def complete_fill(self, ino: int) -> bool:
        if ino in self.listing:
            self.listing.remove(ino)
            self.complete.add(ino)
        return ino in self.complete

    def put_xattrs(self, ino: int, pairs: dict[bytes, bytes] | None) -> None:
        if pairs is None:
            self.xattrs.pop(ino, None)
        elif ino in self.inodes:
            self.xattrs[ino] = pairs

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def lookup(self, parent: int, name: bytes) -> int | None:
        known = self.entries.get((parent, name))
        return 0 if known is None and parent in self.complete else known


steps = st.one_of(
    st.tuples(st.just("put_inode"), numbers, st.integers(0, 9)),
    st.tuples(st.just("drop_inode"), numbers),
    st.tuples(st.just("put_dentry"), directories, names, st.integers(0, 8)),
    st.tuples(st.just("drop_dentry"), directories, names),
    st.tuples(st.just("put_xattrs"), numbers, values),
    st.tuples(st.just("begin_fill"), directories),
    st.tuples(st.just("complete_fill"), directories),
    st.tuples(st.just("clear")),
)


@chosen
@given(sequence=st.lists(steps, max_size=50))
def test_it_holds_what_the_model_holds(rig: Rig, sequence: list[tuple[object, ...]]) -> None:
    model = Model()
    rig.router.clear()
    for name, *arguments in sequence:
        assert _cache_rows(rig, str(name), arguments) == getattr(model, str(name))(*arguments)
    _compare(rig, model)


def _cache_rows(rig: Rig, name: str, arguments: list[object]) -> object:
    if name == "put_inode":
        ino, size = arguments
        assert isinstance(ino, int)
        assert isinstance(size, int)
        mode = MODE if ino in DIRECTORIES else 0o100644
        rig.router.put_inode(inode(ino, size=size, mode=mode))
        return None
    if name == "put_xattrs":
        ino, pairs = arguments
        assert isinstance(ino, int)
        assert pairs is None or isinstance(pairs, dict)
        if pairs is None:
            rig.router.drop_xattrs(ino)
        else:
            rig.router.put_xattrs(ino, sorted(pairs.items()))
        return None
    return getattr(rig.router, name)(*arguments)


def _compare(rig: Rig, model: Model) -> None:
    counters = rig.router.counters()
    assert (counters.inodes, counters.dentries) == (len(model.inodes), len(model.entries))
    for parent in DIRECTORIES:
        for name in (b"a", b"b", b"cc", b"d" * 255):
            reply = asked(rig, Op.LOOKUP, parent, name + b"\0")
            told = None if reply is None else Entry.parse(reply.body).nodeid
            assert (parent, name, told) == (parent, name, model.lookup(parent, name))
    for ino in range(1, 9):
        reply = asked(rig, Op.GETATTR, ino, getattr_in())
        size = None if reply is None else AttrOut.parse(reply.body).attr.size
        assert (ino, size) == (ino, model.inodes.get(ino))
        reply = asked(rig, Op.GETXATTR, ino, getxattr_in(10, b"user.a"))
        pairs = model.xattrs.get(ino)
        assert (reply is None) == (pairs is None)
        if reply is not None and pairs is not None:
            value = pairs.get(b"user.a")
            assert (reply.error, reply.body) == ((ENODATA, b"") if value is None else (0, value))


# -------- with eviction: what is answered is true

changes = st.one_of(
    st.tuples(st.just("create"), directories, names),
    st.tuples(st.just("unlink"), directories, names),
    st.tuples(st.just("rename"), st.tuples(directories, names), st.tuples(directories, names)),
    st.tuples(st.just("look"), directories, names),
    st.tuples(st.just("list"), directories),
    st.tuples(st.just("begin"), directories),
    st.tuples(st.just("crowd"), st.integers(1, 400)),
)


class Truth:
    """A namespace that updates as ``tierfs.metadata.cache_updater`` does."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.names: dict[tuple[int, bytes], int] = {}
        self.sizes = dict.fromkeys(DIRECTORIES, 0)
        self.serial = 100
        self.crowded = 10**6

    def put(self, ino: int) -> None:
        mode = MODE if ino in DIRECTORIES else 0o100644
        self.rig.router.put_inode(inode(ino, size=self.sizes[ino], mode=mode))

    def create(self, parent: int, name: bytes) -> None:
        self.serial += 1
        self.names[parent, name] = self.serial
        self.sizes[self.serial] = self.serial
        self.sizes[parent] += 1
        self.put(self.serial)
        self.put(parent)
        self.rig.router.put_dentry(parent, name, self.serial)

    def unlink(self, parent: int, name: bytes) -> None:
        ino = self.names.pop((parent, name), None)
        if ino is not None:
            self.rig.router.drop_inode(ino)
            self.rig.router.put_dentry(parent, name, 0)

    def rename(self, old: tuple[int, bytes], new: tuple[int, bytes]) -> None:
        if old in self.names and old != new:
            self.names[new] = self.names.pop(old)
            self.put(self.names[new])
            self.rig.router.put_dentry(*old, 0)
            self.rig.router.put_dentry(*new, self.names[new])

    def look(self, parent: int, name: bytes) -> None:
        ino = self.names.get((parent, name))
        if ino is not None:
            self.put(ino)
        self.rig.router.put_dentry(parent, name, ino or 0)

    def begin(self, parent: int) -> None:
        self.put(parent)
        self.rig.router.begin_fill(parent)
        for directory, name in self.names:
            if directory == parent:
                self.look(parent, name)

    def list(self, parent: int) -> None:
        self.begin(parent)
        self.rig.router.complete_fill(parent)

    def crowd(self, count: int) -> None:
        for _ in range(count * 10):
            self.crowded += 1
            self.rig.router.put_inode(inode(self.crowded))

    def check(self) -> int:
        """How many answers there were."""
        answers = 0
        for parent in DIRECTORIES:
            for name in (b"a", b"b", b"cc", b"d" * 255, b"never"):
                reply = asked(self.rig, Op.LOOKUP, parent, name + b"\0")
                if reply is not None:
                    entry = Entry.parse(reply.body)
                    assert entry.nodeid == self.names.get((parent, name), 0)
                    assert not entry.nodeid or entry.attr.size == self.sizes[entry.nodeid]
                    answers += 1
        return answers


@chosen
@given(sequence=st.lists(changes, max_size=40))
@pytest.mark.timeout(600)
def test_what_is_answered_is_true(scratch: Path, sequence: list[tuple[object, ...]]) -> None:
    with Rig(scratch, memory=1 << 19) as rig:
        rig.initialise()
        truth = Truth(rig)
        for name, *arguments in sequence:
            getattr(truth, str(name))(*arguments)
        truth.check()
    rig.forget()


def test_the_truth_is_answered_and_evicted(scratch: Path) -> None:
    """The property above would hold of a table that answers nothing, or drops nothing."""
    with Rig(scratch, memory=1 << 19) as rig:
        rig.initialise()
        truth = Truth(rig)
        truth.create(1, b"a")
        truth.list(1)
        truth.list(2)
        assert truth.check() == 10
        truth.crowd(400)
        assert truth.check() == 0
        assert rig.router.counters().evictions > 0
