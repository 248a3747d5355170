"""What processes do to a shared directory, and when: calls, and events in a history of them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tests.model.driver import Path, RenameFlags

Outcome = str | int | list[int] | list[str] | None
"""What a call returned, or the name of its errno; text in lower case is a complaint."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operation of `Directory` and its arguments, as JSON can hold them."""

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
    outcome: Outcome


class Directory(Protocol):
    """What is done in the shared directory: each call takes effect at one instant.

    Calls that name a file and then change it, as truncate(2) does, take effect at two: they are
    done to files whose names stay, all others are opened first and changed through the handle.
    link(2) looks its source up first as well, which is a name that stays, or an open file.
    """

    def holds(self, handle: int) -> bool:
        """Whether `handle` is open."""

    def make(self, path: Path) -> int:
        """open(O_CREAT | O_EXCL), fstat(2) and close; the inode number."""

    def look(self, path: Path) -> list[int]:
        """The type bits and the inode number of lstat(2), which never change while it lives."""

    def size(self, path: Path) -> int:
        """The size that stat(2) tells."""

    def names(self, path: Path) -> list[str]:
        """The names in a directory, sorted, as often as they were listed; not at one instant."""

    def mkdir(self, path: Path, mode: int) -> None:
        """mkdir(2)."""

    def symlink(self, target: bytes, path: Path) -> None:
        """symlink(2)."""

    def link(self, existing: Path, path: Path) -> None:
        """link(2)."""

    def unlink(self, path: Path) -> None:
        """unlink(2)."""

    def rmdir(self, path: Path) -> None:
        """rmdir(2)."""

    def rename(self, source: Path, target: Path, flags: RenameFlags) -> None:
        """renameat2(2)."""

    def append(self, path: Path, data: bytes) -> int:
        """open(O_WRONLY | O_APPEND), write(2) and close."""

    def truncate(self, path: Path, size: int) -> None:
        """truncate(2)."""

    def open(self, path: Path, handle: int) -> None:
        """open(O_RDWR); what `handle` was before is closed when it succeeds."""

    def link_open(self, handle: int, path: Path) -> None:
        """linkat(2) of an open file, which may have lost its last name."""

    def state(self, handle: int) -> list[int]:
        """fstat(2): links and size."""

    def pwrite(self, handle: int, offset: int, data: bytes) -> int:
        """pwrite(2)."""

    def ftruncate(self, handle: int, size: int) -> None:
        """ftruncate(2)."""

    def fsync(self, handle: int) -> None:
        """fsync(2)."""

    def close(self, handle: int) -> None:
        """close(2)."""


def perform(fs: Directory, call: Call) -> Outcome:
    """Do it; a handle that is not open is EBADF, so that no draw depends on what was found."""
    if call.name in OF_HANDLES and not fs.holds(call.handle):
        return "EBADF"
    return outcome_of(lambda: CALLS[call.name](fs, call))


def outcome_of(call: Callable[[], Outcome]) -> Outcome:
    """What it returned, or the name of the errno."""
    try:
        return call()
    except OSError as error:
        if error.errno is None:
            raise
        return errno.errorcode[error.errno]


def fill(offset: int, length: int) -> bytes:
    """Bytes that only depend on where they lie, so that the order of two writes is all the same."""
    return bytes((offset + step) % 251 + 1 for step in range(length))


OF_HANDLES: dict[str, Callable[[Directory, Call], Outcome]] = {
    "link_open": lambda fs, call: fs.link_open(call.handle, path_of(call)),
    "state": lambda fs, call: fs.state(call.handle),
    "pwrite": lambda fs, call: fs.pwrite(call.handle, call.numbers[0], fill(*call.numbers)),
    "ftruncate": lambda fs, call: fs.ftruncate(call.handle, call.numbers[0]),
    "fsync": lambda fs, call: fs.fsync(call.handle),
    "close": lambda fs, call: fs.close(call.handle),
}

CALLS: dict[str, Callable[[Directory, Call], Outcome]] = {
    "create": lambda fs, call: fs.make(path_of(call)),
    "look": lambda fs, call: fs.look(path_of(call)),
    "size": lambda fs, call: fs.size(path_of(call)),
    "list": lambda fs, call: fs.names(path_of(call)),
    "mkdir": lambda fs, call: fs.mkdir(path_of(call), 0o755),
    "symlink": lambda fs, call: fs.symlink(b"nowhere", path_of(call)),
    "link": lambda fs, call: fs.link(path_of(call), path_of(call, 1)),
    "unlink": lambda fs, call: fs.unlink(path_of(call)),
    "rmdir": lambda fs, call: fs.rmdir(path_of(call)),
    "rename": lambda fs, call: fs.rename(
        path_of(call), path_of(call, 1), RenameFlags(call.numbers[0])
    ),
    # Zeros: in which order two processes append is all the same.
    "append": lambda fs, call: fs.append(path_of(call), bytes(call.numbers[0])),
    "truncate": lambda fs, call: fs.truncate(path_of(call), call.numbers[0]),
    "open": lambda fs, call: fs.open(path_of(call), call.handle),
    **OF_HANDLES,
}


def path_of(call: Call, index: int = 0) -> Path:
    """One of the paths of a call; the empty text is the shared directory itself."""
    text = call.paths[index].encode()
    return tuple(text.split(b"/")) if text else ()
