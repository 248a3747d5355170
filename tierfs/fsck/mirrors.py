"""Whether the mirror of a file on disk has the bytes that are read from flash."""

from __future__ import annotations

from pathlib import Path

from tierfs.fsck.lengths import required
from tierfs.index.inodes import Inode
from tierfs.store.objects import object_path

CHUNK = 1024 * 1024


def first_difference(flash: Path, disk: Path, inode: Inode) -> int | None:
    """Offset of a byte near which the two differ, or None; both objects are long enough.

    Raises:
        OSError: one cannot be read.
    """
    end = required(inode).flash
    path = object_path(inode.ino)
    with (flash / path).open("rb") as head, (disk / path).open("rb") as mirror:
        for offset in range(0, end, CHUNK):
            length = min(CHUNK, end - offset)
            pieces = head.read(length), mirror.read(length)
            if pieces[0] != pieces[1]:
                return offset + _common(*pieces)
    return None


def _common(one: bytes, other: bytes) -> int:
    """Bytes that both begin with."""
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )
