"""The inode table, with a bounded cache in front of it."""

from __future__ import annotations

import errno
from collections import OrderedDict
from typing import NamedTuple

from tierfs.base.errors import FsError
from tierfs.index.database import Database

ROOT = 1
"""Inode number of the root directory (FUSE_ROOT_ID)."""


class Inode(NamedTuple):
    """A row of the inode table; the columns are explained in ``schema.py``. Times in ns."""

    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    size: int
    rdev: int
    atime: int
    mtime: int
    ctime: int
    prefix: int
    version: int
    parent: int
    target: bytes | None


_COLUMNS = ", ".join(Inode._fields)
_SELECT = f"SELECT {_COLUMNS} FROM inode WHERE ino = ?"  # noqa: S608 - column names of our own
_INSERT = f"INSERT INTO inode ({_COLUMNS}) VALUES ({', '.join('?' * len(Inode._fields))})"  # noqa: S608
_UPDATE = (
    "UPDATE inode SET mode = ?, uid = ?, gid = ?, nlink = ?, size = ?, atime = ?, mtime = ?, "
    "ctime = ?, prefix = ?, version = ?, parent = ? WHERE ino = ?"
)


class Inodes:
    """Inodes by number. What is written is cached only until the transaction rolls back."""

    def __init__(self, database: Database, cache_entries: int) -> None:
        self._database = database
        self._limit = cache_entries
        self._cache: OrderedDict[int, Inode] = OrderedDict()

    def find(self, ino: int) -> Inode | None:
        """The inode, or None."""
        with self._database.lock:  # neither an uncommitted row nor one that just became old
            inode = self._cache.get(ino)
            if inode is None:
                row = self._database.row(_SELECT, ino)
                inode = None if row is None else self.remember(Inode._make(row))
            return inode

    def get(self, ino: int) -> Inode:
        """The inode.

        Raises:
            FsError: ESTALE, there is none: the caller holds a number from another time.
        """
        inode = self.find(ino)
        if inode is None:
            raise FsError(errno.ESTALE)
        return inode

    def remember(self, inode: Inode) -> Inode:
        """Keep a row, under the database's lock; beyond the limit the oldest goes."""
        self._cache[inode.ino] = inode
        if len(self._cache) > self._limit:
            self._cache.popitem(last=False)
        return inode

    def insert(self, inode: Inode) -> None:
        """Add a row; inside a transaction."""
        self._database.execute(_INSERT, *inode)
        self.remember(inode)

    def update(self, inode: Inode) -> None:
        """Write back a changed row; inside a transaction."""
        ino, mode, uid, gid, nlink, size, _, atime, mtime, ctime, prefix, version, parent, _ = inode
        self._database.execute(
            _UPDATE, mode, uid, gid, nlink, size, atime, mtime, ctime, prefix, version, parent, ino
        )
        self.remember(inode)

    def delete(self, ino: int) -> None:
        """Remove a row; inside a transaction."""
        self._database.execute("DELETE FROM inode WHERE ino = ?", ino)
        self._cache.pop(ino, None)

    def orphans(self) -> list[int]:
        """The numbers of all unlinked inodes."""
        return [ino for (ino,) in self._database.rows("SELECT ino FROM inode WHERE nlink = 0")]

    def forget_cached(self) -> None:
        """Drop the cache: a transaction rolled back."""
        self._cache.clear()
