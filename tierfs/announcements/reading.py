"""Looking files up and reading them, by a copy of our own mount that nobody else sees.

The copy (open_tree(2)) is there only while there is something to read, and is renewed several times
a second: so nothing keeps the mount itself busy, and umount(2) succeeds at any time. What was
looked up as the user of a job is opened by its path again, by root, and read only if the path still
leads to it. To open it by its number (open_by_handle_at(2)) would make the kernel forget its name
(fuse_get_dentry, fs/fuse/inode.c); only directories that paths are below are opened so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tierfs.announcements.peer import Peer, acting_as
from tierfs.common.beneath import open_beneath
from tierfs.common.own_mount import known_of
from tierfs.prewarm.caches import cached

HELD_S: Final = 0.1
"""A copy of the mount is used for so long."""

REQUEST: Final = 128 * 1024
"""Bytes that the kernel takes on at a time when it is advised to read ahead (its default)."""

CHUNK: Final = 8 * REQUEST
"""Bytes of a file that are under way at a time."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_TREE: Final = 428
"""The same number on every architecture (scripts/syscall.tbl of Linux)."""

_OPEN_TREE_CLONE: Final = 1
_AT_FDCWD: Final = -100
_ROOT: Final = 1
"""The inode number of a mount's topmost directory (FUSE_ROOT_ID)."""

_INO64_GEN: Final = 0x81
"""FILEID_INO64_GEN (include/linux/exportfs.h): the kind of FUSE's handles."""

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class _Handle(ctypes.Structure):
    """What name_to_handle_at(2) gives of an inode of FUSE (fuse_encode_fh).

    Its number in two halves, and a generation, which is 0: numbers are never used again.
    """

    _fields_ = (
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("high", ctypes.c_uint32),
        ("low", ctypes.c_uint32),
        ("generation", ctypes.c_uint32),
    )


class MountGone(OSError):
    """Our mount is not at its mountpoint, or something lies over it."""


@dataclass(slots=True)
class _Copy:
    root: int
    until: float
    directories: dict[int, int] = field(default_factory=dict)
    """Descriptors by inode number."""

    def close(self) -> None:
        """Give it back."""
        for descriptor in (*self.directories.values(), self.root):
            os.close(descriptor)


class Copies:
    """The copy of the mount at ``mountpoint``, while it is used; of one `OwnMountThread`."""

    def __init__(self, mountpoint: Path, device: int) -> None:
        """``device``: the mount's st_dev."""
        self._mountpoint = os.fsencode(mountpoint)
        self._device = device
        self._copy: _Copy | None = None

    def directory(self, ino: int) -> int:
        """A directory of the copy, for a call that begins now.

        Raises:
            MountGone: there is no mount.
            OSError: there is no such directory, or this user may not copy a mount.
        """
        copy = self._copy
        if copy is None or time.monotonic() > copy.until:
            self.let_go()
            copy = self._copy = _Copy(self._open(), time.monotonic() + HELD_S)
        if ino not in copy.directories:
            copy.directories[ino] = _open_number(copy.root, ino)
        return copy.directories[ino]

    def let_go(self) -> None:
        """Give the copy back."""
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.close()

    def _open(self) -> int:
        flags = _OPEN_TREE_CLONE | os.O_CLOEXEC
        tree = _LIBC.syscall(
            _OPEN_TREE, _AT_FDCWD, ctypes.c_char_p(self._mountpoint), ctypes.c_uint(flags)
        )
        if tree < 0:
            raise _error()
        try:
            if known_of(tree).device != self._device:
                raise MountGone(errno.ENOENT, "our mount is not at its mountpoint")
            return os.open(".", _DIRECTORY, dir_fd=tree)
        finally:
            os.close(tree)


class Reader:
    """Looks up and reads files of one mount; for one `OwnMountThread`.

    Raises from every method:
        MountGone: the mount is not there.
        OSError: the directory is gone; in `read` and `is_there` also, the file cannot be read.
    """

    def __init__(self, mountpoint: Path, device: int) -> None:
        """``device``: the mount's st_dev."""
        self._copies = Copies(mountpoint, device)

    def check(self) -> None:
        """Try whether this user may copy the mount."""
        try:
            self._copies.directory(_ROOT)
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Keep nothing of the mount open."""
        self._copies.let_go()

    def look_up(
        self, peer: Peer, directory: int, paths: Sequence[str]
    ) -> list[tuple[int, int] | None]:
        """The inode number of each path below a directory, and its length in bytes.

        None: it is no regular file that ``peer`` may read. ``directory`` is an inode number.
        """
        base = self._copies.directory(directory)
        with acting_as(peer):
            return [_found(base, path) for path in paths]

    def read(self, directory: int, path: str, ino: int, size: int) -> int | None:
        """Have the first ``size`` bytes of a file in memory, its attributes too.

        None: the path leads elsewhere by now.

        A page that is read twice is kept for long by the kernel (mm/workingset.c), so that what was
        read ahead and used would push out what is not used yet. So the job alone reads all pages:
        here the kernel is advised of them, and one of each request is read to wait for it.
        """
        with self._opened(directory, path, ino) as descriptor:
            if descriptor is None:
                return None
            at = 0
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # reads no more than is asked
            while at < size:
                starts = range(at, min(at + CHUNK, size), REQUEST)
                for start in starts:
                    length = min(REQUEST, size - start)
                    os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_WILLNEED)
                for start in starts:
                    end = min(start + REQUEST, size)
                    if not os.pread(descriptor, 1, end - 1):
                        return at  # it was truncated
                    at = end
            os.fstat(descriptor)
            return at

    def is_there(self, directory: int, path: str, ino: int, size: int) -> bool | None:
        """Whether all that was read is still in memory; None: it cannot be told."""
        with self._opened(directory, path, ino) as descriptor:
            if descriptor is None:
                return None
            return cached(descriptor, 0, size).is_warm

    @contextmanager
    def _opened(self, directory: int, path: str, ino: int) -> Iterator[int | None]:
        base = self._copies.directory(directory)
        descriptor = open_beneath(path, os.O_RDONLY, dir_fd=base, links=True)
        try:
            yield descriptor if os.fstat(descriptor).st_ino == ino else None
        finally:
            os.close(descriptor)


def _found(base: int, path: str) -> tuple[int, int] | None:
    try:
        descriptor = open_beneath(path, os.O_RDONLY, dir_fd=base, links=True)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_ino, status.st_size


def _open_number(root: int, ino: int) -> int:
    size = 3 * ctypes.sizeof(ctypes.c_uint32)
    handle = _Handle(size, _INO64_GEN, ino >> 32, ino & 0xFFFFFFFF, 0)
    descriptor: int = _LIBC.open_by_handle_at(root, ctypes.byref(handle), _DIRECTORY)
    if descriptor < 0:
        raise _error()
    return descriptor


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
