"""One pass over an object directory; in memory is a directory of each level at a time."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tierfs.base.beneath import DIRECTORY, open_beneath
from tierfs.base.extents import MAX_FILE_SIZE
from tierfs.store.objects import object_path

Complain = Callable[[Path, OSError | None], None]
"""Called with what cannot be read, or with None for what is no object."""

LEVELS = 2
"""Directories above an object: ``ab`` and ``cd``."""

LARGEST_NUMBER = MAX_FILE_SIZE


def walk(root: Path, complain: Complain) -> Iterator[tuple[int, int]]:
    """Inode number and length in bytes of every object below ``root``, about in their order.

    No symbolic link is followed from ``root`` on; that there is no ``root`` is no complaint.
    """
    try:
        above = os.open(root.parent, DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        complain(root, exc)
        return
    try:
        yield from _walk(root, above, root.name, "", complain)
    except FileNotFoundError:
        return
    finally:
        os.close(above)


def _walk(
    root: Path, above: int, name: str, below: str, complain: Complain
) -> Iterator[tuple[int, int]]:
    """What is in the directory ``name`` of ``above``, whose path is ``below`` the root.

    Raises:
        FileNotFoundError: it is the root, and there is none.
    """
    try:
        directory = open_beneath(name, DIRECTORY, dir_fd=above)
    except OSError as exc:
        if not below and isinstance(exc, FileNotFoundError):
            raise
        complain(root / below, exc)
        return
    try:
        try:
            names = sorted(os.listdir(directory))  # noqa: PTH208 - of a descriptor
        except OSError as exc:
            complain(root / below, exc)
            return
        for each in names:
            path = f"{below}/{each}" if below else each
            yield from _found(root, directory, each, path, complain)
    finally:
        os.close(directory)


def _found(
    root: Path, directory: int, name: str, path: str, complain: Complain
) -> Iterator[tuple[int, int]]:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as exc:
        complain(root / path, exc)
        return
    levels = LEVELS - path.count("/")
    if levels and stat.S_ISDIR(status.st_mode):
        yield from _walk(root, directory, name, path, complain)
    elif not levels and stat.S_ISREG(status.st_mode) and (ino := _number(path)):
        yield ino, status.st_size
    else:
        complain(root / path, None)


def _number(path: str) -> int:
    """The inode number of an object at its right place, else 0."""
    name = path.rpartition("/")[2]
    if not (name.isascii() and name.isdecimal() and len(name) <= len(str(LARGEST_NUMBER))):
        return 0
    return int(name) if int(name) <= LARGEST_NUMBER and object_path(int(name)) == path else 0
