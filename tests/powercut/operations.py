"""What a writer does to its directory: records that can be journaled, done, and replayed.

A record holds all that an operation needs, its bytes by their seed, so that the model can do to
itself what the writer did to a mount.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LABEL = "user.label"


@dataclass(frozen=True, slots=True)
class Operation:
    """One change, or one sync; paths are relative to the writer's directory."""

    kind: str
    path: str
    target: str = ""
    offset: int = 0
    length: int = 0
    seed: int = 0

    def data(self) -> bytes:
        """The bytes that it writes, which no other operation does."""
        return random.Random(self.seed).randbytes(self.length)

    def changed(self, content: bytes) -> bytes:
        """What a file that held ``content`` holds afterwards."""
        match self.kind:
            case "write" | "synchronous" | "mapped":
                data = self.data()
                before = content[: self.offset].ljust(self.offset, b"\0")
                return before + data + content[self.offset + len(data) :]
            case "append":
                return content + self.data()
            case "truncate":
                return content[: self.length].ljust(self.length, b"\0")
            case "rewrite" | "create":
                return self.data()
        return content


CHANGES_BYTES = frozenset(
    {"write", "append", "truncate", "rewrite", "create", "synchronous", "mapped"}
)
WRITING = {
    "create": os.O_CREAT | os.O_EXCL,
    "rewrite": os.O_TRUNC,
    "append": os.O_APPEND,
    "write": 0,
    "synchronous": os.O_DSYNC,
}
"""The flags of open(2) for each way to write."""

SYNCS_BYTES = frozenset({"synchronous", "mapped"})
"""Operations that return when their bytes are safe: O_DSYNC of open(2), msync(2)."""


def perform(root: Path, operation: Operation) -> int:
    """Do it below ``root``; returns the file's mtime after a sync of a file, else 0.

    Raises:
        OSError: it did not succeed; it may have happened in part.
    """
    path = root / operation.path
    if operation.kind in WRITING:
        _write(path, WRITING[operation.kind] | os.O_WRONLY, operation)
        return 0
    match operation.kind:
        case "mapped":
            _write_by_mapping(path, operation)
        case "truncate":
            os.truncate(path, operation.length)
        case "link":
            os.link(path, root / operation.target)
        case "rename":
            path.rename(root / operation.target)
        case "unlink":
            path.unlink()
        case "mkdir":
            path.mkdir()
        case "rmdir":
            path.rmdir()
        case _:
            return _perform_on_inode(path, operation)
    return 0


def _perform_on_inode(path: Path, operation: Operation) -> int:
    match operation.kind:
        case "setxattr":
            os.setxattr(path, LABEL, operation.data())
        case "removexattr":
            os.removexattr(path, LABEL)
        case "chmod":
            path.chmod(operation.length)
        case "utime":
            os.utime(path, ns=(operation.offset, operation.offset))
        case "fsync":
            with _open(path, os.O_RDONLY) as descriptor:
                os.fsync(descriptor)
                return os.fstat(descriptor).st_mtime_ns
        case "fsyncdir":
            with _open(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                os.fsync(descriptor)
        case _:
            raise AssertionError(operation)
    return 0


@contextlib.contextmanager
def _open(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_by_mapping(path: Path, operation: Operation) -> None:
    with _open(path, os.O_RDWR) as descriptor, mmap.mmap(descriptor, 0) as mapping:
        mapping[operation.offset : operation.offset + operation.length] = operation.data()
        mapping.flush()


def _write(path: Path, flags: int, operation: Operation) -> None:
    data, done = operation.data(), 0
    with _open(path, flags) as descriptor:
        while done < len(data):
            if operation.kind == "append":
                done += os.write(descriptor, data[done:])
            else:
                done += os.pwrite(descriptor, data[done:], operation.offset + done)
