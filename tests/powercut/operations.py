"""What a writer does to its directory: records that can be journaled, done, and replayed.

A record holds all that an operation needs, its bytes by their seed, so that the model can do to
itself what the writer did to a mount.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tierfs.common.ranges import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, fallocate

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

    def changed(self, content: bytes, source: bytes = b"") -> bytes:
        """What a file that held ``content`` holds afterwards; ``source`` is what it copies from."""
        match self.kind:
            case "copy":
                content = self._over(content, source[self.seed : self.seed + self.length])
            case "punch":
                content = self._over(content, bytes(self.length))[: len(content)]
            case "zero":
                content = self._over(content, bytes(self.length))
            case "allocate":
                content = content.ljust(self.offset + self.length, b"\0")
            case "write" | "synchronous" | "mapped":
                content = self._over(content, self.data())
            case "append":
                content += self.data()
            case "truncate":
                content = content[: self.length].ljust(self.length, b"\0")
            case "rewrite" | "create" | "nameless":
                content = self.data()
        return content

    def _over(self, content: bytes, data: bytes) -> bytes:
        """``content`` with ``data`` at the offset."""
        before = content[: self.offset].ljust(self.offset, b"\0")
        return before + data + content[self.offset + len(data) :]


RANGES = {"allocate": 0, "punch": PUNCH_HOLE | KEEP_SIZE, "zero": ZERO_RANGE}
"""The modes of fallocate(2)."""

OPTIONAL = frozenset({*RANGES, "nameless"})
"""What not every filesystem can do."""

CHANGES_BYTES = frozenset(
    {
        *("write", "append", "truncate", "rewrite", "create", "synchronous", "mapped"),
        *("copy", "nameless", *RANGES),
    }
)
WRITING = {
    "create": os.O_CREAT | os.O_EXCL,
    "rewrite": os.O_TRUNC,
    "append": os.O_APPEND,
    "write": 0,
    "synchronous": os.O_DSYNC,
}
"""The flags of open(2) for each way to write."""

MAKES = frozenset({"create", "nameless"})
"""Makes a file."""

SYNCS_OWN = frozenset({"synchronous"})
"""Returns when the bytes that it wrote are safe: O_DSYNC of open(2), vfs_fsync_range()."""

SYNCS_ALL = frozenset({"mapped"})
"""Returns when all bytes of the file are: msync(2) of the whole mapping."""


def perform(root: Path, operation: Operation) -> int:
    """Do it below ``root``; returns what ``Entry.result`` is then.

    Raises:
        OSError: it did not succeed; it may have happened in part.
    """
    path = root / operation.path
    if operation.kind in WRITING:
        return _write(path, WRITING[operation.kind] | os.O_WRONLY, operation)
    match operation.kind:
        case "mapped":
            _write_by_mapping(path, operation)
        case "copy":
            _copy(path, root / operation.target, operation)
        case "punch" | "zero" | "allocate":
            with _open(path, os.O_WRONLY) as descriptor:
                mode = RANGES[operation.kind]
                fallocate(descriptor, mode, operation.offset, operation.length)
        case "nameless":
            with _open(path.parent, os.O_TMPFILE | os.O_WRONLY) as descriptor:
                made = os.fstat(descriptor).st_ino
                _write_all(descriptor, operation)
                # With a directory Python asks for linkat(2), which alone can follow the link.
                os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
                return made
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


def _write(path: Path, flags: int, operation: Operation) -> int:
    with _open(path, flags) as descriptor:
        made = os.fstat(descriptor).st_ino if operation.kind in MAKES else 0
        _write_all(descriptor, operation)
    return made


def _write_all(descriptor: int, operation: Operation) -> None:
    data, done = operation.data(), 0
    while done < len(data):
        if operation.kind == "append":
            done += os.write(descriptor, data[done:])
        else:
            done += os.pwrite(descriptor, data[done:], operation.offset + done)


def _copy(path: Path, source: Path, operation: Operation) -> None:
    """By copy_file_range(2), from the place in the other file that the seed says."""
    done = 0
    with _open(source, os.O_RDONLY) as reading, _open(path, os.O_WRONLY) as writing:
        while done < operation.length:
            left, at, to = operation.length - done, operation.seed + done, operation.offset + done
            copied = os.copy_file_range(reading, writing, left, at, to)
            assert copied, operation
            done += copied


def unsupported(root: Path) -> frozenset[str]:
    """Which of ``OPTIONAL`` the filesystem of ``root`` cannot do; leaves nothing there."""
    missing = set()
    for kind in OPTIONAL:
        path = root / f"trial-{kind}"
        try:
            if kind != "nameless":
                path.write_bytes(bytes(10))
            perform(root, Operation(kind, path.name, length=5))
        except OSError as exc:
            if exc.errno not in {errno.EOPNOTSUPP, errno.ENOSYS, errno.EISDIR}:
                raise
            missing.add(kind)
        finally:
            path.unlink(missing_ok=True)
    return frozenset(missing)
