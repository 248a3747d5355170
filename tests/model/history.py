"""What several processes did to one shared directory, and when: one line of JSON for each call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path as OsPath
from typing import IO, Protocol

from tests.model.driver import Failed, Operations, Path, RenameFlags, outcome


@dataclass(frozen=True, slots=True)
class Call:
    """One operation of `SharedOperations` and its arguments, as JSON can hold them."""

    name: str
    paths: tuple[str, ...] = ()
    handle: int = -1
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """A call, its outcome, and the monotonic nanoseconds between which it took effect."""

    worker: int
    began_ns: int
    ended_ns: int
    call: Call
    outcome: str


class SharedOperations(Operations, Protocol):
    """What is done in the shared directory: each call takes effect at one instant.

    Calls that name a file and then change it, as truncate(2) does, take effect at two: here the
    file is opened first and changed through its handle. Every native filesystem would fail else.
    """

    def kind(self, path: Path) -> int:
        """The type bits of lstat(2), which never change as long as the inode lives."""

    def state(self, handle: int) -> tuple[int, int]:
        """fstat(2): links and size."""

    def link_open(self, handle: int, path: Path) -> None:
        """linkat(2) of an open file, which may have lost its last name."""


def perform(fs: SharedOperations, call: Call) -> str:
    """Do it; the outcome as a text that can be compared."""
    return repr(outcome(lambda: CALLS[call.name](fs, call)))


def fill(offset: int, length: int) -> bytes:
    """Bytes that only depend on where they lie, so that the order of two writes is all the same."""
    return bytes((offset + step) % 251 + 1 for step in range(length))


CALLS: dict[str, Callable[[SharedOperations, Call], object]] = {
    "create": lambda fs, call: fs.create(_path(call, 0), 0o644),
    "mkdir": lambda fs, call: fs.mkdir(_path(call, 0), 0o755),
    "symlink": lambda fs, call: fs.symlink(b"nowhere", _path(call, 0)),
    "unlink": lambda fs, call: fs.unlink(_path(call, 0)),
    "rmdir": lambda fs, call: fs.rmdir(_path(call, 0)),
    "rename": lambda fs, call: fs.rename(
        _path(call, 0), _path(call, 1), RenameFlags(call.numbers[0])
    ),
    "kind": lambda fs, call: fs.kind(_path(call, 0)),
    "open": lambda fs, call: fs.open(_path(call, 0), call.handle),
    "link_open": lambda fs, call: fs.link_open(call.handle, _path(call, 0)),
    "state": lambda fs, call: fs.state(call.handle),
    "pwrite": lambda fs, call: fs.pwrite(call.handle, call.numbers[0], fill(*call.numbers)),
    "ftruncate": lambda fs, call: fs.ftruncate(call.handle, call.numbers[0]),
    "fsync": lambda fs, call: fs.fsync(call.handle),
    "close": lambda fs, call: fs.close(call.handle),
}


class Recorder:
    """Does calls and notes them in a file."""

    def __init__(self, fs: SharedOperations, worker: int, file: IO[str]) -> None:
        self._fs = fs
        self._worker = worker
        self._file = file

    def do(self, call: Call) -> str:
        """Do it, note it, and return the outcome."""
        began = time.monotonic_ns()
        result = perform(self._fs, call)
        event = Event(self._worker, began, time.monotonic_ns(), call, result)
        self._file.write(json.dumps(asdict(event)) + "\n")
        return result


def read_history(files: list[OsPath]) -> list[Event]:
    """The events of all processes, by their beginning."""
    lines = [line for file in files for line in file.read_text().splitlines()]
    return sorted(map(_event, lines), key=lambda event: event.began_ns)


def succeeded(result: str) -> bool:
    """Whether an outcome is no errno."""
    return not result.startswith(Failed.__name__)


def _event(line: str) -> Event:
    fields = json.loads(line)
    call = fields.pop("call")
    call["paths"], call["numbers"] = tuple(call["paths"]), tuple(call["numbers"])
    return Event(**fields, call=Call(**call))


def _path(call: Call, index: int) -> Path:
    return tuple(call.paths[index].encode().split(b"/"))
