"""Many threads at one file: reads never fail, and never show a byte that nobody wrote."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.fs.calls import FILE, file_of, make, names_in
from tests.fs.consistency import check, content
from tests.fs.scenarios import HEAD, pattern
from tests.support.volumes import LooseVolume
from tierfs.fs.locks import InodeLocks, WouldBlock
from tierfs.metadata.inodes import ROOT

LONGEST = 4 * HEAD
PATTERN = pattern(LONGEST)
"""Every writer writes the byte that belongs to its position, so any mixture is right."""

SECONDS = 1.0


def together(*loops: Callable[[random.Random], object], seconds: float = SECONDS) -> int:
    """Run each in a thread, over and over until the time is up; returns how often they ran.

    Whatever one of them raises is raised here.
    """
    deadline = time.monotonic() + seconds
    failed = threading.Event()

    def over_and_over(loop: Callable[[random.Random], object], seed: int) -> int:
        dice, rounds = random.Random(seed), 0
        try:
            while time.monotonic() < deadline and not failed.is_set():
                loop(dice)
                rounds += 1
        except BaseException:
            failed.set()
            raise
        return rounds

    with ThreadPoolExecutor(len(loops)) as pool:
        return sum(pool.map(over_and_over, loops, range(len(loops))))


def some_range(dice: random.Random) -> tuple[int, int]:
    offset = dice.choice([0, HEAD - 10, HEAD, dice.randrange(LONGEST)])
    return offset, min(LONGEST, offset + dice.choice([1, 20, dice.randrange(1, 2 * HEAD)]))


def is_pattern_or_hole(data: bytes, offset: int) -> bool:
    expected = PATTERN[offset : offset + len(data)]
    return all(byte in {0, wanted} for byte, wanted in zip(data, expected, strict=True))


def test_reads_while_a_file_is_written_and_moved_to_disk(small: LooseVolume) -> None:
    data = small.fs.data
    inos = [file_of(small, PATTERN, b"%d" % number) for number in range(40)]
    waiting = list(inos)

    def read(dice: random.Random) -> None:
        start, end = some_range(dice)
        assert small.fs.reads.read(dice.choice(inos), start, end - start) == PATTERN[start:end]

    def write(dice: random.Random) -> None:
        start, end = some_range(dice)
        data.write(dice.choice(inos), start, PATTERN[start:end])

    def spill(_: random.Random) -> None:
        if waiting:
            small.os.full = {"flash.pwrite"}
            data.write(waiting.pop(), 0, PATTERN[:10])
            small.os.full = ()
        time.sleep(SECONDS / 60)

    def drain(_: random.Random) -> None:
        small.fs.reclaimer.drain()
        time.sleep(0.01)

    assert together(read, read, write, write, spill, drain) > 100
    assert all(small.fs.attributes.get(ino).prefix == 0 for ino in inos[-3:])
    small.reopen()
    check(small, trimmed=True)
    for number in range(len(inos)):
        assert content(small, b"%d" % number) == PATTERN


def test_reads_while_a_file_is_cut_and_grows(small: LooseVolume) -> None:
    data = small.fs.data
    inos = [file_of(small, PATTERN, b"%d" % number) for number in range(3)]

    def read(dice: random.Random) -> None:
        start, end = some_range(dice)
        assert is_pattern_or_hole(small.fs.reads.read(dice.choice(inos), start, end - start), start)

    def write(dice: random.Random) -> None:
        start, end = some_range(dice)
        data.write(dice.choice(inos), start, PATTERN[start:end])

    def truncate(dice: random.Random) -> None:
        data.truncate(dice.choice(inos), dice.randrange(LONGEST))

    def spill(dice: random.Random) -> None:
        small.os.full = {"flash.pwrite"} if dice.random() < 0.1 else ()
        time.sleep(0.002)

    def drain(_: random.Random) -> None:
        small.fs.reclaimer.drain()

    def sync(dice: random.Random) -> None:
        data.sync(dice.choice(inos))

    assert together(read, read, write, write, truncate, spill, drain, sync) > 100
    small.os.full = ()
    small.reopen()
    for number in range(len(inos)):
        assert is_pattern_or_hole(content(small, b"%d" % number), 0)
    # Bytes that a crash might leave behind an end are none here: nothing failed.
    check(small, trimmed=True)


def test_calls_that_do_not_wait_beside_calls_that_do(small: LooseVolume) -> None:
    data = small.fs.data
    ino = file_of(small, PATTERN)

    def impatient(dice: random.Random) -> None:
        start, end = some_range(dice)
        with suppress(WouldBlock):
            assert small.fs.reads.read(ino, start, end - start, wait=False) == PATTERN[start:end]
        with suppress(WouldBlock):
            data.write(ino, start, PATTERN[start:end], wait=False)

    def patient(dice: random.Random) -> None:
        start, end = some_range(dice)
        data.write(ino, start, PATTERN[start:end])

    together(impatient, impatient, patient, patient, seconds=SECONDS / 2)
    assert content(small, b"file") == PATTERN
    check(small, trimmed=True)


def test_names_change_in_many_threads(small: LooseVolume) -> None:
    def change(dice: random.Random) -> None:
        me = threading.get_ident() % 10_000
        name = b"%d-%d" % (me, dice.randrange(5))
        if name in names_in(small):
            small.fs.names.rename(ROOT, name, ROOT, name + b"-old")
            small.fs.names.unlink(ROOT, name + b"-old")
        else:
            inode = make(small, name, FILE)
            small.fs.data.write(inode.ino, 0, b"data")
            small.fs.names.forget(inode.ino)

    def drain(_: random.Random) -> None:
        small.fs.reclaimer.drain()
        small.index.checkpoint(2**40)

    together(change, change, change, drain, seconds=SECONDS / 2)
    small.reopen()
    check(small, trimmed=True)


def test_one_holds_an_inode_at_a_time() -> None:
    locks = InodeLocks()
    holders: list[int] = []

    def hold(dice: random.Random) -> None:
        ino = dice.randrange(3)
        with locks.hold(ino):
            assert ino not in holders
            holders.append(ino)
            time.sleep(0)
            holders.remove(ino)

    together(hold, hold, hold, hold, seconds=0.3)
    assert locks._held == set()


def test_who_does_not_wait_is_told() -> None:
    locks = InodeLocks()
    with locks.hold(1):
        with pytest.raises(WouldBlock), locks.hold(1, wait=False):
            pass
        with locks.hold(2, wait=False):
            pass
    with locks.hold(1, wait=False):
        pass
    assert locks._held == set()
