"""Attributes: stat, chmod, chown, utimens, and truncate in the same call, as FUSE sends them."""

from __future__ import annotations

import errno
from typing import NamedTuple

from tierfs.base.clock import Clock
from tierfs.base.errors import FsError
from tierfs.core import acl
from tierfs.core.data import Data
from tierfs.core.modes import with_permissions, without_set_id
from tierfs.index.index import Index
from tierfs.index.inodes import Inode

TIME_MAX = 2**63 - 1
TIME_MIN = -(2**63)


class Changes(NamedTuple):
    """What to set; None leaves it as it is. Times in nanoseconds since the epoch."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None


class Attributes:
    """Attributes by inode number.

    Raises from every method:
        FsError: ESTALE no such inode, and what truncation raises.
    """

    def __init__(self, index: Index, data: Data, clock: Clock) -> None:
        self._index = index
        self._data = data
        self._clock = clock

    def get(self, ino: int) -> Inode:
        """What stat(2) shows."""
        return self._index.inodes.get(ino)

    def readlink(self, ino: int) -> bytes:
        """The target of a symbolic link (readlink(2)); EINVAL for anything else."""
        target = self._index.inodes.get(ino).target
        if target is None:
            raise FsError(errno.EINVAL)
        return target

    def set(
        self, ino: int, changes: Changes, *, privileged: bool = True, wait: bool = True
    ) -> Inode:
        """Change attributes; whether the caller may, the kernel has checked.

        ``privileged``: the caller has CAP_FSETID, so truncation keeps set-user-ID.

        Raises:
            WouldBlock: truncation must wait, and ``wait`` is False.
        """
        if changes.size is not None:
            self._data.truncate(ino, changes.size, keep_set_id=privileged, wait=wait)
        with self._index.transaction():
            inode = _changed(self._index.inodes.get(ino), changes)
            inode = inode._replace(ctime=self._clock())
            self._index.inodes.update(inode)
            if changes.mode is not None:
                self._update_access_list(inode)
        return inode

    def _update_access_list(self, inode: Inode) -> None:
        stored = self._index.xattrs.find(inode.ino, acl.ACCESS)
        if stored is not None:
            self._index.xattrs.put(
                inode.ino, acl.ACCESS, acl.render(acl.after_chmod(acl.parse(stored), inode.mode))
            )


def _changed(inode: Inode, changes: Changes) -> Inode:
    if changes.uid is not None or changes.gid is not None:
        # chown(2) takes set-user-ID from everyone, root too.
        inode = inode._replace(
            uid=inode.uid if changes.uid is None else changes.uid,
            gid=inode.gid if changes.gid is None else changes.gid,
            mode=without_set_id(inode.mode),
        )
    if changes.mode is not None:
        inode = inode._replace(mode=with_permissions(inode.mode, changes.mode))
    return inode._replace(
        atime=inode.atime if changes.atime is None else _in_range(changes.atime),
        mtime=inode.mtime if changes.mtime is None else _in_range(changes.mtime),
    )


def _in_range(time: int) -> int:
    """Clamp a time to what the index holds, the years 1677 to 2262, as the kernel does for ext4."""
    return max(TIME_MIN, min(time, TIME_MAX))
