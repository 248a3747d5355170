"""Moves in threads, beside readers and writers: no wrong byte, nothing left over."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.fs.calls import file_of, make
from tests.fs.consistency import check, content
from tests.fs.migrating import free, small_chunks
from tests.fs.scenarios import HEAD
from tests.fs.test_threads import LONGEST, PATTERN, is_pattern_or_hole, some_range, together
from tests.support.volumes import LooseVolume
from tierfs.common.extents import WHOLE_FILE
from tierfs.metadata.inodes import ROOT

PREFIXES = (0, HEAD, WHOLE_FILE, 100)
SECONDS = float(os.environ.get("TIERFS_MOVES_SECONDS", "1.5"))


@pytest.fixture(autouse=True)
def _chunks() -> Iterator[None]:
    with small_chunks():
        yield


class Mover:
    """Moves random files, and counts what became of them."""

    def __init__(self, volume: LooseVolume, inos: list[int]) -> None:
        self._volume = volume
        self._inos = inos
        self.outcomes: dict[str, int] = {}

    def move(self, dice: random.Random) -> None:
        moves = self._volume.fs.migrator
        if dice.random() < 0.3:
            some = dice.sample(self._inos, min(5, len(self._inos)))
            done = moves.mirror(some, paced=self._paced)
        else:
            keep = dice.random() < 0.7
            ino, prefix = dice.choice(self._inos), dice.choice(PREFIXES)
            done = [moves.place(ino, prefix, keep_mirror=keep, paced=self._paced)]
        for moved in done:
            self.outcomes[moved.outcome] = self.outcomes.get(moved.outcome, 0) + 1

    @staticmethod
    def _paced(_: int) -> None:
        time.sleep(0)


def test_readers_and_writers_beside_moves(small: LooseVolume) -> None:
    data = small.fs.data
    inos = [file_of(small, PATTERN, b"%d" % number) for number in range(12)]
    first, second = Mover(small, inos), Mover(small, inos)

    def read(dice: random.Random) -> None:
        start, end = some_range(dice)
        assert small.fs.reads.read(dice.choice(inos), start, end - start) == PATTERN[start:end]

    def write(dice: random.Random) -> None:
        start, end = some_range(dice)
        data.write(dice.choice(inos), start, PATTERN[start:end])
        time.sleep(0.002)

    def drain(_: random.Random) -> None:
        small.fs.reclaimer.drain()
        time.sleep(0.01)

    together(read, read, write, first.move, second.move, drain, seconds=SECONDS)
    assert first.outcomes["moved"] > 10
    assert second.outcomes["moved"] > 10
    for number in range(len(inos)):
        assert content(small, b"%d" % number) == PATTERN
    small.reopen()
    check(small, trimmed=True)


def test_moves_beside_cuts_spills_and_unlinking(small: LooseVolume) -> None:
    """A byte is what belongs to its position, or a hole: never what lay there before a cut."""
    data = small.fs.data
    inos = [file_of(small, PATTERN, b"%d" % number) for number in range(6)]
    mover = Mover(small, inos)

    def read(dice: random.Random) -> None:
        start, end = some_range(dice)
        assert is_pattern_or_hole(small.fs.reads.read(dice.choice(inos), start, end - start), start)

    def change(dice: random.Random) -> None:
        start, end = some_range(dice)
        if dice.random() < 0.5:
            data.truncate(dice.choice(inos), dice.randrange(LONGEST))
        else:
            data.write(dice.choice(inos), start, PATTERN[start:end])

    def come_and_go(dice: random.Random) -> None:
        made = make(small, b"passing").ino
        data.write(made, 0, PATTERN[: dice.randrange(1, LONGEST)])
        small.fs.names.unlink(ROOT, b"passing")
        small.fs.migrator.place(made, 0, keep_mirror=True, paced=free)
        small.fs.names.forget(made)

    def upset(dice: random.Random) -> None:
        small.os.full = {"flash.pwrite"} if dice.random() < 0.2 else ()
        small.fs.reclaimer.drain()
        time.sleep(0.002)

    together(read, change, change, mover.move, mover.move, come_and_go, upset, seconds=SECONDS)
    small.os.full = ()
    assert mover.outcomes["moved"] > 10
    for number in range(len(inos)):
        assert is_pattern_or_hole(content(small, b"%d" % number), 0)
    small.reopen()
    check(small, trimmed=True)


def test_what_is_zeroed_stays_zeroed(small: LooseVolume) -> None:
    """One writer alone changes a file and knows what it holds; movers have it all the time."""
    ino = file_of(small, PATTERN, b"file")
    mover = Mover(small, [ino])
    expected = bytearray(PATTERN)

    def change(dice: random.Random) -> None:
        size = len(expected)
        step = dice.random()
        if step < 0.3:
            new = dice.randrange(LONGEST)
            small.fs.data.truncate(ino, new)
            expected[new:] = bytes(max(0, new - size))
        elif step < 0.7:
            at, byte = dice.randrange(LONGEST), bytes([dice.randrange(1, 255)])
            length = dice.randrange(1, HEAD)
            small.fs.data.write(ino, at, byte * length)
            expected.extend(bytes(max(0, at - size)))
            expected[at : at + length] = byte * length
        else:
            time.sleep(0.003)
        assert small.fs.reads.read(ino, 0, 10 * LONGEST) == expected

    def drain(_: random.Random) -> None:
        small.fs.reclaimer.drain()
        time.sleep(0.005)

    together(change, mover.move, mover.move, drain, seconds=SECONDS)
    assert mover.outcomes["moved"] > 10
    assert mover.outcomes["changed"] > 0
    small.reopen()
    assert content(small, b"file") == expected
    check(small, trimmed=True)
