"""Rows to put into an index."""

from __future__ import annotations

import stat

from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode

FILE = stat.S_IFREG | 0o644

INSERT_INODES = f"INSERT INTO inode ({', '.join(Inode._fields[:17])})"
"""How SQL of a test puts rows into the table of inodes: columns that came later have defaults."""


def inode(
    ino: int,
    *,
    mode: int = FILE,
    nlink: int = 1,
    size: int = 0,
    prefix: int = 4096,
    parent: int = 1,
) -> Inode:
    """An inode, if not told otherwise of an empty file in the root."""
    return Inode(
        ino=ino,
        mode=mode,
        uid=0,
        gid=0,
        nlink=nlink,
        size=size,
        rdev=0,
        atime=0,
        mtime=0,
        ctime=0,
        prefix=prefix,
        version=0,
        parent=parent,
        target=None,
        sparse=0,
        mirrored=0,
    )


def add(index: Index, name: bytes, parent: int = 1) -> Inode:
    """Make a file under a new name."""
    with index.transaction():
        made = inode(index.new_serial(), parent=parent)
        index.inodes.insert(made)
        index.dentries.insert(parent, name, made.ino, index.new_serial())
    return made


def names(index: Index, parent: int = 1, cookie: int = 0) -> list[bytes]:
    """A listing from ``cookie`` on."""
    return [entry.name for entry in index.dentries.after(parent, cookie)]
