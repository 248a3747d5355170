"""Attributes: stat, chmod, chown, utimens, and truncate in the same call, as FUSE sends them.

Also what statvfs(3) shows.
"""

from __future__ import annotations

import errno
import stat
from typing import NamedTuple

from tierfs.common.errors import FsError
from tierfs.common.extents import SECTOR, whole_blocks
from tierfs.common.times import Clock, nearest
from tierfs.fs import acl
from tierfs.fs.data import Data
from tierfs.fs.locks import WouldBlock
from tierfs.fs.permissions import PERMISSIONS, PRIVILEGED, Caller, set_by, without_set_id
from tierfs.fs.tiers import Tiers
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Columns, Inode


class Changes(NamedTuple):
    """What to set; None leaves it as it is. Times in nanoseconds since the epoch."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None


class StatFs(NamedTuple):
    """What statvfs(3) shows: blocks of BLOCK bytes, and inodes, of the disk tier.

    It alone can be full: without room or inodes on flash, a file is on disk.
    """

    blocks: int
    blocks_free: int
    blocks_available: int
    files: int
    files_free: int
    name_max: int


_NOTHING = Changes()


class Attributes:
    """Attributes by inode number.

    Raises from every method:
        FsError: ESTALE no such inode, and what truncation raises.
    """

    def __init__(self, index: Index, tiers: Tiers, data: Data, clock: Clock) -> None:
        self._index = index
        self._tiers = tiers
        self._data = data
        self._clock = clock

    def get(self, ino: int) -> Inode:
        """What stat(2) shows."""
        return self._index.inodes.get(ino)

    def blocks(self, ino: int, *, wait: bool) -> int:
        """What stat(2) shows as st_blocks, in units of 512 bytes.

        Raises:
            WouldBlock: the file may have a hole, so both tiers are asked, and ``wait`` is False.
            OSError: a call on a backing directory failed.
        """
        inode = self.get(ino)
        if not inode.sparse:
            return blocks_of(inode)
        if not wait:
            raise WouldBlock
        return min(blocks_of(inode), -(-self._tiers.allocated(inode) // SECTOR))

    def readlink(self, ino: int) -> bytes:
        """The target of a symbolic link (readlink(2)); EINVAL for anything else."""
        target = self._index.inodes.get(ino).target
        if target is None:
            raise FsError(errno.EINVAL)
        return target

    def set(
        self, ino: int, changes: Changes, *, caller: Caller = PRIVILEGED, wait: bool = True
    ) -> Inode:
        """Change attributes; the kernel has checked that the caller may.

        The kernel sends a SETATTR without a change before a write by a ``caller`` that may not keep
        set-user-ID, and for a chown(2) that changes neither owner nor group.

        Raises:
            WouldBlock: truncation must wait, and ``wait`` is False.
        """
        if changes.size is not None:
            self._data.truncate(ino, changes.size, caller=caller, wait=wait)
            if changes == Changes(size=changes.size):
                return self.get(ino)  # both times are marked, with one and the same moment
        if self._index.inodes.unreconciled:
            self._index.inodes.get(ino)  # reconciled now: inside a transaction it is not
        with self._index.transaction():
            row = self._index.inodes.find_within(ino)
            columns = _columns(row, changes, caller)
            columns["ctime"] = self._clock()
            inode = self._index.inodes.change(row, **columns)
            if changes.mode is not None:
                stored = self._index.xattrs.find_within(ino, acl.ACCESS)
                if stored is not None:
                    changed = acl.after_chmod(acl.parse(stored), inode.mode)
                    self._index.xattrs.put(ino, acl.ACCESS, acl.render(changed))
        return inode


def blocks_of(inode: Inode) -> int:
    """st_blocks, in units of 512 bytes, of an inode without holes; 0 for special files."""
    if stat.S_ISREG(inode.mode) or stat.S_ISDIR(inode.mode):
        return whole_blocks(inode.size) // SECTOR
    return 0


def _columns(inode: Inode, changes: Changes, caller: Caller) -> Columns:
    """The columns that change, without the ctime."""
    columns: Columns = {}
    mode, uid, gid, _, atime, mtime = changes
    if mode is not None:
        mode = stat.S_IFMT(inode.mode) | mode & PERMISSIONS
        # The kernel has done so, but not where it took set-user-ID away itself (fuse_setattr).
        columns["mode"] = mode if stat.S_ISDIR(mode) else set_by(mode, inode.gid, caller)
    elif uid is not None or gid is not None or changes == _NOTHING:
        # chown(2) takes set-user-ID from everyone, root too.
        columns["mode"] = without_set_id(inode.mode, inode.gid, caller)
    if uid is not None:
        columns["uid"] = uid
    if gid is not None:
        columns["gid"] = gid
    if atime is not None:
        columns["atime"] = nearest(atime)
    if mtime is not None:
        columns["mtime"] = nearest(mtime)
    return columns
