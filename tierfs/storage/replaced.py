"""Objects that a truncation to 0 has replaced: kept until that truncation is durable.

``> file`` must neither wait for a device nor lose the old bytes to a power cut. So the first write
after it does not cut the object. It moves it to ``replaced/INODE.VERSION`` beside the store and
makes a new one. ``VERSION`` is the last data version of the file to which the object belongs. A
power cut that takes back the truncation shows in the index: the file has that version or an
earlier one, and its object is put back. Once the index is synced, the replaced object is removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tierfs.common.beneath import DIRECTORY, open_beneath
from tierfs.common.osio import Os
from tierfs.storage.calls import list_directory
from tierfs.storage.directories import Directories
from tierfs.storage.layout import DIRECTORY_MODE

REPLACED = "replaced"
"""The directory, beside the store in that of the tier."""


class Replaced(NamedTuple):
    """An object that was replaced, of an inode whose last version with it was this."""

    ino: int
    version: int

    @property
    def name(self) -> str:
        """Of the file."""
        return f"{self.ino}.{self.version}"


def to_put_back(
    found: Iterable[Replaced], version_of: Callable[[int], int | None]
) -> list[Replaced]:
    """Those that the files have still, after a power cut; ``version_of`` an inode, None: gone."""
    chosen: dict[int, Replaced] = {}
    for each in found:
        version = version_of(each.ino)
        if version is not None and version <= each.version:
            chosen[each.ino] = min(each, chosen.get(each.ino, each))
    return sorted(chosen.values())


def replaced_lengths(tier: Path) -> dict[Replaced, int]:
    """The replaced objects in a tier's directory, with their lengths in bytes; for checks.

    Raises:
        OSError: the directory cannot be read.
    """
    above = os.open(tier, DIRECTORY | os.O_CLOEXEC)
    try:
        directory = open_beneath(REPLACED, DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        return {}
    finally:
        os.close(above)
    try:
        return {
            each: os.stat(each.name, dir_fd=directory, follow_symlinks=False).st_size
            for each in map(_replaced, os.listdir(directory))
            if each
        }
    finally:
        os.close(directory)


class ReplacedObjects:
    """The replaced objects of one store. Thread-safe.

    Raises from every method:
        OSError: the call on the backing directory failed.
    """

    def __init__(self, name: str, directories: Directories, os_: Os, *, read_only: bool) -> None:
        """``name``: of the store, for the labels of calls."""
        self._directories = directories
        self._rename = os_.bound(f"{name}.rename", os.rename)
        self._unlink = os_.bound(f"{name}.unlink_replaced", os.unlink)
        self._listdir = os_.bound(f"{name}.list_replaced", list_directory)
        self._directory = -1
        label = f"{name}.open_replaced"
        tier = os_.call(label, os.open, directories.root.parent, DIRECTORY | os.O_CLOEXEC)
        try:
            if not read_only:
                with suppress(FileExistsError):
                    made = f"{name}.mkdir_replaced"
                    os_.call(made, os.mkdir, REPLACED, DIRECTORY_MODE, dir_fd=tier)
            with suppress(FileNotFoundError):
                self._directory = os_.call(label, open_beneath, REPLACED, DIRECTORY, dir_fd=tier)
        finally:
            os.close(tier)

    def close(self) -> None:
        """Close the directory."""
        if self._directory >= 0:
            os.close(self._directory)

    def all(self) -> list[Replaced]:
        """What there is, in the order of the inodes; nothing else is looked at."""
        if self._directory < 0:
            return []
        return sorted(filter(None, map(_replaced, self._listdir(self._directory))))

    def replace(self, each: Replaced) -> None:
        """Take the object of the inode out of the store; no object is fine."""
        with suppress(FileNotFoundError), self._directories.open_path(each.ino) as above:
            self._rename(f"{each.ino}", each.name, src_dir_fd=above, dst_dir_fd=self._directory)

    def put_back(self, each: Replaced) -> None:
        """Make it the object of the inode again."""
        with self._directories.open_path(each.ino) as above:
            self._rename(each.name, f"{each.ino}", src_dir_fd=self._directory, dst_dir_fd=above)

    def remove(self, each: Replaced) -> None:
        """Free it; no such object is fine."""
        with suppress(FileNotFoundError):
            self._unlink(each.name, dir_fd=self._directory)


def _replaced(name: str) -> Replaced | None:
    words = name.split(".")
    if len(words) != len(Replaced._fields) or not all(map(_is_number, words)):
        return None
    return Replaced(int(words[0]), int(words[1]))


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal()
