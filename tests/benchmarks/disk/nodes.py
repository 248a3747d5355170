"""Calls on the backing directory by inode number. Knows no FUSE type.

Every inode that the kernel knows is held by a descriptor of O_PATH (open(2)), so that it can be
reached after a rename and after its last name is gone. The number is that of the backing
filesystem, but for the root, which FUSE wants to be 1.

Raises from everything here:
    OSError: the call on the backing directory failed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = 1
RENAME_EXCHANGE: Final = 2
"""Of renameat2(2): nothing is replaced."""
NR_OPEN: Final = Path("/proc/sys/fs/nr_open")
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class _Node:
    fd: int
    references: int
    """How often the kernel was told of it, less what it has forgotten."""


class Nodes:
    """The inodes that the kernel knows. Close it in the end."""

    def __init__(self, backing: Path, forgotten: Callable[[int], None]) -> None:
        """``forgotten`` is told of an inode whose last name and last user are gone."""
        self._forgotten = forgotten
        self._nodes = {ROOT: _Node(os.open(backing, os.O_PATH | os.O_DIRECTORY), 1)}
        self._device = os.fstat(self.fd(ROOT)).st_dev

    def close(self) -> None:
        """Let go of every inode."""
        for node in self._nodes.values():
            os.close(node.fd)
        self._nodes.clear()

    def fd(self, ino: int) -> int:
        """A descriptor that names the inode, but cannot be read or written."""
        return self._nodes[ino].fd

    def path(self, ino: int) -> str:
        """A name for calls that take no descriptor; it leads to the inode itself (proc(5))."""
        return f"/proc/self/fd/{self.fd(ino)}"

    def stat(self, ino: int) -> os.stat_result:
        """fstat(2)."""
        return os.fstat(self.fd(ino))

    def number(self, found: os.stat_result) -> int:
        """The number by which the kernel knows the inode."""
        return ROOT if found.st_ino == self.stat(ROOT).st_ino else found.st_ino

    def look_up(self, parent: int, name: bytes) -> os.stat_result:
        """The inode of that name, which the kernel now knows once more."""
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self.fd(parent))
        found = os.fstat(fd)
        node = self._nodes.get(self.number(found))
        if found.st_dev != self._device:
            os.close(fd)
            raise OSError(errno.EXDEV, "a mount below the backing directory", name)
        if node is not None:
            os.close(fd)
            node.references += 1
        else:
            self._nodes[found.st_ino] = _Node(fd, 1)
        return found

    def forget(self, ino: int, count: int) -> None:
        """The kernel knows the inode ``count`` times less."""
        node = self._nodes.get(ino)
        if node is None or ino == ROOT:
            return
        node.references -= count
        if node.references <= 0:
            if os.fstat(node.fd).st_nlink == 0:
                self._forgotten(ino)
            os.close(self._nodes.pop(ino).fd)

    def unlink(self, parent: int, name: bytes) -> None:
        """Take a name away (unlink(2))."""
        fd = self.fd(parent)
        gone = os.stat(name, dir_fd=fd, follow_symlinks=False)
        os.unlink(name, dir_fd=fd)
        self._lost_name(gone)

    def rename(self, old: tuple[int, bytes], new: tuple[int, bytes], flags: int) -> None:
        """renameat2(2), which Python does not offer."""
        (old_parent, old_name), (new_parent, new_name) = old, new
        replaced = None
        with suppress(FileNotFoundError):
            replaced = os.stat(new_name, dir_fd=self.fd(new_parent), follow_symlinks=False)
        done = _LIBC.renameat2(
            self.fd(old_parent), old_name, self.fd(new_parent), new_name, ctypes.c_uint(flags)
        )
        if done != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        if replaced is not None and not flags & RENAME_EXCHANGE:
            self._lost_name(replaced)

    def chmod(self, ino: int, mode: int) -> None:
        """Set the permission bits of ``mode`` (chmod(2))."""
        Path(self.path(ino)).chmod(stat.S_IMODE(mode))

    def own(self, parent: int, name: bytes, uid: int, gid: int) -> None:
        """Give a new inode to its maker; a set-group-ID directory keeps the group (inode(7))."""
        inherits = self.stat(parent).st_mode & stat.S_ISGID
        group = -1 if inherits else gid
        if (uid, gid) != (os.geteuid(), os.getegid()):
            os.chown(name, uid, group, dir_fd=self.fd(parent), follow_symlinks=False)

    def _lost_name(self, before: os.stat_result) -> None:
        """A file without names that the kernel does not know is gone for good."""
        if before.st_nlink == 1 and self.number(before) not in self._nodes:
            self._forgotten(before.st_ino)


def allow_many_files() -> int:
    """Raise the limit of open files as far as it goes (getrlimit(2)); returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (int(NR_OPEN.read_text()), hard):
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
            break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
