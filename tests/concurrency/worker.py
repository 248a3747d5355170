"""One process of a crowd: python -m tests.concurrency.worker JOB DIRECTORY NUMBER COUNT SEED.

It says "ready", waits for a line, does its job and writes one JSON document: what it saw.
"""

from __future__ import annotations

import errno
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.concurrency.history import Event
from tests.concurrency.records import record_of
from tests.model.driver import RenameFlags
from tests.model.renameat2 import renameat2

CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY
NAMES = ("a", "b", "c", "d/x", "d/y", "e/x")
FOLDERS = ("d", "e")
CHURNERS = 2
SIZED = ("one", "two")
STEP = 64
"""What is appended fits in one page; of longer writes, others may see a part (write(2))."""

SIZES = (0, STEP, 65_536 - STEP, 65_536, 65_536 + 4096)


class Task(NamedTuple):
    """What a worker was told."""

    home: Path
    number: int
    times: int
    dice: random.Random


# ---------------------------------------------------------------- histories of calls


def _outcome(call: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
    try:
        return call(*args)
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]


def _history(task: Task, choose: Callable[[random.Random], tuple[str, ...]], calls: Calls) -> Any:  # noqa: ANN401
    """Make so many calls, with the moments between which each took effect."""
    os.chdir(task.home)
    events = []
    for _ in range(task.times):
        name, *args = choose(task.dice)
        start = time.monotonic_ns()
        outcome = _outcome(calls[name], *args)
        events.append(Event(start, time.monotonic_ns(), name, tuple(args), outcome))
    return events


Calls = dict[str, Callable[..., Any]]


def _create(name: str) -> int:
    fd = os.open(name, CREATE)
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def _rename_with(flags: RenameFlags) -> Callable[[str, str], None]:
    def rename(source: str, target: str) -> None:
        here = os.open(".", os.O_PATH)
        try:
            renameat2(here, source.encode(), target.encode(), flags)
        finally:
            os.close(here)

    return rename


NAME_CALLS: Calls = {
    "create": _create,
    "look": lambda name: os.lstat(name).st_ino,
    "unlink": os.unlink,
    "rename": os.rename,
    "noreplace": _rename_with(RenameFlags.NOREPLACE),
    "exchange": _rename_with(RenameFlags.EXCHANGE),
    "mkdir": os.mkdir,
    "rmdir": os.rmdir,
}


def _choose_name_call(dice: random.Random) -> tuple[str, ...]:
    call = dice.choice([*NAME_CALLS, "create", "create", "look"])
    if call in {"mkdir", "rmdir"}:
        return call, dice.choice(FOLDERS)
    if call in {"rename", "noreplace", "exchange"}:
        return call, *dice.sample(NAMES, 2)
    return call, dice.choice(NAMES)


def names(task: Task) -> Any:  # noqa: ANN401
    """Create, rename and remove among a few names."""
    return _history(task, _choose_name_call, NAME_CALLS)


def _append(name: str, length: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, bytes(int(length)))
    finally:
        os.close(fd)


SIZE_CALLS: Calls = {
    "append": _append,
    "truncate": lambda name, size: os.truncate(name, int(size)),
    "size": lambda name: os.stat(name).st_size,
    "list": lambda: [entry.stat().st_size for entry in os.scandir(".")] and None,
}


def _choose_size_call(dice: random.Random) -> tuple[str, ...]:
    call = dice.choice(["append", "append", "truncate", "size", "size", "list"])
    if call == "list":
        return (call,)
    if call == "append":
        return call, dice.choice(SIZED), str(STEP)
    if call == "truncate":
        return call, dice.choice(SIZED), str(dice.choice(SIZES))
    return call, dice.choice(SIZED)


def sizes(task: Task) -> Any:  # noqa: ANN401
    """Append to a few files, cut them, and look at their sizes."""
    return _history(task, _choose_size_call, SIZE_CALLS)


# ---------------------------------------------------------------- other jobs


def append(task: Task) -> int:
    """Append records, each with one write, now and then through a new descriptor."""
    path, fd = task.home / "log", -1
    for turn in range(task.times):
        if turn % 10 == 0:
            if fd >= 0:
                os.close(fd)
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        data = record_of(task.number, turn, task.dice.choice([0, 10, 300, 5000, 70_000]))
        if turn % 3:
            assert os.write(fd, data) == len(data)
        else:
            half = len(data) // 2
            assert os.writev(fd, [data[:half], data[half:]]) == len(data)
    os.close(fd)
    return task.times


