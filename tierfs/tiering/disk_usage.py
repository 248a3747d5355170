"""What the directories of a mount have on each tier: `tierfs du`, from the index, without a walk.

A hard link counts once, in the directory in which the file was linked last, as for the policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from tierfs.metadata.reader import DirectoryBytes, SnapshotReader

SPAN: Final = 65_536
"""Inode numbers that one query goes through."""


class DirectoryUsage(NamedTuple):
    """What is in and below a directory; sizes in bytes."""

    path: bytes
    """From the root of the mount."""
    files: int
    size: int
    """Of the files, as stat(2) tells them."""
    flash: int
    """Bytes that are read from flash."""
    mirrored: int
    """Of these, those that disk has as well."""

    @property
    def disk(self) -> int:
        """Bytes that are read from disk."""
        return self.size - self.flash


def disk_usage_apart(index: Path, checkpoints: int, top: int, depth: int) -> list[DirectoryUsage]:
    """The directory ``top`` and those at most ``depth`` levels below it, the largest first.

    For a process beside the daemon; ``checkpoints`` is the descriptor that
    `Index.checkpoint_for_snapshot` returned.

    Raises:
        FsError: the index could not be read.
    """
    parents: dict[int, int] = {}
    own: dict[int, DirectoryBytes] = {}
    with closing(SnapshotReader(index, checkpoints)) as reader:
        for after in range(0, reader.consistently(reader.last_inode), SPAN):

            def read(after: int = after) -> tuple[dict[int, int], dict[int, DirectoryBytes]]:
                return reader.parents(after, SPAN), reader.bytes_by_directory(after, SPAN)

            above, found = reader.consistently(read)
            parents |= above
            for directory, counted in found.items():
                own[directory] = add(own.get(directory), counted)
        shown = roll_up(parents, own, top, depth)
        paths = reader.consistently(lambda: reader.directory_paths(list(shown)))
    usages = [
        DirectoryUsage(paths[directory], *counted)
        for directory, counted in shown.items()
        if directory in paths  # else it was removed meanwhile
    ]
    return sorted(usages, key=lambda one: (-one.size, one.path))


def roll_up(
    parents: Mapping[int, int], own: Mapping[int, DirectoryBytes], top: int, depth: int
) -> dict[int, DirectoryBytes]:
    """The sums of ``top`` and of the directories at most ``depth`` levels below it.

    ``parents`` says in which directory each directory is, ``own`` what is directly in one. Both
    may have been read while directories were moved, so that they contain a circle: what is in
    one is below nothing.
    """
    below = {top: 0}
    outside: set[int] = set()
    for directory in parents:
        chain: list[int] = []
        at = directory
        while at not in below and at not in outside and at in parents:
            chain.append(at)
            outside.add(at)  # until the chain is seen to end in ``top``
            at = parents[at]
        if at in below:
            for step, one in enumerate(reversed(chain), start=1):
                below[one] = below[at] + step
                outside.discard(one)
    sums = {directory: own.get(directory, NOTHING) for directory in below}
    for directory in sorted(below, key=below.__getitem__, reverse=True):
        if directory != top:
            sums[parents[directory]] = add(sums[parents[directory]], sums[directory])
    return {directory: sums[directory] for directory, level in below.items() if level <= depth}


NOTHING: Final = DirectoryBytes(0, 0, 0, 0)


def add(one: DirectoryBytes | None, other: DirectoryBytes) -> DirectoryBytes:
    """The sum of both."""
    return other if one is None else DirectoryBytes(*map(sum, zip(one, other, strict=True)))
