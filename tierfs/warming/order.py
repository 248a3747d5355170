"""Disk order: the order in which the files of a volume are best read.

Objects are named by inode number, 1,024 neighbours to a directory, and inode numbers follow the
order in which files were made. So files of neighbouring numbers were most likely written one after
the other, and lie near one another on the disk: reading by rising inode number is a sweep over it.

Millions of names are not held in memory for that. They are sorted a window at a time: each window
is a sweep. To sort everything would save little: in a window of 100,000 files the next is
on average 1/100,000 of the disk away, where a seek costs less than the half turn that the
disk waits for in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

WINDOW: Final = 100_000
"""Files sorted at a time: 30 MB or so, with names of 100 bytes."""


class Found(NamedTuple):
    """A file to look at. Files compare as they lie on disk."""

    device: int
    inode: int
    path: bytes
    was_cached: bool
    """Whether the kernel knew the name before we came; a listing makes it known."""
    written_down: bool = False
    """Whether somebody named just this file, rather than a directory above it."""


def in_disk_order(found: Iterable[Found], window: int = WINDOW) -> Iterator[Found]:
    """The same files, sorted ``window`` at a time; holds no more than a window."""
    source = iter(found)
    while batch := sorted(islice(source, window)):
        # From the back, so that what has been handed out is let go of.
        batch.reverse()
        while batch:
            yield batch.pop()
