"""Lay out what a backing directory holds already."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tierfs.common.ranges import data_ranges

BLOCK: Final = 4096
"""Places are given in units of this size."""


class Run(NamedTuple):
    """``length`` bytes at ``address`` of the drive."""

    address: int
    length: int


class _Piece(NamedTuple):
    """Bytes ``[start, end)`` of a file, the first of which is at ``address``."""

    start: int
    end: int
    address: int


@dataclass(slots=True)
class _File:
    placed: list[_Piece] = field(default_factory=list)
    """By their start; they do not overlap."""
    waiting: list[tuple[int, int]] = field(default_factory=list)
    """What was written since: starts and ends, by their start, apart from one another."""


class Layout:
    """The places of all files."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._unplaced: dict[int, _File] = {}
        self.end = 0
        """The first address that no byte ever had."""

    def wrote(self, ino: int, offset: int, length: int) -> None:
        """These bytes were written, for the first time or again."""
        if length <= 0:
            return
        file = self._files.setdefault(ino, _File())
        _merge(file.waiting, offset // BLOCK * BLOCK, -(-(offset + length) // BLOCK) * BLOCK)
        self._unplaced[ino] = file

    def cut(self, ino: int, size: int) -> None:
        """The file has been truncated to ``size``; what was extended is a hole."""
        file = self._files.get(ino)
        if file is not None:
            end = -(-size // BLOCK) * BLOCK
            file.placed = [p._replace(end=min(p.end, end)) for p in file.placed if p.start < end]
            file.waiting = [(a, min(b, end)) for a, b in file.waiting if a < end]

    def remove(self, ino: int) -> None:
        """The file is gone, and its number may be another's."""
        self._files.pop(ino, None)
        self._unplaced.pop(ino, None)

    def settle(self) -> None:
        """Give everything a place that has none."""
        for file in self._unplaced.values():
            for start, end in file.waiting:
                for gap in _gaps(file.placed, start, end):
                    self._place(file, *gap)
            file.waiting.clear()
            file.placed.sort()
        self._unplaced.clear()

    def runs(self, ino: int, offset: int, length: int) -> list[Run]:
        """Where on the drive these bytes of a file are; nothing for holes."""
        self.settle()
        file = self._files.get(ino)
        runs: list[Run] = []
        for piece in file.placed if file else ():
            start, end = max(piece.start, offset), min(piece.end, offset + length)
            if start < end:
                _append(runs, Run(piece.address + start - piece.start, end - start))
        return runs

    def _place(self, file: _File, start: int, end: int) -> None:
        last = file.placed[-1] if file.placed else None
        if last and last.end == start and last.address + last.end - last.start == self.end:
            file.placed[-1] = last._replace(end=end)
        else:
            file.placed.append(_Piece(start, end, self.end))
        self.end += end - start


def _merge(ranges: list[tuple[int, int]], start: int, end: int) -> None:
    """Add ``[start, end)`` to ranges that are in order and apart; mostly it extends the last."""
    apart = [r for r in ranges if r[1] < start or r[0] > end]
    touched = [r for r in ranges if r[0] <= end and r[1] >= start]
    joined = (min([start, *(a for a, _ in touched)]), max([end, *(b for _, b in touched)]))
    ranges[:] = sorted([*apart, joined])


def _gaps(placed: list[_Piece], start: int, end: int) -> list[tuple[int, int]]:
    """The parts of ``[start, end)`` that no piece covers."""
    gaps = []
    for piece in sorted(placed):
        if piece.start >= end:
            break
        if piece.start > start:
            gaps.append((start, piece.start))
        start = max(start, piece.end)
    return [*gaps, (start, end)] if start < end else gaps


def _append(runs: list[Run], run: Run) -> None:
    """Add ``run``; one that goes on where the last one ends becomes a part of it."""
    if runs and runs[-1].address + runs[-1].length == run.address:
        runs[-1] = Run(runs[-1].address, runs[-1].length + run.length)
    else:
        runs.append(run)


SECTOR = 512


def survey(backing: Path) -> Layout:
    """A layout of all files below ``backing``, in the order of their inode numbers.

    tmpfs numbers inodes as they are made, ext4 nearly so.

    Raises:
        OSError: a directory or file cannot be read.
    """
    layout = Layout()
    for ino, path in sorted(_files(backing)):
        for start, end in _data(path):
            layout.wrote(ino, start, end - start)
    layout.settle()
    return layout


def _files(directory: Path) -> Iterator[tuple[int, Path]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield entry.inode(), Path(entry.path)


def _data(path: Path) -> Iterator[tuple[int, int]]:
    """Starts and ends of what is not a hole (lseek(2), SEEK_DATA); most files have none."""
    found = path.lstat()
    if found.st_blocks * SECTOR >= found.st_size or not stat.S_ISREG(found.st_mode):
        yield 0, found.st_size
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        yield from data_ranges(fd, 0, found.st_size)
    finally:
        os.close(fd)
