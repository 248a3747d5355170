"""Going through the index in the order of inode numbers, round and round, a little at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from tierfs.index.inodes import Inode

ROWS: Final = 128
"""Rows fetched at a time, about: what a time limit may be overrun by."""

LEAST_SPAN: Final = 64
MOST_SPAN: Final = 16_384
"""Inode numbers asked for at a time: where most are gone it takes many to find a few."""


class Files(Protocol):
    """The part of the index that is swept."""

    def files(self, after: int, span: int, *, on_flash: bool) -> tuple[list[Inode], int]:
        """Regular files with numbers in ``(after, after + span]``, and the next ``after``.

        The latter is 0 when the end of the table was passed.
        """

    def last_inode(self) -> int:
        """The largest inode number there is, or more."""


class Sweep:
    """A cursor. ``rounds`` counts how often it came to the end of the table."""

    def __init__(self, files: Files, *, on_flash: bool) -> None:
        self._files = files
        self._on_flash = on_flash
        self._span = ROWS
        self.after = 0
        self.rounds = 0

    def rows(self) -> list[Inode]:
        """The next few files, perhaps none."""
        rows, self.after = self._files.files(self.after, self._span, on_flash=self._on_flash)
        self.rounds += self.after == 0
        if len(rows) < ROWS // 4:
            self._span = min(2 * self._span, MOST_SPAN)
        elif len(rows) > 2 * ROWS:
            self._span = max(self._span * ROWS // len(rows), LEAST_SPAN)
        return rows

    def round(self) -> Iterator[list[Inode]]:
        """The rest of this round."""
        rounds = self.rounds
        while self.rounds == rounds:
            yield self.rows()

    def restart(self) -> None:
        """Begin a round anew."""
        self.after = 0

    @property
    def progress(self) -> float:
        """How much of the present round is done, 0 to 1, by inode numbers."""
        return min(1.0, self.after / max(1, self._files.last_inode()))
