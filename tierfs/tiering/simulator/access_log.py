"""A recorded access log: its lines as they stand, or as a workload of the simulator.

The lines are those of `tierfs.tiering.access_lines`. A mount keeps a log in two parts, ``NAME.1``
with what is older and ``NAME``; whoever names the second means both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tierfs.base.errors import UsageError
from tierfs.base.extents import WHOLE_FILE
from tierfs.base.text import printable
from tierfs.tiering.access_lines import (
    LONGEST,
    VERSION,
    BadLine,
    Beginning,
    FileFacts,
    Line,
    Use,
    parse,
)
from tierfs.tiering.parts import older
from tierfs.tiering.simulator.access import Access, Workload, sizes_of

TOLD: Final = 20
"""Damaged lines that are told one by one; the rest is counted."""

_SHOWN: Final = 40


class Damaged(NamedTuple):
    """A line that is none of an access log."""

    path: Path
    line: int
    text: bytes
    what: str

    def __str__(self) -> str:
        return f'{printable(self.path)}:{self.line}:1: "{printable(self.text)}" {self.what}'


class Recording:
    """The lines of a log, read one by one each time it is gone through.

    Damaged lines are passed over: ``damaged`` has the first of them, ``damaged_count`` counts all.
    """

    def __init__(self, path: Path) -> None:
        self.parts = [part for part in (older(path), path) if part == path or part.exists()]
        self.damaged: list[Damaged] = []
        self.damaged_count = 0

    def __iter__(self) -> Iterator[Line]:
        """Every line, the oldest first.

        Raises:
            UsageError: a part cannot be read, or is of a newer version.
        """
        self.damaged, self.damaged_count = [], 0
        for part in self.parts:
            try:
                yield from self._lines(part)
            except OSError as error:
                message = f"{part} cannot be read: {error.strerror}; name an access log"
                raise UsageError(message) from None

    def _lines(self, part: Path) -> Iterator[Line]:
        number = 0
        with part.open("rb") as file:
            while text := file.readline(2 * LONGEST):
                number += 1
                try:
                    line = parse(text)
                except BadLine as error:
                    self._note(Damaged(part, number, text.strip()[:_SHOWN], str(error)))
                    continue
                if isinstance(line, Beginning):
                    _require_readable(line, part, number)
                if line is not None:
                    yield line

    def _note(self, damaged: Damaged) -> None:
        self.damaged_count += 1
        if len(self.damaged) < TOLD:
            self.damaged.append(damaged)


def read_log(path: Path, head: int = WHOLE_FILE) -> Workload:
    """The uses in the log ``path``; ``head`` is in bytes. All of them are counted.

    They are sorted by time, since threads write a little out of order. A file has as many bytes as
    the log's last word on it, else as the largest of its lines, cut to ``head``: what it would
    take on flash.

    Raises:
        UsageError: a line is wrong, told as FILE:LINE:COLUMN; there is none; it cannot be read.
    """
    accesses, sizes = _collected(Recording(path))
    if not accesses:
        raise UsageError(f"{path} has no access; a line is: SECONDS INODE BYTES [w]")
    accesses.sort(key=lambda access: access.time)
    start = accesses[0].time
    known = sizes_of(accesses) | {ino: size for ino, size in sizes.items() if size}
    return Workload(
        path.name,
        [
            Access(time - start, ino, min(known[ino], head), write)
            for time, ino, _, write in accesses
        ],
    )


def _collected(recording: Recording) -> tuple[list[Access], dict[int, int]]:
    """The accesses as they stand, and the sizes that the log tells of files."""
    accesses, sizes = [], {}
    for line in recording:
        if recording.damaged:
            break
        if isinstance(line, Use):
            accesses.append(Access(line.time, line.ino, line.size, line.write))
        elif isinstance(line, FileFacts):
            sizes[line.ino] = line.size
    if recording.damaged:
        raise UsageError(str(recording.damaged[0]))
    return accesses, sizes


def _require_readable(beginning: Beginning, part: Path, number: int) -> None:
    if beginning.version != VERSION:
        message = f"is of version {beginning.version}; this tierfs reads version {VERSION}"
        raise UsageError(f"{part}:{number}:1: the log {message}; use the one that recorded it")
