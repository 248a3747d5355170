"""Reading the object directories: which objects there are, and whether a mirror is the same."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tierfs.common.beneath import DIRECTORY, open_beneath, open_file
from tierfs.common.extents import MAX_FILE_SIZE, object_lengths
from tierfs.metadata.inodes import Inode
from tierfs.storage.objects import object_path

OnProblem = Callable[[Path, OSError | None], None]
"""Called with what cannot be read, or with None for what is no object."""

LEVELS = 2
"""Directories above an object: ``ab`` and ``cd``."""

LARGEST_NUMBER = MAX_FILE_SIZE

CHUNK = 1024 * 1024
"""Bytes compared at a time."""


def walk(root: Path, on_problem: OnProblem) -> Iterator[tuple[int, int]]:
    """Inode number and length in bytes of every object below ``root``, about in their order.

    In memory is one directory of each level at a time. No symbolic link is followed from ``root``
    on; that there is no ``root`` is not reported.
    """
    try:
        above = os.open(root.parent, DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        on_problem(root, exc)
        return
    try:
        yield from _walk(root, above, root.name, "", on_problem)
    except FileNotFoundError:
        return
    finally:
        os.close(above)


def _walk(
    root: Path, above: int, name: str, below: str, on_problem: OnProblem
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
        on_problem(root / below, exc)
        return
    try:
        try:
            names = sorted(os.listdir(directory))  # noqa: PTH208 - of a descriptor
        except OSError as exc:
            on_problem(root / below, exc)
            return
        for each in names:
            path = f"{below}/{each}" if below else each
            yield from _found(root, directory, each, path, on_problem)
    finally:
        os.close(directory)


def _found(
    root: Path, directory: int, name: str, path: str, on_problem: OnProblem
) -> Iterator[tuple[int, int]]:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as exc:
        on_problem(root / path, exc)
        return
    levels = LEVELS - path.count("/")
    if levels and stat.S_ISDIR(status.st_mode):
        yield from _walk(root, directory, name, path, on_problem)
    elif not levels and stat.S_ISREG(status.st_mode) and (ino := _number(path)):
        yield ino, status.st_size
    else:
        on_problem(root / path, None)


def _number(path: str) -> int:
    """The inode number of an object at its right place, else 0."""
    name = path.rpartition("/")[2]
    if not (name.isascii() and name.isdecimal() and len(name) <= len(str(LARGEST_NUMBER))):
        return 0
    return int(name) if int(name) <= LARGEST_NUMBER and object_path(int(name)) == path else 0


def first_difference(flash: Path, disk: Path, inode: Inode) -> int | None:
    """Offset of a byte near which the two differ, or None; both objects are long enough.

    Raises:
        OSError: one cannot be read.
    """
    end = object_lengths(inode.size, inode.prefix).flash
    with _object(flash, inode.ino) as head, _object(disk, inode.ino) as mirror:
        for offset in range(0, end, CHUNK):
            length = min(CHUNK, end - offset)
            pieces = head.read(length), mirror.read(length)
            if pieces[0] != pieces[1]:
                pairs = enumerate(zip(*pieces, strict=False))
                differing = (at for at, (one, other) in pairs if one != other)
                return offset + next(differing, min(map(len, pieces)))
    return None


def _object(root: Path, ino: int) -> BinaryIO:
    """An object, opened without following a symbolic link below ``root``'s directory."""
    above = os.open(root.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = f"{root.name}/{object_path(ino)}"
        return os.fdopen(open_file(path, os.O_RDONLY, dir_fd=above), "rb")
    finally:
        os.close(above)
