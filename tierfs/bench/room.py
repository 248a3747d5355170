"""Is there room for what is about to be written? Asked before, not found out in the middle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tierfs.base.errors import TierfsError
from tierfs.base.units import KIB, format_size

BLOCK: Final = 4 * KIB
"""In which most filesystems give out space, in bytes."""
OVERHEAD: Final = 512
"""Bytes a file for its inode and its names, roughly."""


def needed(files: int, size: int) -> int:
    """Bytes that ``files`` files of ``size`` bytes take, about."""
    return files * (-(-size // BLOCK) * BLOCK + OVERHEAD)


def require_room(directory: Path, files: int, size: int) -> None:
    """Raise unless ``files`` files of ``size`` bytes fit in the filesystem of ``directory``.

    Raises:
        TierfsError: too little space, or too few inodes where those are counted.
    """
    found = os.statvfs(directory)
    free, wanted = found.f_bavail * found.f_frsize, needed(files, size)
    if free < wanted:
        raise TierfsError(
            f"{directory} has {format_size(free)} free, and {files:,} files of {format_size(size)} "
            f"need {format_size(wanted)}; choose fewer or smaller ones, or another directory"
        )
    if found.f_files and found.f_favail < files:
        raise TierfsError(
            f"{directory} has {found.f_favail:,} inodes free, and {files:,} files are to be made; "
            "choose fewer, or another directory"
        )
