"""What directories, owners and sizes of files have on each tier, from the index, without a walk.

A hard link counts once, in the directory in which the file was linked last, as for the policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tierfs.metadata.reader import DirectoryBytes, SizeClass, SnapshotReader
from tierfs.tiering.forecast import ForecastRequest, evaluating
from tierfs.tiering.model import Evaluated, on_flash

PAGE: Final = 1024
"""Inode numbers whose files are evaluated by the policy together."""

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


def sizes_apart(index: Path, checkpoints: int) -> list[SizeClass]:
    """All files by owner and size, for `tierfs report`; in a process, as `disk_usage_apart`.

    Raises:
        FsError: the index could not be read.
    """
    sums: dict[tuple[int, int], SizeClass] = {}
    with closing(SnapshotReader(index, checkpoints)) as reader:
        for after in range(0, reader.consistently(reader.last_inode), SPAN):
            read = partial(reader.bytes_by_size, after, SPAN)
            for one in reader.consistently(read):
                key = one.uid, one.up_to
                before = sums.get(key, SizeClass(*key, 0, 0, 0))
                sums[key] = SizeClass(*key, *map(sum, zip(before[2:], one[2:], strict=True)))
    return [sums[key] for key in sorted(sums)]


class RuleUsage(NamedTuple):
    """The files for which a rule of the policy holds; None: those with the defaults."""

    rule: str | None
    files: int
    size: int
    flash: int


def rules_apart(request: ForecastRequest, checkpoints: int) -> list[RuleUsage]:
    """All files by the rule that holds for them, the most bytes on flash first.

    In a process, as `disk_usage_apart`.

    Raises:
        FsError: the index could not be read.
    """
    sums: dict[str | None, tuple[int, int, int]] = {}
    with evaluating(request, checkpoints) as (index, evaluator, _heat):
        for after in range(0, index.consistently(index.last_inode), PAGE):

            def read(after: int = after) -> list[Evaluated]:
                rows, _ = index.files(after, PAGE, on_flash=False)
                return list(evaluator.evaluate(rows, request.moment.now))

            for inode, target in index.consistently(read):
                files, size, flash = sums.get(target.rule, (0, 0, 0))
                sums[target.rule] = files + 1, size + inode.size, flash + on_flash(inode)
    usages = [RuleUsage(rule, *counted) for rule, counted in sums.items()]
    return sorted(usages, key=lambda one: (-one.flash, -one.size, one.rule or ""))


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
