"""All that is known of one inode number, gathered from the tables and both object directories."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tierfs.index.inodes import ROOT, Inode
from tierfs.index.inspection import Inspection, Names

Stream = Iterator[tuple[int, Any]]
"""Inode numbers, ascending, none twice, and what is known of each."""

_END = 2**63
"""Behind every inode number."""


class Case(NamedTuple):
    """What one table or directory has of the number; None, 0 or False: nothing."""

    ino: int
    inode: Inode | None
    names: Names | None
    children: int
    subdirectories: tuple[int, int]
    """Of these names, those of directories and those of nothing that is there."""
    reached: bool
    xattrs: int
    pin: bool
    request: bool
    cut: bool
    dirty: int | None
    """Of a dirty file: bytes that are synced."""
    flash: int | None
    disk: int | None

    @property
    def is_directory(self) -> bool:
        """Whether the inode is there and a directory."""
        return self.inode is not None and stat.S_ISDIR(self.inode.mode)

    @property
    def is_file(self) -> bool:
        """Whether the inode is there and a regular file, with or without a name."""
        return self.inode is not None and stat.S_ISREG(self.inode.mode)

    @property
    def is_root(self) -> bool:
        """Whether it is the number of the root."""
        return self.ino == ROOT

    @property
    def name_count(self) -> int:
        """How many entries refer to it."""
        return self.names.total if self.names else 0


def cases(inspection: Inspection) -> Iterator[Case]:
    """A case for every inode number that is anywhere; a few rows of each table in memory."""
    streams: list[tuple[Stream, Any]] = [
        (inspection.inodes(), None),
        (inspection.names(), None),
        (inspection.children(), 0),
        (inspection.subdirectories(), (0, 0)),
        (inspection.reached(), False),
        (inspection.xattrs(), 0),
        (inspection.listed("pin"), False),
        (inspection.listed("request"), False),
        (inspection.listed("cut"), False),
        (inspection.dirty(), None),
        (inspection.objects("flash"), None),
        (inspection.objects("disk"), None),
    ]
    for ino, parts in merged([stream for stream, _ in streams], [none for _, none in streams]):
        yield Case(ino, *parts)


def merged(streams: Sequence[Stream], absent: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Every number in any stream, and what each stream has of it, or its ``absent``."""
    heads = [next(stream, (_END, None)) for stream in streams]
    numbers = [number for number, _ in heads]
    while (ino := min(numbers)) < _END:
        parts = list(absent)
        for place, number in enumerate(numbers):
            if number == ino:
                parts[place] = heads[place][1]
                heads[place] = head = next(streams[place], (_END, None))
                numbers[place] = head[0]
        yield ino, parts