def race(task: Task) -> dict[str, list[int]]:
    """Try what only one can win, for each number in turn; returns the numbers that were won."""
    os.chdir(task.home)
    os.close(os.open(f"mine-{task.number}", CREATE))
    attempts: dict[str, Callable[[str], object]] = {
        "create": lambda name: os.close(os.open(name, CREATE)),
        "mkdir": os.mkdir,
        "symlink": lambda name: os.symlink("target", name),
        "link": lambda name: os.link(f"mine-{task.number}", name),
        "unlink": lambda name: os.unlink(f"there-{name}"),
        "rename": lambda name: os.rename(f"moving-{name}", f"moved-{name}-{task.number}"),
    }
    won: dict[str, list[int]] = {name: [] for name in attempts}
    for turn in range(task.times):
        for kind, attempt in attempts.items():
            if not isinstance(_outcome(attempt, f"{kind}-{turn}"), str):
                won[kind].append(turn)
    return won


def churn(task: Task) -> int:
    """Make, rename and remove names that nobody has used before."""
    os.chdir(task.home)
    for turn in range(task.times):
        name = f"churn-{task.number}-{turn}"
        os.close(os.open(name, CREATE))
        if turn % 2:
            os.rename(name, f"{name}-renamed")
            name = f"{name}-renamed"
        if turn % 3:
            os.unlink(name)
    os.close(os.open(f"done-{task.number}", CREATE))
    return task.times


def listing(task: Task) -> list[list[str]]:
    """List the directory over and over, for as long as the churners are at work."""
    seen: list[list[str]] = []
    while len(seen) < task.times or sum(name.startswith("done-") for name in seen[-1]) < CHURNERS:
        seen.append(os.listdir(task.home))
    return seen


def mixture(task: Task) -> dict[str, int]:
    """Write, cut, replace and remove a few files; every byte written belongs to its position."""
    os.chdir(task.home)
    counts: dict[str, int] = {}
    for turn in range(task.times):
        call = task.dice.choice(list(MIXTURE))
        name = task.dice.choice(["f", "g", "sub/f", "sub/g"])
        outcome = _outcome(MIXTURE[call], task, name, f"new-{task.number}-{turn}")
        label = f"{call} {outcome}" if isinstance(outcome, str) else call
        counts[label] = counts.get(label, 0) + 1
    return counts


def pattern(offset: int, length: int) -> bytes:
    """The only bytes that are ever written at `offset`; none is zero."""
    return bytes((at * at + at // 256) % 255 + 1 for at in range(offset, offset + length))


def is_pattern(data: bytes, offset: int = 0) -> bool:
    """Whether each byte is what belongs to its place, or zero, from a hole."""
    expected = pattern(offset, len(data))
    return all(byte in {0, wanted} for byte, wanted in zip(data, expected, strict=True))


def _write(task: Task, name: str, _new: str) -> None:
    offset = task.dice.choice([0, 65_500, 65_536, task.dice.randrange(100_000)])
    fd = os.open(name, os.O_WRONLY | os.O_CREAT)
    try:
        os.pwrite(fd, pattern(offset, task.dice.choice([1, 100, 3000])), offset)
    finally:
        os.close(fd)


def _read(task: Task, name: str, _new: str) -> None:
    offset = task.dice.choice([0, 65_500, 65_536, task.dice.randrange(100_000)])
    fd = os.open(name, os.O_RDONLY)
    try:
        data = os.pread(fd, 3000, offset)
    finally:
        os.close(fd)
    assert is_pattern(data, offset), (name, offset)


def _replace(_task: Task, name: str, new: str) -> None:
    Path(new).write_bytes(pattern(0, 700))
    os.rename(new, name)


def _sync(_task: Task, name: str, _new: str) -> None:
    fd = os.open(name, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


MIXTURE: dict[str, Callable[[Task, str, str], None]] = {
    "write": _write,
    "read": _read,
    "replace": _replace,
    "sync": _sync,
    "truncate": lambda task, name, _new: os.truncate(name, task.dice.randrange(100_000)),
    "unlink": lambda _task, name, _new: os.unlink(name),
    "move": lambda task, name, _new: os.rename(name, task.dice.choice(["f", "sub/g"])),
}

JOBS: dict[str, Callable[[Task], Any]] = {
    job.__name__: job for job in (names, sizes, append, race, churn, listing, mixture)
}


def main() -> None:
    """Run the job that the arguments name."""
    job, home, number, count, seed = sys.argv[1:]
    task = Task(Path(home), int(number), int(count), random.Random(f"{seed}-{number}"))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    json.dump(JOBS[job](task), sys.stdout)


if __name__ == "__main__":
    main()
