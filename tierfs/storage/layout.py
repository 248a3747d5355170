"""Where a store keeps the object of an inode, and where it puts an object that belongs to no file.

``ROOT/ab/cd/INODE``: ``ab`` and ``cd`` are bits of the inode number, so that 1,024 consecutive
inodes share a directory, and files that were created together are close to each other on disk.
"""

from __future__ import annotations

import itertools
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from tierfs.common.beneath import DIRECTORY, open_beneath, parent_beneath
from tierfs.common.sync import sync_file

FILES_PER_DIRECTORY_BITS: Final = 10

OBJECT_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700

LOST_AND_FOUND: Final = "lost+found"
"""Beside a store, in the tier's directory: objects of no file."""


def object_path(ino: int) -> str:
    """The path of an inode's object, relative to the store."""
    group = ino >> FILES_PER_DIRECTORY_BITS
    return f"{group >> 8 & 0xFF:02x}/{group & 0xFF:02x}/{ino}"


def directory_path(ino: int) -> str:
    """The path of the directory of an inode's object, relative to the store."""
    group = ino >> FILES_PER_DIRECTORY_BITS
    return f"{group >> 8 & 0xFF:02x}/{group & 0xFF:02x}"


def set_aside(root: Path, ino: int) -> Path:
    """Move an object that belongs to no file to lost+found; returns its new path.

    Nothing in lost+found is replaced: a second object with the same number gets another name. No
    symbolic link below the tier's directory is followed.

    Raises:
        OSError: it cannot be moved, or does not exist.
    """
    with ExitStack() as stack:
        above = os.open(root.parent, DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, above)
        with suppress(FileExistsError):
            os.mkdir(LOST_AND_FOUND, DIRECTORY_MODE, dir_fd=above)
        shelter = open_beneath(LOST_AND_FOUND, DIRECTORY, dir_fd=above)
        stack.callback(os.close, shelter)
        taken = set(os.listdir(shelter))
        names = (f"{ino}" if number == 0 else f"{ino}.{number}" for number in itertools.count())
        target = next(name for name in names if name not in taken)
        path = f"{root.name}/{object_path(ino)}"
        with parent_beneath(path, dir_fd=above) as (parent, name):
            os.rename(name, target, src_dir_fd=parent, dst_dir_fd=shelter)
        sync_file(shelter)
    return root.parent / LOST_AND_FOUND / target
