"""Several processes at once that mix reads with changes, each in a directory of its own."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tierfs.base.units import KIB
from tierfs.bench.framework.scenario import Figure, Turn, rate, rated
from tierfs.bench.framework.side import Side, work_directory
from tierfs.bench.loops import create_files, read_files
from tierfs.bench.room import require_room

SIZE: Final = 8 * KIB
AT_ONCE: Final = 64
"""Files that a process has at any time."""
MIX: Final = "mix"
STEPS: Final = {"read": 6, "append": 1, "replace": 1, "chmod": 1, "make anew": 1}
"""What is done, and how often of ten times."""


@dataclass(frozen=True, slots=True)
class Mixing:
    """``count`` steps by ``processes`` together, 6 of 10 a read of a whole file of 8 KiB.

    The others append to a file, write a new one and rename it over the old one, change the mode
    of one, or delete one and create it again.
    """

    processes: int = 1
    count: int = 4000
    name: str = MIX

    @property
    def figures(self) -> Sequence[Figure]:
        """How many steps a second, and the processors' time of each."""
        return rate(MIX, "calls/s")

    def prepare(self, side: Side) -> None:
        """Look whether there is room, and make the directory of the run."""
        require_room(side.directory, self.processes * AT_ONCE, SIZE)
        self._home(side).mkdir(parents=True, exist_ok=True)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Time the steps; the files are made before."""
        home = self._home(turn.side)
        for old in home.iterdir():
            shutil.rmtree(old)
        works = []
        for number in range(self.processes):
            mine = home / str(number)
            mine.mkdir()
            paths = [os.fsencode(mine / f"{file:03}") for file in range(AT_ONCE)]
            create_files(paths, bytes(SIZE))
            steps = len(range(number, self.count, self.processes))
            works.append(partial(_mix, paths, steps, turn.number * self.processes + number))
        return rated(MIX, self.count, turn.timed(works))

    def finish(self, side: Side) -> None:
        """Delete what was made."""
        shutil.rmtree(self._home(side), ignore_errors=True)

    def _home(self, side: Side) -> Path:
        return work_directory(side) / f"mix-{os.getpid()}-{self.processes}-{side.name}"


def _mix(paths: Sequence[bytes], steps: int, seed: int) -> int:
    """The steps of one process. Raises DamageFound when a file has not the size it must have."""
    chance, block = random.Random(seed), bytes(SIZE)
    sizes = dict.fromkeys(paths, SIZE)
    for step in chance.choices(list(STEPS), list(STEPS.values()), k=steps):
        path = chance.choice(paths)
        match step:
            case "read":
                read_files([path], sizes[path])
            case "append":
                descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                sizes[path] += os.write(descriptor, b"abc\n")
                os.close(descriptor)
            case "replace":
                create_files([path + b".new"], block)
                os.rename(path + b".new", path)
                sizes[path] = SIZE
            case "chmod":
                os.chmod(path, chance.choice((0o600, 0o644)))
            case _:
                os.unlink(path)
                create_files([path], block)
                sizes[path] = SIZE
    return steps
