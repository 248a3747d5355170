"""Whether the mirror of a file on disk has the bytes that are read from flash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from tierfs.base.beneath import open_file
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
    with _object(flash, inode.ino) as head, _object(disk, inode.ino) as mirror:
        for offset in range(0, end, CHUNK):
            length = min(CHUNK, end - offset)
            pieces = head.read(length), mirror.read(length)
            if pieces[0] != pieces[1]:
                return offset + _common(*pieces)
    return None


def _object(root: Path, ino: int) -> BinaryIO:
    """An object, opened without following a symbolic link below ``root``'s directory."""
    above = os.open(root.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = f"{root.name}/{object_path(ino)}"
        return os.fdopen(open_file(path, os.O_RDONLY, dir_fd=above), "rb")
    finally:
        os.close(above)


def _common(one: bytes, other: bytes) -> int:
    """Bytes that both begin with."""
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        min(len(one), len(other)),
    )
