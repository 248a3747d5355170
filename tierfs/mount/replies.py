"""Between the core's records and pyfuse3's. Pure."""

from __future__ import annotations

import stat

import pyfuse3

from tierfs.core.attributes import Changes
from tierfs.core.filesystem import BLOCK, StatFs
from tierfs.core.names import Owner
from tierfs.index.inodes import Inode

VALID_S = 86400.0
"""Seconds for which the kernel may trust what it was told: every change passes through it."""

IO_SIZE = 128 * 1024
"""st_blksize: what cp and cat take as their buffer."""

SECTOR = 512


def entry_attributes(inode: Inode) -> pyfuse3.EntryAttributes:
    """What stat(2) shows of an inode."""
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
    entry.st_blocks = blocks(inode)
    entry.st_atime_ns = inode.atime
    entry.st_mtime_ns = inode.mtime
    entry.st_ctime_ns = inode.ctime
    return entry


def blocks(inode: Inode) -> int:
    """st_blocks, in units of 512 bytes, as if the file had no hole; symbolic links take none."""
    if stat.S_ISREG(inode.mode) or stat.S_ISDIR(inode.mode):
        return -(-inode.size // BLOCK) * (BLOCK // SECTOR)
    return 0


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


def owner(ctx: pyfuse3.RequestContext) -> Owner:
    """Whom an inode made by this request belongs to."""
    return Owner(ctx.uid, ctx.gid)


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
