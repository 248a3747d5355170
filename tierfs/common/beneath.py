"""Opening what lies below a directory, by its descriptor: no symbolic link is followed.

A user who can write to a directory can put a link, a FIFO or a device in the place of a file. So a
path is resolved below a descriptor that is held since the mount, without links and without ``..``
(openat2(2), Linux 5.6), and no open waits: that of a FIFO would, for its other end.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY
"""Flags to list or sync a directory with."""

PATH_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY
"""Flags to open a directory with, only to open what lies in it."""

_PATH_ONLY: Final = os.O_PATH | os.O_NOFOLLOW
_ALWAYS: Final = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_MADE: Final = os.O_CREAT | os.O_EXCL
"""What is opened so is a new file."""

_TYPE: Final = 0o170000
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

_SYS_OPENAT2: Final = 437
"""The same number on every architecture (scripts/syscall.tbl of Linux)."""

_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_NO_LINKS: Final = _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH
_LINKS_BENEATH: Final = 0x01 | 0x02 | _RESOLVE_BENEATH
"""RESOLVE_NO_XDEV and RESOLVE_NO_MAGICLINKS: no other mount, and no link of /proc."""

_HOW: Final = ctypes.c_uint64 * 3
"""struct open_how of linux/openat2.h: flags, mode, resolve."""

# Converted here once: with ``argtypes`` a call takes half as long again.
_HOW_BYTES: Final = ctypes.c_size_t(ctypes.sizeof(_HOW))
_NUMBER: Final = ctypes.c_long(_SYS_OPENAT2)
_syscall: Final = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long

_NOT_A_FILE: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO})
"""What openat2 says of a link, of a directory or FIFO to be written, of a file on the way."""


class NotAFile(OSError):
    """A link, FIFO, directory or device is where a file or the way to it should be."""

    def __init__(self, path: str, number: int = errno.EINVAL) -> None:
        super().__init__(
            number, "is not a regular file, or a symbolic link is on the way to it", path
        )


def open_beneath(
    path: str, flags: int, mode: int = 0o600, *, dir_fd: int, links: bool = False
) -> int:
    """Open ``path`` below the directory ``dir_fd``, of whatever type; close-on-exec.

    ``links``: symbolic links are followed, on the same mount and below the directory; not before
    Linux 5.6.

    Raises:
        OSError: as open(2); ELOOP where a symbolic link is met, EXDEV where ``..`` leads out.
    """
    how = _how_by_links(flags) if links else _how(flags, mode)
    if how is None:
        return _walk(path, _completed(flags), mode, dir_fd)
    name = path.encode("utf-8", "surrogateescape")
    fd: int
    while (fd := _syscall(_NUMBER, dir_fd, name, how, _HOW_BYTES)) < 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:  # a signal, as after PEP 475
            raise OSError(number, os.strerror(number), path)
    return fd


def open_file(path: str, flags: int, mode: int = 0o600, *, dir_fd: int) -> int:
    """Open the regular file ``path`` below the directory ``dir_fd``.

    Raises:
        NotAFile: it is something else, or a symbolic link is on the way.
        OSError: as open(2).
    """
    return open_sized(path, flags, mode, dir_fd=dir_fd)[0]


def open_sized(path: str, flags: int, mode: int = 0o600, *, dir_fd: int) -> tuple[int, int, int]:
    """As ``open_file``; also the length in bytes and the link count, which cost nothing."""
    try:
        fd = open_beneath(path, flags, mode, dir_fd=dir_fd)
    except BlockingIOError:
        fd = _open_leased(path, flags, dir_fd)
    except OSError as exc:
        if exc.errno in _NOT_A_FILE:
            raise NotAFile(path, exc.errno) from None
        raise
    if flags & _MADE == _MADE:
        return fd, 0, 1
    status = os.fstat(fd)
    if status.st_mode & _TYPE != stat.S_IFREG:
        os.close(fd)
        raise NotAFile(path)
    return fd, status.st_size, status.st_nlink


def make_private(descriptor: int) -> None:
    """Deny a file of ours to all other users: a process that can open it can also lock it.

    One that belongs to somebody else, or is on a read-only filesystem, stays as it is.
    """
    status = os.fstat(descriptor)
    if status.st_mode & _OTHERS and status.st_uid == os.geteuid():
        try:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~_OTHERS)
        except OSError as exc:
            if exc.errno != errno.EROFS:
                raise


def stat_beneath(path: str, *, dir_fd: int) -> os.stat_result:
    """What fstat(2) says of ``path``; of a symbolic link at its end, of the link itself.

    Raises:
        OSError: as open(2).
    """
    fd = open_beneath(path, _PATH_ONLY, dir_fd=dir_fd)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def mkdir_beneath(path: str, mode: int, *, dir_fd: int) -> None:
    """mkdir(2) below a directory."""
    with parent_beneath(path, dir_fd=dir_fd) as (parent, name):
        os.mkdir(name, mode, dir_fd=parent)


@contextmanager
def parent_beneath(path: str, *, dir_fd: int) -> Iterator[tuple[int, str]]:
    """The directory of ``path`` as a descriptor (O_PATH), and the last name.

    Raises:
        OSError: as open(2).
    """
    above, _, name = path.rpartition("/")
    fd = open_beneath(above or ".", PATH_DIRECTORY, dir_fd=dir_fd)
    try:
        yield fd, name
    finally:
        os.close(fd)


def _open_leased(path: str, flags: int, dir_fd: int) -> int:
    """Open a file whose lease another program holds (F_SETLEASE): the kernel makes it let go.

    Waiting is safe only once it is known to be a file, so the very inode that was looked at is
    opened, through /proc.
    """
    found = open_beneath(path, _PATH_ONLY, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise NotAFile(path)
        return os.open(f"/proc/self/fd/{found}", flags | os.O_CLOEXEC)
    finally:
        os.close(found)


def _completed(flags: int) -> int:
    return flags | (os.O_CLOEXEC if flags & os.O_PATH else _ALWAYS)


@cache
def _how(flags: int, mode: int) -> object | None:
    """A pointer to the argument of openat2, made once for the few flags; None: no such call."""
    if not _has_openat2():
        return None
    return ctypes.byref(_HOW(_completed(flags), mode if flags & os.O_CREAT else 0, _NO_LINKS))


@cache
def _how_by_links(flags: int) -> object | None:
    """The same for a file that is there, where symbolic links are followed."""
    return ctypes.byref(_HOW(_completed(flags), 0, _LINKS_BENEATH)) if _has_openat2() else None


def _has_openat2() -> bool:
    """Not before Linux 5.6, nor below an old seccomp filter."""
    how = _HOW(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_NO_SYMLINKS)
    fd = _syscall(_NUMBER, 0, b"/", ctypes.byref(how), _HOW_BYTES)
    if fd < 0:
        return False
    os.close(fd)
    return True


def _walk(path: str, flags: int, mode: int, dir_fd: int) -> int:
    """As openat2 does, one directory after the other."""
    *above, name = path.split("/")
    if ".." in above or name == ".." or path.startswith("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    at = dir_fd
    try:
        for directory in above:
            below = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            if at != dir_fd:
                os.close(at)
            at = below
        return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=at)
    finally:
        if at != dir_fd:
            os.close(at)
