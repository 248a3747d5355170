"""What one of several processes does in the directories that all of them share."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path as OsPath

from tests.model.history import Call, Recorder, succeeded
from tests.model.shared import FOLDERS

NAMES = [f"{folder}/{name}" for folder in FOLDERS for name in "abcd"]
"""Few, so that the processes get in one another's way."""

SLOTS = 2
"""Files that one process has open at most."""

PAGE = 4096
RENAMES = (0, 0, 0, 1, 2)
"""Flags of renameat2(2): none, NOREPLACE, EXCHANGE."""

OF_NAMES = Counter(create=5, mkdir=1, symlink=1, unlink=4, rmdir=2, rename=5, kind=2, open=5)
OF_HANDLES = Counter(state=4, pwrite=4, ftruncate=3, link_open=4, close=2, fsync=1)
"""How often each call is drawn, of those that take a name or a handle."""

STAYING = 150
"""Names in the crowded directory that nobody touches."""


class Guest:
    """Draws calls for the shared directory from a seed, and does them."""

    def __init__(self, recorder: Recorder, worker: int, chance: random.Random, head: int) -> None:
        self._recorder = recorder
        self._worker = worker
        self._chance = chance
        self._head = head
        self._open: set[int] = set()

    def step(self) -> None:
        """Do one call."""
        weights = OF_NAMES + OF_HANDLES if self._open else OF_NAMES
        name = self._chance.choices(list(weights), list(weights.values()))[0]
        if name == "open":
            self._open_a_file()
        elif name in OF_NAMES:
            self._recorder.do(self._of_names(name))
        else:
            self._recorder.do(self._of_handles(name))

    def leave(self) -> None:
        """Close what is open."""
        for handle in sorted(self._open):
            self._recorder.do(Call("close", handle=handle))
        self._open.clear()

    def _open_a_file(self) -> None:
        all_handles = range(self._worker * SLOTS, (self._worker + 1) * SLOTS)
        free = [handle for handle in all_handles if handle not in self._open]
        if free and succeeded(self._recorder.do(Call("open", (self._name(),), free[0]))):
            self._open.add(free[0])

    def _of_names(self, name: str) -> Call:
        if name == "rename":
            flags = (self._chance.choice(RENAMES),)
            return Call(name, (self._name(), self._name()), numbers=flags)
        return Call(name, (self._name(),))

    def _of_handles(self, name: str) -> Call:
        handle = self._chance.choice(sorted(self._open))
        if name == "close":
            self._open.remove(handle)
        if name == "link_open":
            return Call(name, (self._name(),), handle)
        if name == "pwrite":
            return Call(name, handle=handle, numbers=self._range())
        if name == "ftruncate":
            near = self._chance.choice((0, 0, PAGE, self._head, 2 * self._head))
            return Call(
                name, handle=handle, numbers=(max(0, near + self._chance.randrange(-2, 3)),)
            )
        return Call(name, handle=handle)

    def _range(self) -> tuple[int, int]:
        """Offset and length, all in one page: of a longer range a size could be seen in between."""
        page = self._chance.choice((0, self._head - PAGE, self._head))
        start = self._chance.randrange(PAGE)
        return page + start, self._chance.randint(1, PAGE - start)

    def _name(self) -> str:
        return self._chance.choice(NAMES)


class Lister:
    """Lists a directory while everybody makes and removes names in it."""

    def __init__(self, folder: OsPath, worker: int, chance: random.Random) -> None:
        self._folder = folder
        self._worker = worker
        self._chance = chance
        self._mine: set[str] = set()

    @staticmethod
    def make(folder: OsPath) -> None:
        """Make the directory and the names that stay."""
        folder.mkdir()
        for number in range(STAYING):
            (folder / f"stays-{number}").touch()

    def step(self) -> None:
        """Change some names of one's own, then list all."""
        for number in self._chance.sample(range(20), 4):
            self._toggle(f"worker-{self._worker}-{number}")
        self._move()
        found = Counter(os.listdir(self._folder))
        sure = {*self._mine, *(f"stays-{number}" for number in range(STAYING))}
        wrong = {name: found[name] for name in sure if found[name] != 1}
        assert not wrong, f"names that were there throughout, and how often listed: {wrong}"
        prefix = f"worker-{self._worker}-"
        ghosts = {name for name in found if name.startswith(prefix)} - self._mine
        assert not ghosts, f"listed, but removed before: {ghosts}"

    def leave(self) -> None:
        """Remove what is one's own."""
        for name in sorted(self._mine):
            (self._folder / name).unlink()

    def _toggle(self, name: str) -> None:
        path = self._folder / name
        if name in self._mine:
            path.unlink()
            self._mine.remove(name)
        else:
            path.touch()
            self._mine.add(name)

    def _move(self) -> None:
        if self._mine:
            old = self._chance.choice(sorted(self._mine))
            new = f"worker-{self._worker}-moved"
            (self._folder / old).rename(self._folder / new)
            self._mine = self._mine - {old} | {new}


class Appender:
    """Appends records of many lengths to one file, each with its number in it."""

    def __init__(self, file: OsPath, worker: int, chance: random.Random) -> None:
        self._descriptor = os.open(
            file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
        )
        self._worker = worker
        self._chance = chance
        self.count = 0

    def step(self) -> None:
        """Append one record."""
        length = self._chance.choice((0, 10, 100, 5000))
        record = record_of(self._worker, self.count, length)
        assert os.write(self._descriptor, record) == len(record)
        self.count += 1

    def leave(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def record_of(worker: int, number: int, length: int) -> bytes:
    """One line."""
    return b"%d %d %s\n" % (worker, number, b"x" * length)


def check_records(file: OsPath, counts: list[int]) -> None:
    """Every record is there once, whole, and those of one worker in their order."""
    records: dict[int, list[int]] = {worker: [] for worker in range(len(counts))}
    for line in file.read_bytes().splitlines(keepends=True):
        worker, number, filling = line.split(b" ")
        assert line == record_of(int(worker), int(number), len(filling) - 1), "a record is torn"
        records[int(worker)].append(int(number))
    assert records == {worker: list(range(count)) for worker, count in enumerate(counts)}
