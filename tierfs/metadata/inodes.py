"""An inode: a row of the inode table, as the layers above the index use it."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypedDict, cast

from tierfs.common.errors import IndexFailed
from tierfs.common.times import LIMIT, from_stored, to_stored

ROOT = 1
"""Inode number of the root directory (FUSE_ROOT_ID)."""

DIRECTORY_SIZE = 4096
"""Bytes that stat(2) shows of every directory, as of a small one of ext4."""


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
    sparse: int
    mirrored: int
    btime: int = 0
    """0: not known."""
    adopted: int = 0


class Columns(TypedDict, total=False):
    """What ``InodeTable.change`` writes."""

    mode: int
    uid: int
    gid: int
    nlink: int
    size: int
    atime: int
    mtime: int
    ctime: int
    prefix: int
    version: int
    parent: int
    sparse: int
    mirrored: int
    adopted: int


_pack = struct.Struct(f"={len(Inode._fields) - 1}q").pack
"""Fails where one of the numbers is none that SQLite stores as a whole one."""

_TARGET = Inode._fields.index("target")
"""The only column that is not a number."""

COLUMNS = ", ".join(Inode._fields)
make_inode = cast("Callable[[Sequence[Any]], Inode]", partial(tuple.__new__, Inode))
"""As ``Inode._make``, in half the time."""


def inode_of(row: Sequence[Any]) -> Inode:
    """The record of a row of the table.

    Raises:
        IndexFailed: the row is damaged: not all of its numbers are whole.
    """
    try:
        _pack(*row[:_TARGET], *row[_TARGET + 1 :])  # a quarter of a microsecond
    except struct.error:
        detail = f"metadata index: the row of inode {row[0]!r} is damaged: see tierfs fsck"
        raise IndexFailed(errno.EIO, detail) from None
    inode = make_inode(row)
    if inode.atime >= 0 <= inode.mtime:
        return inode
    return inode._replace(atime=from_stored(inode.atime), mtime=from_stored(inode.mtime))


def row_of(inode: Inode) -> Inode:
    """What the table holds; the times that utimensat(2) sets may need more than 64 bits."""
    if inode.atime < LIMIT > inode.mtime:
        return inode
    return inode._replace(atime=to_stored(inode.atime), mtime=to_stored(inode.mtime))
