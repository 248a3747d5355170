"""The system calls of a store, each with its label, and the descriptors that they return."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tierfs.common.beneath import (
    mkdir_beneath,
    open_beneath,
    open_sized,
    parent_beneath,
    stat_beneath,
)
from tierfs.common.osio import Os
from tierfs.common.ranges import NO_CLONE, clone_range, copy_data, data_ranges
from tierfs.common.sync import sync_data, sync_file, sync_filesystem
from tierfs.storage.write_buffer import PipedBuffer

P = ParamSpec("P")
T = TypeVar("T")


class Calls:
    """The labelled calls of the store ``name``: ``flash.pwrite`` and the like."""

    def __init__(self, name: str, os_: Os) -> None:
        def labelled(call: str, function: Callable[P, T]) -> Callable[P, T]:
            return os_.bound(f"{name}.{call}", function)

        self.other = os_.call
        self.open = labelled("open", open_sized)
        self.open_directory = labelled("open", open_beneath)
        self.open_parent = labelled("open_parent", os.open)
        self.open_group = labelled("open_group", open_beneath)
        self.pread = labelled("pread", os.pread)
        self.fadvise = labelled("fadvise", os.posix_fadvise)
        self.pwrite = labelled("pwrite", os.pwrite)
        self.pwritev = labelled("pwrite", os.pwritev)
        self.splice = labelled("pwrite", _splice)
        self.ftruncate = labelled("ftruncate", os.ftruncate)
        self.utime = labelled("utime", os.utime)
        self.fdatasync = labelled("fdatasync", sync_data)
        self.fsync_directory = labelled("fsync_directory", sync_file)
        self.unlink = labelled("unlink", os.unlink)
        self.link = labelled("link", os.link)
        self.rename = labelled("rename", os.rename)
        self.copy = labelled("copy", _copy_whole)
        self.stat = labelled("stat", stat_beneath)
        self.lstat = labelled("lstat", os.lstat)
        self.listxattr = labelled("listxattr", os.listxattr)
        self.fstat = labelled("stat", os.fstat)
        self.pieces = labelled("lseek", _pieces)
        self.mkdir = labelled("mkdir", mkdir_beneath)
        self.mkdir_root = labelled("mkdir", os.mkdir)
        self.rmdir = labelled("rmdir", _rmdir)
        self.listdir = labelled("listdir", list_directory)
        self.statvfs = labelled("statvfs", os.fstatvfs)
        self.syncfs = labelled("syncfs", sync_filesystem)


def _splice(fd: int, data: PipedBuffer, offset: int) -> int:
    return data.splice(fd, offset)


def _copy_whole(source: int, target: int, length: int) -> None:
    """Make an empty file the first ``length`` bytes of another, by shared blocks if possible."""
    try:
        clone_range(target, 0, 0, source, 0)
    except OSError as exc:
        if exc.errno not in NO_CLONE:
            raise
        copy_data(source, target, length)
    os.ftruncate(target, length)


def _pieces(fd: int, start: int, end: int) -> list[tuple[int, int]]:
    return list(data_ranges(fd, start, end))


def _rmdir(path: str, root: int) -> None:
    with parent_beneath(path, dir_fd=root) as (above, name):
        os.rmdir(name, dir_fd=above)


def list_directory(fd: int) -> list[str]:
    """The names in a directory."""
    return os.listdir(fd)


class Descriptor:
    """An open descriptor, for a block; a generator would cost a microsecond more each time.

    ``length`` of a file when it was opened, in bytes, and how many names it had.
    """

    __slots__ = ("fd", "length", "links")

    def __init__(self, fd: int, length: int = 0, links: int = 1) -> None:
        self.fd = fd
        self.length = length
        self.links = links

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)
