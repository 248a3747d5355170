"""A tree of files to copy and compare: some entries of a directory, with all that is below."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tree:
    """The ``entries`` of the directory ``root``, shown to people as ``name``.

    A name need not be valid UTF-8: as everywhere in Python, bytes that are not stand in a path
    as lone surrogates (PEP 383) and come out of it unchanged.
    """

    name: str
    root: Path
    entries: tuple[str, ...]

    @classmethod
    def whole(cls, name: str, root: Path) -> Tree:
        """All that is in the directory ``root`` now."""
        return cls(name, root, tuple(sorted(names_in(root))))

    def walk(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Every path below the root, relative to it, with its own ``lstat``; parents first.

        Raises OSError for a directory that cannot be read.
        """
        waiting = [Path(entry) for entry in sorted(self.entries, reverse=True)]
        while waiting:
            relative = waiting.pop()
            path = self.root / relative
            status = path.lstat()
            yield relative, status
            if stat.S_ISDIR(status.st_mode):
                waiting += [relative / name for name in sorted(names_in(path), reverse=True)]


def names_in(directory: Path) -> list[str]:
    """What a directory lists, as it lists it: a name twice is there twice. Raises OSError."""
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


@dataclass(frozen=True, slots=True)
class Census:
    """How much a tree holds. ``files`` are regular files, each inode once, as in ``bytes``.

    ``head_bytes`` and ``tail_bytes`` are what of them lies before and behind the head's end.
    """

    names: int = 0
    directories: int = 0
    files: int = 0
    bytes: int = 0
    head_bytes: int = 0

    @property
    def tail_bytes(self) -> int:
        """What a volume should keep on disk only."""
        return self.bytes - self.head_bytes

    def __add__(self, other: Census) -> Census:
        return Census(
            self.names + other.names,
            self.directories + other.directories,
            self.files + other.files,
            self.bytes + other.bytes,
            self.head_bytes + other.head_bytes,
        )


def census(statuses: Iterable[os.stat_result], head: int) -> Census:
    """Count what a walk found; ``head`` is the length of heads in bytes."""
    names = directories = 0
    sizes: dict[tuple[int, int], int] = {}
    for status in statuses:
        names += 1
        directories += stat.S_ISDIR(status.st_mode)
        if stat.S_ISREG(status.st_mode):
            sizes[status.st_dev, status.st_ino] = status.st_size
    heads = sum(min(size, head) for size in sizes.values())
    return Census(names, directories, len(sizes), sum(sizes.values()), heads)


def count(tree: Tree, head: int) -> Census:
    """The census of a whole tree. Raises OSError."""
    return census((status for _, status in tree.walk()), head)
