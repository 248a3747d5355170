"""Many tags at once: the control verb of `tierfs tag import`, for root.

A request of its own for each tag would cost several times as much. The kernel keeps no extended
attributes, and the change of each inode invalidates what it keeps of it, so that every program sees
the tags at once.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, Final

from tierfs.common.errors import FsError, IndexFailed, UsageError
from tierfs.fs.filesystem import FileSystem
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import ROOT

AT_ONCE: Final = 50
"""Files of one transaction: other requests wait for a millisecond or two."""

PREFIX: Final = b"user."

NAME_MAX: Final = 255
"""Bytes of a name (limits.h)."""

Tagged = tuple[bytes, list[tuple[bytes, bytes]]]
"""A path from the root of the mount, and names and values."""


class Tagging:
    """The verb of a mount."""

    def __init__(self, fs: FileSystem, index: Index) -> None:
        self._fs = fs
        self._index = index

    def set_tags(self, files: object) -> dict[str, Any]:
        """Set tags; ``files`` are lists of a path and of pairs, text as `os.fsdecode` makes it.

        Returns the numbers of those that could not be tagged, each with its errno: a path that
        leads over a symbolic link is not followed.

        Raises:
            UsageError: ``files`` is something else, or the mount is read-only.
            IndexFailed: the index could not be written.
        """
        wanted = _files(files)
        if self._index.read_only:
            raise UsageError("the mount is read-only")
        failed: list[tuple[int, int]] = []
        directories = {b"": ROOT}
        for at in range(0, len(wanted), AT_ONCE):
            numbered = list(enumerate(wanted[at : at + AT_ONCE], start=at))
            found = [
                (number, self._inode(path, directories), tags) for number, (path, tags) in numbered
            ]
            with self._index.transaction():
                for number, ino, tags in found:
                    try:
                        self._set(ino, tags)
                    except IndexFailed:
                        raise
                    except FsError as error:
                        failed.append((number, error.errno))
        return {"failed": failed}

    def _set(self, ino: int | None, tags: list[tuple[bytes, bytes]]) -> None:
        if ino is None:
            raise FsError(errno.ENOENT)
        for name, value in tags:
            self._fs.xattrs.set(ino, name, value)

    def _inode(self, path: bytes, directories: dict[bytes, int]) -> int | None:
        """The regular file at a path; None: there is none."""
        if not all(0 < len(part) <= NAME_MAX for part in path.split(b"/")):
            return None
        above, _, name = path.rpartition(b"/")
        if above not in directories:
            parent = ROOT
            for part in above.split(b"/"):
                directory = self._index.dentries.find(parent, part)
                if directory is None or not stat.S_ISDIR(directory.mode):
                    return None
                parent = directory.ino
            directories[above] = parent
        inode = self._index.dentries.find(directories[above], name)
        return inode.ino if inode is not None and stat.S_ISREG(inode.mode) else None


def _files(value: object) -> list[Tagged]:
    try:
        files = [
            (os.fsencode(path), [(os.fsencode(name), os.fsencode(one)) for name, one in tags])
            for path, tags in value  # type: ignore[attr-defined]
        ]
    except (TypeError, ValueError, AttributeError):
        raise UsageError("files are lists of a path, and of pairs of texts") from None
    for _, tags in files:
        for name, _value in tags:
            if not name.startswith(PREFIX) or name == PREFIX or b"\0" in name:
                raise UsageError(f"{os.fsdecode(name)!r} is not the name of a tag")
    return files
