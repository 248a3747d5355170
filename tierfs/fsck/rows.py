"""Which rows of the inode table are impossible; pure."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from tierfs.base.extents import MAX_FILE_SIZE, WHOLE_FILE
from tierfs.core.names import DIRECTORY_SIZE
from tierfs.index.inodes import Inode
from tierfs.policy.volume_file import HEAD_STEP

TYPES = frozenset(
    {
        stat.S_IFREG,
        stat.S_IFDIR,
        stat.S_IFLNK,
        stat.S_IFIFO,
        stat.S_IFSOCK,
        stat.S_IFBLK,
        stat.S_IFCHR,
    }
)
DEVICES = frozenset({stat.S_IFBLK, stat.S_IFCHR})
MODE_BITS = 0o177777
LARGEST_ID = 2**32 - 1
FLAGS = frozenset({0, 1})


def faults(inode: Inode) -> Iterator[str]:
    """What no inode can have, each as ``size -5``."""
    kind = stat.S_IFMT(inode.mode)
    if kind not in TYPES or inode.mode & ~MODE_BITS:
        yield f"mode {inode.mode:#o}"
    if not (0 <= inode.uid <= LARGEST_ID and 0 <= inode.gid <= LARGEST_ID):
        yield f"owner {inode.uid}:{inode.gid}"
    if inode.nlink < 0:
        yield f"link count {inode.nlink}"
    if inode.version < 0:
        yield f"data version {inode.version}"
    if inode.rdev and kind not in DEVICES:
        yield f"device number {inode.rdev}"
    yield from _size_faults(inode, kind)
    yield from _placement_faults(inode, kind)


def _size_faults(inode: Inode, kind: int) -> Iterator[str]:
    if not 0 <= inode.size <= MAX_FILE_SIZE:
        yield f"size {inode.size}"
    elif kind == stat.S_IFDIR and inode.size != DIRECTORY_SIZE:
        yield f"size {inode.size} of a directory"
    elif kind == stat.S_IFLNK and inode.size != len(inode.target or b""):
        yield f"size {inode.size} of a symbolic link of {len(inode.target or b'')} bytes"
    if (inode.target is None) == (kind == stat.S_IFLNK):
        yield "no target" if kind == stat.S_IFLNK else "the target of a symbolic link"


def _placement_faults(inode: Inode, kind: int) -> Iterator[str]:
    if inode.prefix < 0 or (inode.prefix % HEAD_STEP and inode.prefix != WHOLE_FILE):
        yield f"prefix {inode.prefix}"
    if inode.sparse not in FLAGS or (inode.sparse and (kind != stat.S_IFREG or not inode.size)):
        yield f"sparse {inode.sparse}"
    if inode.mirrored not in FLAGS or (inode.mirrored and not _may_be_mirrored(inode, kind)):
        yield f"mirrored {inode.mirrored}, prefix {inode.prefix}"


def _may_be_mirrored(inode: Inode, kind: int) -> bool:
    """Whether there can be bytes on flash; of no bytes at all everything is true."""
    return kind == stat.S_IFREG and (inode.prefix > 0 or not inode.size)
