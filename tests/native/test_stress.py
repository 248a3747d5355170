"""Reads while files move between the tiers, are cut and grow: bytes are from one consistent state.

Threads put rows in the order that the core keeps (tierfs/fs/data.py): copy, put the row, only then
free the source, which is overwritten before it goes, so that whoever reads it too late is caught.
A file's bytes depend on its number and the offset alone, but for the first eight: the size. So a
read shows which state it is of.

TIERFS_STRESS_SECONDS=600 lasts longer.
"""

from __future__ import annotations

import os
import random
import struct
import threading
import time
from pathlib import Path

import pytest

from tests.metadata.rows import inode
from tests.native.rig import Rig
from tests.native.wire import AttrOut, Entry, Op, ReadIn, getattr_in
from tierfs.common.extents import WHOLE_FILE
from tierfs.metadata.inodes import ROOT
from tierfs.native._router import ANSWERED
from tierfs.storage.layout import object_path

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("TIERFS_STRESS_SECONDS", "3"))
FILES = range(100, 108)
HEAD, SIZES = 8192, (1000, 8192, 20_000, 40_000)
POISON = b"\xee" * max(SIZES)


def contents(ino: int) -> bytes:
    """What every state of a file begins with."""
    return random.Random(ino).randbytes(max(SIZES)).replace(b"\xee", b"\xed")


CONTENTS = {ino: contents(ino) for ino in FILES}


class File:
    """One file, changed by one thread."""

    def __init__(self, rig: Rig, ino: int) -> None:
        self.rig = rig
        self.ino = ino
        self.size, self.prefix, self.version = max(SIZES), HEAD, 0
        self.head, self.tail = (
            rig.put_object(store, ino, CONTENTS[ino]) for store in (rig.heads, rig.objects)
        )
        self.cache_rows()
        self.poison(self.head, HEAD, self.size)
        self.poison(self.tail, 0, HEAD)

    def cache_rows(self) -> None:
        self.version += 1
        row = inode(self.ino, size=self.size, prefix=self.prefix)
        self.rig.router.put_inode(row._replace(version=self.version))

    def poison(self, path: Path, start: int, end: int) -> None:
        if path.exists() and end > start:
            with path.open("r+b") as file:
                os.pwrite(file.fileno(), POISON[: end - start], start)

    def copy(self, path: Path, start: int, end: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            os.pwrite(file.fileno(), CONTENTS[self.ino][start:end], start)

    def move(self, prefix: int, *, unlinks: bool) -> None:
        """Copy, put the row, free."""
        old, new = (min(each, self.size) for each in (self.prefix, prefix))
        target, source = (self.head, self.tail) if new > old else (self.tail, self.head)
        low, high = min(old, new), max(old, new)
        self.copy(target, low, high)
        self.prefix = prefix
        self.cache_rows()
        self.poison(source, low, high)
        if unlinks and new == 0:
            self.head.unlink(missing_ok=True)

    def cut(self, size: int) -> None:
        """Publish, then cut the objects."""
        old, self.size = self.size, size
        self.cache_rows()
        for path in (self.head, self.tail):
            self.poison(path, size, old)
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, size)

    def grow(self, size: int) -> None:
        """Write the objects, then put the row."""
        if size > self.prefix:
            self.copy(self.tail, max(self.prefix, self.size), size)
        if self.size < self.prefix:
            self.copy(self.head, self.size, min(size, self.prefix))
        self.size = size
        self.cache_rows()

    def change(self, source: random.Random) -> None:
        size = source.choice(SIZES)
        if source.random() < 0.5:
            prefix = source.choice([0, HEAD, WHOLE_FILE])
            if prefix != self.prefix:
                self.move(prefix, unlinks=source.random() < 0.5)
        elif size < self.size:
            self.cut(size)
        elif size > self.size:
            self.grow(size)
        if source.random() < 0.05:
            self.rig.router.drop_inode(self.ino)
            self.cache_rows()


class Changing(threading.Thread):
    """Changes some files until told to end; what goes wrong is kept."""

    def __init__(self, files: list[File], seed: int) -> None:
        super().__init__(daemon=True)
        self.files = files
        self.source = random.Random(seed)
        self.over = threading.Event()
        self.error: Exception | None = None
        self.changes = 0

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self.source.choice(self.files).change(self.source)
                self.changes += 1
        except Exception as exc:  # noqa: BLE001 - shown by the test
            self.error = exc


class Reading:
    """For ``Router.set_upcalls``: a cache fill, and where that does not help the bytes."""

    def read(
        self,
        ino: int,
        offset: int,
        size: int,
        *,
        again: bool,
        wait: bool,  # noqa: ARG002
    ) -> bytes | None:
        """READ."""
        return CONTENTS[ino][offset : offset + size] if again else None


def check(ino: int, offset: int, size: int, got: bytes) -> None:
    expected = CONTENTS[ino][offset : offset + size]
    assert got == expected[: len(got)], f"inode {ino}: wrong bytes at {offset}"
    ends = {min(size, max(0, end - offset)) for end in SIZES}
    assert len(got) in ends, f"inode {ino}: {len(got)} bytes at {offset}"


def read_for_a_while(rig: Rig, source: random.Random) -> int:
    """Keep a few READs in flight until the time is over, and check each."""
    flying: dict[int, tuple[int, int, int]] = {}
    done = 0
    end = time.monotonic() + SECONDS
    while flying or time.monotonic() < end:
        while len(flying) < 8 and time.monotonic() < end:
            ino, offset = source.choice(FILES), source.choice([0, 100, HEAD - 1, HEAD, 19_000])
            size = source.choice([1, 200, HEAD, 65_536])
            unique = rig.kernel.request(Op.READ, ino, ReadIn(0, offset, size).pack())
            flying[unique] = (ino, offset, size)
        reply = rig.kernel.reply()
        assert not reply.error
        check(*flying.pop(reply.unique), reply.body)
        done += 1
    return done


