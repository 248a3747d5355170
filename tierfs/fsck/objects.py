"""One pass over an object directory; in memory is a directory of each level at a time."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tierfs.base.extents import MAX_FILE_SIZE
from tierfs.store.objects import object_path

Complain = Callable[[Path, OSError | None], None]
"""Called with what cannot be read, or with None for what is no object."""

LEVELS = 2
"""Directories above an object: ``ab`` and ``cd``."""

LARGEST_NUMBER = MAX_FILE_SIZE


def walk(root: Path, complain: Complain) -> Iterator[tuple[int, int]]:
    """Inode number and length in bytes of every object below ``root``, about in their order."""
    yield from _walk(root, "", LEVELS, complain)


def _walk(root: Path, below: str, levels: int, complain: Complain) -> Iterator[tuple[int, int]]:
    try:
        names = sorted(path.name for path in (root / below).iterdir())
    except OSError as exc:
        complain(root / below, exc)
        return
    for name in names:
        yield from _found(root, f"{below}/{name}" if below else name, levels, complain)


def _found(root: Path, path: str, levels: int, complain: Complain) -> Iterator[tuple[int, int]]:
    try:
        status = (root / path).lstat()
    except OSError as exc:
        complain(root / path, exc)
        return
    if levels and stat.S_ISDIR(status.st_mode):
        yield from _walk(root, path, levels - 1, complain)
    elif not levels and stat.S_ISREG(status.st_mode) and (ino := _number(path)):
        yield ino, status.st_size
    else:
        complain(root / path, None)


def _number(path: str) -> int:
    """The inode number of an object at its right place, else 0."""
    name = path.rpartition("/")[2]
    if not (name.isascii() and name.isdecimal() and int(name) <= LARGEST_NUMBER):
        return 0
    return int(name) if object_path(int(name)) == path else 0
