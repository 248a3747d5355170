"""Reading the object directories: which objects there are, and whether a mirror is the same."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tierfs.common.beneath import DIRECTORY, open_beneath, open_file
from tierfs.common.extents import MAX_FILE_SIZE, object_lengths
from tierfs.metadata.adopted import number_of
from tierfs.metadata.inodes import Inode
from tierfs.metadata.integrity import Repair
from tierfs.storage.layout import object_path

OnProblem = Callable[[Path, OSError | None], None]
"""Called with what cannot be read, or with None for what is not an object."""

LEVELS = 2
"""Directories above an object: ``ab`` and ``cd``."""

LARGEST_NUMBER = MAX_FILE_SIZE

CLOCK_STEP = 3600 * 10**9
"""Nanoseconds: a clock may have been set back by so much without harm."""

CHUNK = 1024 * 1024
"""Bytes compared at a time."""


def walk(root: Path, on_problem: OnProblem) -> Iterator[tuple[int, int]]:
    """Inode number and length in bytes of every object below ``root``, about in their order.

    One directory of each level is in memory at a time. Symbolic links are not followed, nor is
    ``root`` if it is one. A missing ``root`` is no problem.
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


def may_be_old(flash: Path, disk: Path, inode: Inode, known_until: int) -> bool:
    """Whether a mirror is older than its head, by an index that knows changes until then.

    Where the head was written to since, in nanoseconds, the bytes are compared; what cannot be
    compared may be old.
    """
    try:
        head = os.lstat(flash / object_path(inode.ino))
        if head.st_ctime_ns < known_until - CLOCK_STEP:  # st_mtime is as the file has it
            return False
        return first_difference(flash, disk, inode) is not None
    except OSError:
        return True


def own_copies(disk: Path, index: Repair, *, least_prefix: int) -> None:
    """Let files whose originals were copied up after the index was saved be adopted no more.

    The disk object of an adopted file is the mirror of its head while it is the original.
    ``least_prefix``: in bytes, of the files that are looked at.
    """
    after = 0
    while found := index.adopted(after, least_prefix=least_prefix):
        for ino, original in found:
            after = ino
            try:
                status = os.lstat(disk / object_path(ino))
            except FileNotFoundError:
                index.own(ino)
                continue
            if status.st_nlink == 1 and number_of(status) != original:
                index.own(ino)


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
