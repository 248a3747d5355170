"""Changes: names, attributes, small and large writes, by one process and by several."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, NamedTuple

from tests.benchmarks.datasets import A_DIRECTORY, LABEL, LABEL_VALUE
from tests.benchmarks.loops import create_files, read_files, write_stream
from tests.benchmarks.machine import require_room
from tests.benchmarks.scenario import Figure, Side, Turn, rate, rated, work_directory
from tierfs.common.units import KIB, MIB

CREATE: Final = "create"


@dataclass(frozen=True, slots=True)
class Ingest:
    """``writers`` processes share ``files`` files of ``size`` bytes, each in its directories."""

    files: int = 2000
    size: int = 32 * KIB
    writers: int = 1
    name: str = "ingest"
    figures: ClassVar = rate(CREATE, "files/s")

    def prepare(self, side: Side) -> None:
        """Look whether there is room, and make the directory of the run."""
        require_room(side.directory, self.files, self.size)
        self._home(side).mkdir(parents=True, exist_ok=True)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Create the files of one turn, which stay until the end.

        Some filesystems go on deleting in the background: it would disturb who is measured next.
        """
        require_room(turn.side.directory, self.files, self.size)
        home = self._home(turn.side) / str(turn.number)
        block = random.Random(turn.number).randbytes(self.size)
        shares = [self._paths(home / str(writer), writer) for writer in range(self.writers)]
        lap = turn.timed([partial(create_files, share, block) for share in shares])
        return rated(CREATE, self.files, lap)

    def finish(self, side: Side) -> None:
        """Delete what was written."""
        shutil.rmtree(self._home(side), ignore_errors=True)

    def _home(self, side: Side) -> Path:
        """Of this process and side, since a peer may lie over the data of another side."""
        return work_directory(side) / f"ingest-{os.getpid()}-{self.writers}-{side.name}"

    def _paths(self, home: Path, writer: int) -> list[bytes]:
        """The encoded paths of one writer's share; makes their directories.

        Neighbours, so that many writers fill few directories, as one does.
        """
        first, end = (self.files * each // self.writers for each in (writer, writer + 1))
        names = [f"{number // A_DIRECTORY:05}/{number:07}.bin" for number in range(first, end)]
        for directory in dict.fromkeys(name.partition("/")[0] for name in names):
            (home / directory).mkdir(parents=True)
        return [os.fsencode(home / name) for name in names]


Paths = Sequence[bytes]
Work = Callable[[Paths], int]
"""Does something to all paths; returns to how many."""

BLOCK: Final = 4 * KIB
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Operation(NamedTuple):
    """``work`` is timed; ``make``, which is not, makes what it needs. Each gets the same paths."""

    work: Work
    make: Work | None = None
    size: int = 0
    """Bytes of each file."""


def _touch(paths: Paths) -> int:
    for path in paths:
        os.close(os.open(path, _NEW, 0o644))
    return len(paths)


def _mkdir(paths: Paths) -> int:
    for path in paths:
        os.mkdir(path, 0o755)
    return len(paths)


def _rename(paths: Paths) -> int:
    for path in paths:
        os.rename(path, path + b".new")
    return len(paths)


def _chmod(paths: Paths) -> int:
    for path in paths:
        os.chmod(path, 0o600)
    return len(paths)


def _setxattr(paths: Paths) -> int:
    for path in paths:
        os.setxattr(path, LABEL, LABEL_VALUE)
    return len(paths)


def _unlink(paths: Paths) -> int:
    for path in paths:
        os.unlink(path)
    return len(paths)


def _rmtree(paths: Paths) -> int:
    for directory in dict.fromkeys(os.path.dirname(path) for path in paths):
        shutil.rmtree(directory)
    return len(paths)


def _append(paths: Paths) -> int:
    """4 bytes at a time, all to the first path."""
    descriptor = os.open(paths[0], _NEW | os.O_APPEND, 0o644)
    for _ in paths:
        os.write(descriptor, b"abc\n")
    os.close(descriptor)
    return len(paths)


def _rewrite(block: bytes, paths: Paths) -> int:
    for path in paths:
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        os.write(descriptor, block)
        os.close(descriptor)
    return len(paths)


def _create_fsync(block: bytes, paths: Paths) -> int:
    for path in paths:
        descriptor = os.open(path, _NEW, 0o644)
        os.write(descriptor, block)
        os.fsync(descriptor)
        os.close(descriptor)
    return len(paths)


_SMALL: Final = random.Random(0).randbytes(32 * KIB)
_create: Final = partial(create_files, block=_SMALL)

OPERATIONS: Final[Mapping[str, Operation]] = {
    "empty file": Operation(_touch),
    "mkdir": Operation(_mkdir),
    "rename": Operation(_rename, _touch),
    "chmod": Operation(_chmod, _touch),
    "setxattr": Operation(_setxattr, _touch),
    "unlink": Operation(_unlink, _touch),
    "rmtree": Operation(_rmtree, _touch),
    "create+fsync": Operation(partial(_create_fsync, _SMALL), size=len(_SMALL)),
    "rewrite": Operation(partial(_rewrite, _SMALL), _create, len(_SMALL)),
    "append": Operation(_append),
}
"""By the name of their figure. Files are of 32 KiB, written in one call; rewriting is that with
O_TRUNC; rmtree is shutil.rmtree, counted by the files. Creating them alone is `Ingest`."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The operation ``name`` on ``count`` paths, in directories as a data set has them."""

    name: str
    count: int = 2000

    @property
    def figures(self) -> Sequence[Figure]:
        """How often a second, and the processors' time."""
        return rate(self.name, "calls/s")

    @property
    def operation(self) -> Operation:
        """What is done."""
        return OPERATIONS[self.name]

    def prepare(self, side: Side) -> None:
        """Look whether there is room, and make the directory of the run."""
        require_room(side.directory, self.count, self.operation.size)
        _home(side, self.name).mkdir(parents=True, exist_ok=True)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Time the operation. What it made is deleted when the next turn of the side begins.

        Some filesystems go on deleting in the background: it would disturb who is measured next.
        """
        home = _home(turn.side, self.name)
        for old in home.iterdir():
            shutil.rmtree(old)
        paths = _paths(home / str(turn.number), self.count)
        if self.operation.make:
            turn.timed([partial(self.operation.make, paths)])
        return rated(self.name, self.count, turn.timed([partial(self.operation.work, paths)]))

    def finish(self, side: Side) -> None:
        """Delete what was made."""
        shutil.rmtree(_home(side, self.name), ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Overwrites:
    """``count`` writes of 4 KiB at random places of a file of ``size`` bytes."""

    size: int = 256 * MIB
    count: int = 2000
    name: str = "overwrite"

    @property
    def figures(self) -> Sequence[Figure]:
        """How often a second, and the processors' time."""
        return rate(self.name, "calls/s")

    def prepare(self, side: Side) -> None:
        """Write the file."""
        require_room(side.directory, 1, self.size)
        _home(side, self.name).mkdir(parents=True, exist_ok=True)
        write_stream(self._path(side), self.size, random.Random(0).randbytes(MIB))

    def run(self, turn: Turn) -> Mapping[str, float]:
        """The same places on all sides, others in each turn."""
        chance, blocks = random.Random(turn.number), self.size // BLOCK
        offsets = [chance.randrange(blocks) * BLOCK for _ in range(self.count)]
        work = partial(_overwrite, self._path(turn.side), offsets, chance.randbytes(BLOCK))
        return rated(self.name, self.count, turn.timed([work]))

    def finish(self, side: Side) -> None:
        """Delete the file."""
        shutil.rmtree(_home(side, self.name), ignore_errors=True)

    def _path(self, side: Side) -> bytes:
        return os.fsencode(_home(side, self.name) / "overwritten.bin")


def _overwrite(path: bytes, offsets: Sequence[int], block: bytes) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    for offset in offsets:
        os.pwrite(descriptor, block, offset)
    os.close(descriptor)
    return len(offsets)


@dataclass(frozen=True, slots=True)
class Writes:
    """A new file of ``size`` bytes written from start to end, 1 MiB a call."""

    size: int = 256 * MIB
    name: str = "write"

    @property
    def figures(self) -> Sequence[Figure]:
        """MiB a second, and the processors' time of each MiB."""
        return rate(self.name, "MiB/s")

    def prepare(self, side: Side) -> None:
        """Look whether there is room, and make the directory of the run."""
        require_room(side.directory, 1, self.size)
        _home(side, self.name).mkdir(parents=True, exist_ok=True)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Write it, without fsync(2), and delete it."""
        path = _home(turn.side, self.name) / f"{turn.number}.bin"
        block = random.Random(turn.number).randbytes(MIB)
        try:
            lap = turn.timed([partial(write_stream, os.fsencode(path), self.size, block)])
        finally:
            path.unlink(missing_ok=True)
        return rated(self.name, self.size // MIB, lap)

    def finish(self, side: Side) -> None:
        """Delete what an interrupted turn left."""
        shutil.rmtree(_home(side, self.name), ignore_errors=True)


def _paths(home: Path, count: int) -> list[bytes]:
    """Encoded paths of files that are not there yet; makes their directories."""
    for number in range(0, count, A_DIRECTORY):
        (home / f"{number // A_DIRECTORY:05}").mkdir(parents=True)
    root = os.fsencode(home)
    return [b"%b/%05d/%07d" % (root, number // A_DIRECTORY, number) for number in range(count)]


def _home(side: Side, name: str) -> Path:
    """Of this process, operation and side, since a peer may lie over the data of another side."""
    return work_directory(side) / f"{name}-{os.getpid()}-{side.name}"


SIZE: Final = 8 * KIB
AT_ONCE: Final = 64
"""Files that there are at any time, a share of them for each process."""
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
        require_room(side.directory, AT_ONCE, SIZE)
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
            share = range(number, AT_ONCE, self.processes)
            paths = [os.fsencode(mine / f"{file:03}") for file in share]
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