@pytest.mark.timeout(120 + 2 * SECONDS)
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_reads_that_race_with_moves_show_right_bytes(
    scratch: Path, tmp_path: Path, place: str
) -> None:
    directory = scratch if place == "memory" else tmp_path
    with Rig(directory, workers=3, memory=1 << 20, functions=Reading()) as rig:
        rig.initialise()
        files = [File(rig, ino) for ino in FILES]
        changing = [Changing(files[::2], 1), Changing(files[1::2], 2)]
        for thread in changing:
            thread.start()
        try:
            reads = read_for_a_while(rig, random.Random(3))
        finally:
            for thread in changing:
                thread.over.set()
                thread.join()
            rig.router.stop()
        assert [thread.error for thread in changing] == [None, None]
        native = rig.router.counters().answered[ANSWERED.index("read")].ok
        assert native > 0
        assert reads >= native
        assert all(thread.changes for thread in changing)


def test_the_checker_notices_a_source_that_is_freed_too_early(scratch: Path) -> None:
    with Rig(scratch) as rig:
        rig.initialise()
        file = File(rig, FILES[0])
        file.poison(file.head, 0, HEAD)
        reply = rig.kernel.ask(Op.READ, file.ino, ReadIn(0, 0, 100).pack())
        with pytest.raises(AssertionError, match="wrong bytes"):
            check(file.ino, 0, 100, reply.body)
    rig.forget()


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_names_and_attributes_that_race_with_changes(scratch: Path) -> None:
    """A name leads to one of two inodes, whose attributes always belong together."""
    over = threading.Event()
    with Rig(scratch, workers=3, memory=1 << 19) as rig:
        rig.initialise()

        def change() -> None:
            turn = 0
            while not over.is_set():
                turn += 1
                ino = 10 + turn % 2
                rig.router.put_inode(inode(ino, size=turn)._replace(mtime=turn, version=turn))
                rig.router.put_dentry(ROOT, b"name", ino)
                rig.router.put_xattrs(ino, [(b"user.turn", struct.pack("=Q", turn))])
                rig.router.put_inode(inode(1000 + turn))  # and evict
                if turn % 7 == 0:
                    rig.router.drop_inode(ino)
                rig.router.put_statfs((turn,) * 5 + (turn % 2**32,) * 3, turn % 2)
                rig.router.orphan(5000 + turn)

        thread = threading.Thread(target=change)
        thread.start()
        answered = 0
        end = time.monotonic() + SECONDS
        try:
            while time.monotonic() < end:
                answered += _ask_in_a_row(rig)
        finally:
            over.set()
            thread.join()
        assert answered


def _ask_in_a_row(rig: Rig) -> int:
    asked = {}
    for _ in range(10):
        asked[rig.kernel.request(Op.LOOKUP, ROOT, b"name\0")] = Op.LOOKUP
        asked[rig.kernel.request(Op.GETATTR, 10, getattr_in())] = Op.GETATTR
        asked[rig.kernel.request(Op.STATFS, ROOT)] = Op.STATFS
    answered = 0
    while asked:
        while rig.kernel.is_silent():
            if not rig.pyfuse3.is_silent():
                rig.pyfuse3.reply(rig.pyfuse3.request(), error=5)
        reply = rig.kernel.reply()
        opcode = asked.pop(reply.unique)
        if not reply.error:
            _check_answer(opcode, reply.body)
            answered += 1
    return answered


def _check_answer(opcode: Op, body: bytes) -> None:
    if opcode == Op.STATFS:
        blocks = struct.unpack_from("=QQQQQ", body)
        assert len(set(blocks)) == 1
        assert blocks[0], "room that was withdrawn"
        return
    attr = Entry.parse(body).attr if opcode == Op.LOOKUP else AttrOut.parse(body).attr
    assert attr.size == attr.mtimensec + attr.mtime * 10**9
    assert attr.size % 2 == attr.ino % 2


def test_room_is_never_told_after_it_was_withdrawn(scratch: Path) -> None:
    over = threading.Event()
    with Rig(scratch, workers=4) as rig:
        rig.initialise()

        def withdraw() -> None:
            while not over.is_set():
                rig.router.put_statfs((0,) * 8, 0.0)

        threads = [threading.Thread(target=withdraw) for _ in range(2)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + SECONDS
        try:
            while time.monotonic() < end:
                for _ in range(200):
                    rig.kernel.request(Op.STATFS, ROOT)
                for _ in range(200):
                    rig.pyfuse3.reply(rig.pyfuse3.request(), error=5)
                assert {rig.kernel.reply().error for _ in range(200)} == {5}
        finally:
            over.set()
            for thread in threads:
                thread.join()


def test_object_paths_agree(scratch: Path) -> None:
    with Rig(scratch) as rig:
        rig.initialise()
        for ino in (1, 1023, 1024, 2**18 - 1, 2**18, 2**40 + 12345, 2**63 - 1):
            data = b"bytes of %d" % ino
            assert rig.put_object(rig.heads, ino, data) == rig.heads / object_path(ino)
            rig.router.put_inode(inode(ino, size=len(data)))
            assert rig.kernel.ask(Op.READ, ino, ReadIn(0, 0, 100).pack()).body == data
    rig.forget()
