"""How far READs of a file go from its beginning: `first_reads.c`, compiled by itself."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metadata.rows import inode
from tests.native.rig import Rig
from tests.native.wire import Op, ReadIn
from tests.support.proc import wait_until

SOURCE = Path(__file__).parents[2] / "tierfs/native/src/first_reads.c"
ROOM = 4096
"""Bytes, more than a ``first_reads`` takes."""

PIECE = 64 * 1024
SECOND = 10**9
ENDED = 1024


class Read(ctypes.Structure):
    """``first_read`` of first_reads.h."""

    _fields_ = (("ino", ctypes.c_uint64), ("reach", ctypes.c_uint64))


class Reads:
    """A ``first_reads`` with its clock."""

    def __init__(self, functions: ctypes.CDLL) -> None:
        self._functions = functions
        self._state = ctypes.create_string_buffer(ROOM)
        self.now = SECOND
        assert functions.tfs_first_reads_init(self._state) == 0

    def add(self, ino: int, offset: int, length: int = PIECE) -> None:
        numbers = (ctypes.c_uint64(one) for one in (ino, offset, length, self.now))
        self._functions.tfs_first_reads_add(self._state, *numbers)

    def take(self, limit: int = ENDED) -> list[tuple[int, int]]:
        rows = (Read * ENDED)()
        count = self._functions.tfs_first_reads_take(
            self._state, rows, ctypes.c_size_t(limit), ctypes.c_uint64(self.now)
        )
        return [(row.ino, row.reach) for row in rows[:count]]

    def end(self) -> dict[int, int]:
        """All that was read, later."""
        self.now += 3 * SECOND
        return dict(self.take())


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = tmp_path_factory.mktemp("library") / "first_reads.so"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, SOURCE, "-o", library], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.tfs_first_reads_take.restype = ctypes.c_size_t
    return loaded


@pytest.fixture
def reads(functions: ctypes.CDLL) -> Reads:
    return Reads(functions)


def test_reads_from_the_beginning_are_added_up_until_they_end(reads: Reads) -> None:
    for number in range(5):
        reads.add(7, number * PIECE)
        assert reads.take() == []
        reads.now += SECOND
    assert reads.end() == {7: 5 * PIECE}
    assert reads.end() == {}


def test_what_is_read_elsewhere_is_no_first_read(reads: Reads) -> None:
    reads.add(7, 0)
    reads.add(7, 10 * PIECE)
    reads.add(8, PIECE)
    reads.add(9, 2**40)
    assert reads.end() == {7: PIECE}


def test_reading_again_later_is_another_first_read(reads: Reads) -> None:
    reads.add(7, 0, 2 * PIECE)
    reads.now += 3 * SECOND
    reads.add(7, 0)
    assert reads.take() == [(7, 2 * PIECE)]
    assert reads.end() == {7: PIECE}


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.dictionaries(st.integers(1, 16), st.integers(1, 12), min_size=1),
    chance=st.randoms(use_true_random=False),
)
def test_threads_that_overtake_one_another_change_nothing(
    functions: ctypes.CDLL, pieces: dict[int, int], chance: Random
) -> None:
    """Each file's READs in order, but that one may change places with the next."""
    reads = Reads(functions)
    todo = {ino: [number * PIECE for number in range(count)] for ino, count in pieces.items()}
    for offsets in todo.values():
        at = 0
        while at + 1 < len(offsets):
            if chance.random() < 0.4:
                offsets[at], offsets[at + 1] = offsets[at + 1], offsets[at]
                at += 1
            at += 1
    while todo:
        ino = chance.choice(sorted(todo))
        reads.add(ino, todo[ino].pop(0))
        if not todo[ino]:
            del todo[ino]
    assert reads.end() == {ino: count * PIECE for ino, count in pieces.items()}


def test_of_too_many_some_are_left_out(reads: Reads) -> None:
    for ino in range(1, 100_001):
        reads.add(ino, 0)
    assert len(reads.take(10)) == 10
    found = reads.end()
    assert len(found) == ENDED
    assert set(found.values()) == {PIECE}


def test_numbers_that_overflow_are_left_out(reads: Reads) -> None:
    reads.add(7, 2**64 - 1, 10)
    reads.add(8, 0, 2**64 - 1)
    assert reads.end() == {8: 2**64 - 1}


def test_the_router_counts_what_it_is_asked_for(rig: Rig) -> None:
    rig.put_object(rig.heads, 7, bytes(1000))
    rig.router.put_inode(inode(7, size=1000))
    rig.kernel.ask(Op.READ, 7, ReadIn(0, 0, 700).pack())
    rig.kernel.ask(Op.READ, 7, ReadIn(0, 700, 700).pack())
    taken: list[tuple[int, int]] = []

    def has_ended() -> bool:
        taken.extend(rig.router.first_reads(10))
        return bool(taken)

    wait_until(has_ended, what="the file is not read any longer")
    assert taken == [(7, 1400)]
