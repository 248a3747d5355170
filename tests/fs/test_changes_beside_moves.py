"""Files change at random while others move, sync and free them, and the daemon is killed.

What returned is there, byte by byte, also when flash is full. ``TIERFS_MOVES_SECONDS`` is how
long that is tried, ``TIERFS_SEED`` the seed of the changes; the threads run as they run.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from tests.fs.calls import make
from tests.fs.consistency import check
from tests.fs.migrating import free
from tests.fs.scenarios import HEAD
from tests.powercut.operations import RANGES, Operation
from tests.support.faulty_os import Killed
from tests.support.volumes import LooseVolume
from tierfs.common.extents import WHOLE_FILE
from tierfs.fs.locks import WouldBlock
from tierfs.metadata.inodes import ROOT

LONG = "TIERFS_MOVES_SECONDS"
SECONDS = float(os.environ.get(LONG, "3"))
SEED = int(os.environ.get("TIERFS_SEED", str(random.randrange(2**32)) if LONG in os.environ else 1))

FILES = 6
LARGEST = 6 * HEAD
PREFIXES = (0, HEAD // 2, HEAD, HEAD, 2 * HEAD, WHOLE_FILE)
NO_ROOM = {"flash.pwrite", "flash.fallocate", "flash.clone", "flash.copy_file_range"}

SHOWN = 30
"""Things that were done, in what a failure tells."""

KINDS = {
    "write": 10,
    "append": 8,
    "truncate": 5,
    "empty": 2,
    "punch": 8,
    "zero": 8,
    "allocate": 3,
    "copy": 16,
    "fsync": 8,
    "look": 6,
    "make": 4,
    "unlink": 2,
    "full": 2,
    "kill": 0.5,
    "remount": 0.5,
}
"""What may happen next, and how often it does."""


class Others:
    """Threads that move, mirror, sync and free files until ``stop``."""

    def __init__(self, volume: LooseVolume, inos: list[int], chance: random.Random) -> None:
        self._fs = volume.fs
        self._inos = inos
        """Somebody else changes them."""
        self._stopped = threading.Event()
        acts = self._move, self._move, self._settle
        self._pool = ThreadPoolExecutor(len(acts))
        self._running = [
            self._pool.submit(self._on_and_on, act, random.Random(chance.random())) for act in acts
        ]

    def stop(self) -> None:
        """Stop; a second time is fine."""
        self._stopped.set()
        self._pool.shutdown()

    def end(self) -> None:
        """Stop, and raise what one of them raised."""
        self.stop()
        for thread in self._running:
            thread.result()

    def _on_and_on(self, act: Callable[[random.Random], object], chance: random.Random) -> None:
        with suppress(Killed):
            while not self._stopped.is_set():
                if self._inos:
                    act(chance)
                time.sleep(chance.uniform(0, 0.002))

    def _move(self, chance: random.Random) -> None:
        inos = sorted(set(chance.choices(list(self._inos), k=2)))
        if chance.random() < 0.3:
            self._fs.migrator.mirror(inos, paced=free)
        else:
            prefix, keep = chance.choice(PREFIXES), chance.random() < 0.7
            self._fs.migrator.place(inos[0], prefix, keep_mirror=keep, paced=free)

    def _settle(self, chance: random.Random) -> None:
        if chance.random() < 0.7:
            self._fs.reclaimer.drain()
        else:
            self._fs.syncer.checkpoint()


class Changes:
    """A volume under change, and what its files hold."""

    def __init__(self, volume: LooseVolume, seed: int) -> None:
        self._volume = volume
        self._chance = random.Random(seed)
        self._contents: dict[int, bytes] = {}
        self._inos: list[int] = []
        self._past: list[str] = []
        self._others = Others(volume, self._inos, self._chance)

    def go_on(self) -> None:
        """Do one thing."""
        (kind,) = self._chance.choices(list(KINDS), list(KINDS.values()))
        if kind == "kill":
            self._kill()
        elif kind == "remount":
            self._others.end()
            self._volume.close()
            self._begin_again()
        elif kind == "full":
            self._volume.os.full = self._chance.choice((NO_ROOM, ()))
        elif kind == "make" or not self._inos:
            self._make()
        else:
            self._on_file(kind, self._chance.choice(self._inos))

    def close(self) -> None:
        """Nobody goes on."""
        self._others.stop()

    def settle(self) -> None:
        """Everybody stops, and nothing is left over."""
        self._others.end()
        self._volume.reopen()
        self._look_at_all()
        self._volume.fs.reclaimer.drain()
        check(self._volume, trimmed=True)

    def _kill(self) -> None:
        self._volume.os.dead = True
        self._others.end()
        self._volume.abandon()
        self._volume.os.dead = False
        self._begin_again()

    def _begin_again(self) -> None:
        self._past.append("it is mounted again")
        self._volume.os.clear()
        self._volume.open()
        self._look_at_all()
        self._others = Others(self._volume, self._inos, self._chance)

    def _make(self) -> None:
        if len(self._inos) < FILES:
            name = b"%d" % self._chance.randrange(2**32)
            ino = make(self._volume, name).ino
            self._contents[ino] = b""
            self._inos.append(ino)

    def _on_file(self, kind: str, ino: int) -> None:
        fs, before = self._volume.fs, self._contents[ino]
        self._past.append(f"{kind} {ino} of {len(before)} bytes")
        if kind == "unlink":
            name = fs.names.path_of(ino)
            assert name is not None
            self._inos.remove(ino)
            fs.names.unlink(ROOT, name)
            fs.names.forget(ino, fs.lookup_counts.count(ino))
        elif kind == "look":
            self._look_at(ino)
        elif kind == "fsync":
            _patiently(fs.data.sync, ino)
        elif kind == "copy":
            self._copy(ino, self._chance.choice(self._inos))
        else:
            self._change(ino, self._operation(kind, len(before)))

    def _operation(self, kind: str, size: int) -> Operation:
        chance = self._chance
        near = chance.choice((0, HEAD, HEAD, size // 2, size)) + chance.choice((-1, 0, 1, -400, 9))
        length = chance.choice((1, 50, 700, HEAD - 1, HEAD, 2 * HEAD + 11))
        if size > LARGEST:
            kind = "truncate"
        match kind:
            case "append":
                return Operation("write", "", "", size, length, chance.randrange(2**32))
            case "truncate" | "empty":
                to = chance.choice((10, size // 2, size - 1, HEAD - 1, HEAD, HEAD + 1, size + HEAD))
                return Operation("truncate", "", length=max(0, to) if kind == "truncate" else 0)
        return Operation(kind, "", "", max(0, near), length, chance.randrange(2**32))

    def _change(self, ino: int, operation: Operation) -> None:
        fs, kind = self._volume.fs, operation.kind
        offset, length = operation.offset, operation.length
        self._past[-1] += f": {kind} {offset}+{length}"
        if kind == "write":
            _patiently(fs.data.write, ino, offset, operation.data(), buffered=True)
        elif kind == "truncate":
            _patiently(fs.data.truncate, ino, length)
        else:
            _patiently(fs.ranges.fallocate, ino, offset, length, RANGES[kind])
        self._contents[ino] = operation.changed(self._contents[ino])

    def _copy(self, ino: int, source: int) -> None:
        chance, content = self._chance, self._contents[source]
        size, there = len(content), len(self._contents[ino])
        start = chance.choice((0, HEAD, size // 2, size // 3))
        to = chance.choice((start, 0, there, HEAD))
        length = min(chance.choice((HEAD, 2 * HEAD, size)), size - start)
        if length <= 0 or (ino == source and abs(start - to) < length):
            return
        self._past[-1] += f": {start}+{length} of {source} to {to}"
        while length:
            copied = self._volume.fs.ranges.copy(source, start, ino, to, length)
            operation = Operation("copy", "", "", to, copied, start)
            self._contents[ino] = operation.changed(self._contents[ino], self._contents[source])
            start, to, length = start + copied, to + copied, length - copied

    def _look_at_all(self) -> None:
        for ino in self._inos:
            self._look_at(ino)

    def _look_at(self, ino: int) -> None:
        expected, fs = self._contents[ino], self._volume.fs
        found = fs.reads.read(ino, 0, len(expected) + 1)
        if found != expected:
            pairs = enumerate(zip(found, expected, strict=False))
            wrong = [at for at, (one, other) in pairs if one != other]
            past = "; ".join(self._past[-SHOWN:])
            pytest.fail(
                f"{len(found)} of {len(expected)} bytes, wrong from {wrong[:1]} to {wrong[-1:]} in "
                f"{fs.attributes.get(ino)}; {past}"
            )


def _patiently(call: Callable[..., object], *args: object, **how: bool) -> None:
    """First without waiting, as the event loop calls; then as a thread does that may wait."""
    try:
        call(*args, wait=False, **how)
    except WouldBlock:
        call(*args, wait=True, **how)


def test_what_returned_is_there_whatever_goes_on_beside(small: LooseVolume) -> None:
    with closing(Changes(small, SEED)) as changes:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            changes.go_on()
        changes.settle()
