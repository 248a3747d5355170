"""Extended attributes: those that are stored; the virtual ones are in ``virtual_xattrs.py``."""

from __future__ import annotations

import errno
import stat
import uuid

from tierfs.common.errors import FsError
from tierfs.common.times import Clock
from tierfs.fs import acl
from tierfs.fs.callers import PRIVILEGED, Caller
from tierfs.fs.modes import set_by
from tierfs.fs.virtual_xattrs import VIRTUAL, VirtualAttributes
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode

VALUE_MAX = 65536
"""Bytes of a value (XATTR_SIZE_MAX, limits.h)."""

COMPARED = 2048
"""Bytes of the largest value that is compared with the one it replaces: ext4 compares none that it
has put into an inode of its own (ext4_xattr_value_same)."""

TRUSTED = b"trusted."
NAMESPACES = (b"user.", TRUSTED, b"security.")
XATTR_CREATE = 1
XATTR_REPLACE = 2


class ExtendedAttributes:
    """Attributes by inode number and full name (xattr(7)).

    Raises from every method:
        FsError: ENODATA no such attribute, EOPNOTSUPP no such namespace, EINVAL nothing behind
            it, ESTALE no such inode.
    """

    def __init__(self, index: Index, volume: uuid.UUID, head: int, clock: Clock) -> None:
        self._index = index
        self.virtual = VirtualAttributes(index, volume, head, clock)
        self._clock = clock
        self._touch = index.inodes.changer("ctime")

    def get(self, ino: int, name: bytes) -> bytes:
        """The value (getxattr(2))."""
        _check_known(name)
        value = self._find(ino, name)
        if value is None:
            raise FsError(errno.ENODATA)
        return value

    def names(self, ino: int, caller: Caller = PRIVILEGED) -> list[bytes]:
        """The names stored (listxattr(2)); ``trusted.`` is for those who administer."""
        names = self._index.xattrs.names(ino)
        public = [name for name in names if not name.startswith(TRUSTED)]
        return names if len(public) == len(names) or caller.administers() else public

    def set(
        self,
        ino: int,
        name: bytes,
        value: bytes,
        flags: int = 0,
        *,
        caller: Caller = PRIVILEGED,
    ) -> None:
        """Set a value; ``flags``: 0, XATTR_CREATE (or EEXIST), XATTR_REPLACE (or ENODATA).

        Raises:
            FsError: E2BIG too long; of a virtual attribute see ``VirtualAttributes.set``.
        """
        _check_known(name)
        if len(value) > VALUE_MAX:
            raise FsError(errno.E2BIG)
        with self._index.transaction():
            inode = self._index.inodes.present(ino)
            self._check_flags(ino, name, flags)
            if name.startswith(VIRTUAL):
                self.virtual.set(ino, name, value, caller)
            elif name in acl.NAMES:
                self._set_acl(inode, name, value, caller)
            elif self._store(ino, name, value):
                self._touch(inode, self._clock())

    def remove(self, ino: int, name: bytes, *, caller: Caller = PRIVILEGED) -> None:
        """Remove a value (removexattr(2)).

        Raises:
            FsError: of a virtual attribute see ``VirtualAttributes.set``.
        """
        _check_known(name)
        with self._index.transaction():
            inode = self._index.inodes.present(ino)
            if name.startswith(VIRTUAL):
                removed = self.virtual.remove(ino, name, caller)
            elif removed := self._index.xattrs.delete(ino, name):
                self._touch(inode, self._clock())
        if not removed and name not in acl.NAMES:
            raise FsError(errno.ENODATA)

    def _find(self, ino: int, name: bytes) -> bytes | None:
        if name.startswith(VIRTUAL):
            return self.virtual.find(ino, name)
        return self._index.xattrs.find(ino, name)

    def _check_flags(self, ino: int, name: bytes, flags: int) -> None:
        if flags:
            exists = self._find(ino, name) is not None
            if flags & XATTR_CREATE and exists:
                raise FsError(errno.EEXIST)
            if flags & XATTR_REPLACE and not exists:
                raise FsError(errno.ENODATA)

    def _set_acl(self, inode: Inode, name: bytes, value: bytes, caller: Caller) -> None:
        """Store an access control list; an access list also sets the mode."""
        entries = acl.parse(value)
        if name == acl.DEFAULT and not stat.S_ISDIR(inode.mode):
            raise FsError(errno.EACCES)
        mode = inode.mode
        if name == acl.ACCESS:
            mode = set_by(acl.mode_of(entries, mode), inode.gid, caller)
        said_by_mode = name == acl.ACCESS and acl.is_minimal(entries)
        if self._store(inode.ino, name, None if said_by_mode else value) or mode != inode.mode:
            self._index.inodes.change(inode, mode=mode, ctime=self._clock())

    def _store(self, ino: int, name: bytes, value: bytes | None) -> bool:
        """Store or, if None, delete; False when nothing changed: then ctime stays, as on ext4."""
        small = value is None or len(value) <= COMPARED
        if small and self._index.xattrs.present(ino, name) == value:
            return False
        if value is None:
            return self._index.xattrs.delete(ino, name)
        self._index.xattrs.put(ino, name, value)
        return True


def _check_known(name: bytes) -> None:
    if name in NAMESPACES:
        raise FsError(errno.EINVAL)
    if not name.startswith((*NAMESPACES, VIRTUAL)) and name not in acl.NAMES:
        raise FsError(errno.EOPNOTSUPP)
