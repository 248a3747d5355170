"""Between the core's records and pyfuse3's. Pure."""

from __future__ import annotations

import pyfuse3

from tierfs.common.extents import BLOCK
from tierfs.fs.attributes import Changes, blocks_of
from tierfs.fs.filesystem import StatFs
from tierfs.metadata.inodes import Inode

VALID_S = 86400.0
"""Seconds for which the kernel may trust what it was told: every change passes through it."""

COUNTED_VALID_S = 1.0
"""Seconds for blocks that were counted in the objects: the filesystems below change them too."""

IO_SIZE = 128 * 1024
"""st_blksize: what cp and cat take as their buffer."""


def entry_attributes(inode: Inode, blocks: int | None = None) -> pyfuse3.EntryAttributes:
    """What stat(2) shows of an inode.

    How many blocks a file with a hole takes, only GETATTR tells, which passes ``blocks``: any other
    reply makes the kernel send it before it shows the attributes.
    """
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = inode.ino
    entry.generation = 0  # inode numbers are never reused
    entry.entry_timeout = entry.attr_timeout = VALID_S
    entry.st_mode = inode.mode
    entry.st_nlink = inode.nlink
    entry.st_uid = inode.uid
    entry.st_gid = inode.gid
    entry.st_rdev = inode.rdev
    entry.st_size = inode.size
    entry.st_blksize = IO_SIZE
    entry.st_blocks = blocks_of(inode)
    if inode.sparse:
        entry.attr_timeout = 0 if blocks is None else COUNTED_VALID_S
        entry.st_blocks = entry.st_blocks if blocks is None else blocks
    entry.st_atime_ns = inode.atime
    entry.st_mtime_ns = inode.mtime
    entry.st_ctime_ns = inode.ctime
    return entry


def absent() -> pyfuse3.EntryAttributes:
    """There is no such name, and the kernel may remember that."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = 0
    entry.entry_timeout = VALID_S
    return entry


def changes(attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields) -> Changes:
    """What SETATTR asks for."""
    return Changes(
        mode=attr.st_mode if fields.update_mode else None,
        uid=attr.st_uid if fields.update_uid else None,
        gid=attr.st_gid if fields.update_gid else None,
        size=attr.st_size if fields.update_size else None,
        atime=attr.st_atime_ns if fields.update_atime else None,
        # With a size comes the present, which truncation marks by itself.
        mtime=attr.st_mtime_ns if fields.update_mtime and not fields.update_size else None,
    )


def statvfs_data(room: StatFs) -> pyfuse3.StatvfsData:
    """What statvfs(3) shows."""
    data = pyfuse3.StatvfsData()
    data.f_bsize = data.f_frsize = BLOCK
    data.f_blocks = room.blocks
    data.f_bfree = room.blocks_free
    data.f_bavail = room.blocks_available
    data.f_files = room.files
    data.f_ffree = data.f_favail = room.files_free
    data.f_namemax = room.name_max
    return data
