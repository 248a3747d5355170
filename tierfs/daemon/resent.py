"""Requests of a resend: after a takeover the kernel sends again what has no reply yet.

The earlier daemon may have committed the change of such a request without a reply. Most can be
carried out a second time: a WRITE or a SETATTR of a file, whose lock the kernel holds, so that no
other change came in between. For the others there are two ways to know that the change was made:

* The kernel holds the lock of a directory while one of its names changes, and it knows the names:
  it creates only a name that is free, and removes only one that exists. All changes of names pass
  through this kernel. So if the name exists already, or exists no longer, the first try did it.
* RENAME_EXCHANGE, XATTR_CREATE and REMOVEXATTR leave no such trace: the transaction of the change
  has a row with the number of the request (``AnsweredRequests``).
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable

from tierfs.common.errors import FsError
from tierfs.daemon.operations import Caller, Operations
from tierfs.fs.filesystem import FileSystem
from tierfs.fs.namespace import EXCHANGE, WHITEOUT, WHITEOUT_MODE
from tierfs.fs.xattrs import XATTR_CREATE
from tierfs.metadata.inodes import Inode

RESENT = 1 << 63
"""The bit in the number of a request that was sent before (FUSE_UNIQUE_RESEND, linux/fuse.h)."""


class SupervisedOperations(Operations):
    """``Operations`` of a daemon from which another may take over."""

    def supervise(self, fs: FileSystem, unique: Callable[[], int]) -> None:
        """``unique``: the number of the request that the calling thread serves; 0: none."""
        self._fs = fs
        self._unique = unique

    def rename2(
        self,
        parent: int,
        new_parent: int,
        flags: int,
        name: bytes,
        new_name: bytes,
        *,
        caller: Caller,
    ) -> None:
        """RENAME2."""
        words = parent, new_parent, flags, name, new_name
        if flags != EXCHANGE:
            super().rename2(*words, caller=caller)
            return
        with self._fs.once(self._unique() & ~RESENT) as first:
            if first:
                super().rename2(*words, caller=caller)

    def setxattr(self, ino: int, flags: int, name: bytes, value: bytes, *, caller: Caller) -> None:
        """SETXATTR."""
        if not flags & XATTR_CREATE:
            super().setxattr(ino, flags, name, value, caller=caller)
            return
        with self._fs.once(self._unique() & ~RESENT) as first:
            if first:
                super().setxattr(ino, flags, name, value, caller=caller)

    def removexattr(self, ino: int, name: bytes, *, caller: Caller) -> None:
        """REMOVEXATTR."""
        with self._fs.once(self._unique() & ~RESENT) as first:
            if first:
                super().removexattr(ino, name, caller=caller)


class TakenOverOperations(SupervisedOperations):
    """The same of a daemon that has taken over, and gets some requests again."""

    def supervise(self, fs: FileSystem, unique: Callable[[], int]) -> None:
        """See ``SupervisedOperations``."""
        super().supervise(fs, unique)
        self.unlink = self._unlink
        self.rmdir = self._rmdir

    def mknod(
        self, parent: int, mode: int, rdev: int, umask: int, name: bytes, *, caller: Caller
    ) -> Inode:
        """MKNOD."""
        made = self._made(parent, name, lambda found: stat.S_IFMT(found.mode) == stat.S_IFMT(mode))
        return made or super().mknod(parent, mode, rdev, umask, name, caller=caller)

    def mkdir(self, parent: int, mode: int, umask: int, name: bytes, *, caller: Caller) -> Inode:
        """MKDIR."""
        made = self._made(parent, name, lambda found: stat.S_ISDIR(found.mode))
        return made or super().mkdir(parent, mode, umask, name, caller=caller)

    def symlink(self, parent: int, name: bytes, target: bytes, *, caller: Caller) -> Inode:
        """SYMLINK."""
        made = self._made(parent, name, lambda found: found.target == target)
        return made or super().symlink(parent, name, target, caller=caller)

    def link(self, parent: int, ino: int, name: bytes) -> Inode:
        """LINK."""
        made = self._made(parent, name, lambda found: found.ino == ino)
        return made or super().link(parent, ino, name)

    def rename2(
        self,
        parent: int,
        new_parent: int,
        flags: int,
        name: bytes,
        new_name: bytes,
        *,
        caller: Caller,
    ) -> None:
        """RENAME2."""
        if flags & WHITEOUT and self._is_resent():
            left = self._found(parent, name)
            if left is not None and (left.mode, left.rdev) == (WHITEOUT_MODE, 0):
                return
        try:
            super().rename2(parent, new_parent, flags, name, new_name, caller=caller)
        except FsError as exc:
            if flags == EXCHANGE:
                raise
            self._require_gone(exc)

    def _unlink(self, parent: int, name: bytes) -> None:
        try:
            self._fs.names.unlink(parent, name)
        except FsError as exc:
            self._require_gone(exc)

    def _rmdir(self, parent: int, name: bytes) -> None:
        try:
            self._fs.names.rmdir(parent, name)
        except FsError as exc:
            self._require_gone(exc)

    def _is_resent(self) -> bool:
        return bool(self._unique() & RESENT)

    def _found(self, parent: int, name: bytes) -> Inode | None:
        try:
            found = self._fs.names.lookup(parent, name)
        except FsError as exc:
            if exc.errno != errno.ENOENT:
                raise
            return None
        self._fs.names.forget(found.ino)
        return found

    def _made(self, parent: int, name: bytes, is_it: Callable[[Inode], bool]) -> Inode | None:
        """What the first try of this request made; None: it is the first, or made nothing."""
        if not self._is_resent():
            return None
        found = self._found(parent, name)
        if found is None or not is_it(found):
            return None
        return self._fs.names.lookup(parent, name)

    def _require_gone(self, exc: FsError) -> None:
        """Raise ``exc``, unless it is that a name is gone which the first try removed."""
        if exc.errno != errno.ENOENT or not self._is_resent():
            raise exc
