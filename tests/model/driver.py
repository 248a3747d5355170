"""The operations that the model and every filesystem under test have in common.

A path is a tuple of names from the root of the filesystem, the root itself being `()`.
Every operation raises `OSError` with an errno, or returns its value: the model and the
filesystem are held against each other on both. No operation follows a symlink in the last
component, except `chmod` and `truncate`, which have no other form on Linux.
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import Protocol, TypeAlias, TypeVar

Path: TypeAlias = tuple[bytes, ...]

T = TypeVar("T")

NAME_MAX = 255
"""Bytes in a name, at most (`NAME_MAX` of limits.h)."""

XATTR_SIZE_MAX = 65536
"""Bytes in the value of an extended attribute, at most (xattr(7))."""


class RenameFlags(IntFlag):
    """The flags of renameat2(2)."""

    PLAIN = 0
    NOREPLACE = 1
    EXCHANGE = 2


class FallocateMode(IntFlag):
    """The modes of fallocate(2) that every filesystem here knows."""

    ALLOCATE = 0
    KEEP_SIZE = 1
    PUNCH_HOLE = 3


class XattrFlags(IntFlag):
    """The flags of setxattr(2)."""

    ANY = 0
    CREATE = os.XATTR_CREATE
    REPLACE = os.XATTR_REPLACE


@dataclass(frozen=True, slots=True)
class Stat:
    """What lstat(2) tells, as far as POSIX says what it must be; times in nanoseconds."""

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory; the size of one means nothing."""
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True, slots=True)
class Failed:
    """The outcome of an operation that raised `OSError`."""

    code: int

    def __repr__(self) -> str:
        return f"Failed({errno.errorcode.get(self.code, self.code)})"


def outcome(call: Callable[[], T]) -> T | Failed:
    """What `call` returned, or how it failed."""
    try:
        return call()
    except OSError as error:
        if error.errno is None:
            raise
        return Failed(error.errno)


def os_error(code: int) -> OSError:
    """An `OSError` of this errno, of the subclass that Python has for it."""
    return OSError(code, os.strerror(code))


class Operations(Protocol):
    """What a filesystem does; `handle` is a number that the caller chooses at `open`."""

    def create(self, path: Path, mode: int) -> None:
        """open(O_CREAT | O_EXCL), and close."""

    def mkdir(self, path: Path, mode: int) -> None:
        """mkdir(2)."""

    def mknod(self, path: Path, mode: int) -> None:
        """mknod(2) of a FIFO or a socket."""

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

    def readlink(self, path: Path) -> bytes:
        """readlink(2)."""

    def readdir(self, path: Path) -> list[bytes]:
        """The names in a directory, sorted; one that is listed twice is there twice."""

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """open(O_RDONLY), pread(2) until `length` bytes or the end, and close."""

    def write(self, path: Path, offset: int, data: bytes) -> int:
        """open(O_WRONLY), pwrite(2) and close."""

    def append(self, path: Path, data: bytes) -> int:
        """open(O_WRONLY | O_APPEND), write(2) and close."""

    def rewrite(self, path: Path, data: bytes) -> int:
        """open(O_WRONLY | O_CREAT | O_TRUNC, 0644), write(2) and close."""

    def truncate(self, path: Path, size: int) -> None:
        """truncate(2)."""

    def chmod(self, path: Path, mode: int) -> None:
        """chmod(2)."""

    def chown(self, path: Path, uid: int, gid: int) -> None:
        """lchown(2); -1 leaves one of the two as it is."""

    def utimens(self, path: Path, atime_ns: int, mtime_ns: int) -> None:
        """utimensat(AT_SYMLINK_NOFOLLOW)."""

    def setxattr(self, path: Path, name: bytes, value: bytes, flags: XattrFlags) -> None:
        """lsetxattr(2)."""

    def getxattr(self, path: Path, name: bytes) -> bytes:
        """lgetxattr(2)."""

    def removexattr(self, path: Path, name: bytes) -> None:
        """lremovexattr(2)."""

    def listxattr(self, path: Path) -> list[bytes]:
        """llistxattr(2), sorted."""

    def open(self, path: Path, handle: int) -> None:
        """open(O_RDWR); `handle` names the open file until `close`."""

    def pread(self, handle: int, offset: int, length: int) -> bytes:
        """pread(2) until `length` bytes or the end."""

    def pwrite(self, handle: int, offset: int, data: bytes) -> int:
        """pwrite(2)."""

    def ftruncate(self, handle: int, size: int) -> None:
        """ftruncate(2)."""

    def fallocate(self, handle: int, mode: FallocateMode, offset: int, length: int) -> None:
        """fallocate(2)."""

    def copy_range(self, source: int, offset: int, target: int, to: int, length: int) -> int:
        """copy_file_range(2), of a few bytes: all that there are."""

    def fsync(self, handle: int) -> None:
        """fsync(2)."""

    def close(self, handle: int) -> None:
        """close(2)."""


@dataclass(frozen=True, slots=True)
class Traits:
    """Where filesystems differ and each is right."""

    reuses_inodes: bool
    """Whether an inode number may come back after its file is gone."""

    allocates: bool = True
    """Whether it knows fallocate(2)."""


LINUX = Traits(reuses_inodes=True)
"""The filesystems in the kernel."""

TIERFS = Traits(reuses_inodes=False)
"""tierfs never reuses a number."""

PYTHON_ONLY = Traits(reuses_inodes=False, allocates=False)
"""tierfs mounted without the fast path: pyfuse3 has no handler for FALLOCATE."""


class Driver(Operations, Protocol):
    """A filesystem under test."""

    @property
    def traits(self) -> Traits:
        """In what it is special."""

    def stat(self, path: Path) -> Stat:
        """lstat(2)."""

    def fstat(self, handle: int) -> Stat:
        """fstat(2)."""

    def remount(self) -> None:
        """Take the filesystem down and up again; no handle may be open."""

    def crash(self) -> None:
        """End it as kill -9 would, and bring it up again; open files are lost, no name or byte."""

    def forget(self) -> None:
        """Let go of every cached name, attribute and page that nothing holds open."""

    def verify(self) -> None:
        """Assert what only this driver can see; no handle is open."""

    def finish(self) -> None:
        """Close what is open and clear away."""
