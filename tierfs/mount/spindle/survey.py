"""Lay out what a backing directory holds already."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tierfs.base.holes import data_ranges
from tierfs.bench.spindle_layout import Layout

SECTOR = 512


def survey(backing: Path) -> Layout:
    """A layout of all files below ``backing``, in the order of their inode numbers.

    tmpfs numbers inodes as they are made, ext4 nearly so.

    Raises:
        OSError: a directory or file cannot be read.
    """
    layout = Layout()
    for ino, path in sorted(_files(backing)):
        for start, end in _data(path):
            layout.wrote(ino, start, end - start)
    layout.settle()
    return layout


def _files(directory: Path) -> Iterator[tuple[int, Path]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield entry.inode(), Path(entry.path)


def _data(path: Path) -> Iterator[tuple[int, int]]:
    """Starts and ends of what is not a hole (lseek(2), SEEK_DATA); most files have none."""
    found = path.lstat()
    if found.st_blocks * SECTOR >= found.st_size or not stat.S_ISREG(found.st_mode):
        yield 0, found.st_size
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        yield from data_ranges(fd, 0, found.st_size)
    finally:
        os.close(fd)
