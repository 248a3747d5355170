"""What the engine needs of the filesystem below it, so that a test can replace that.

A `ScanCursor` goes through the files of a catalog, a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tierfs.fs.migration_plan import Migrated
from tierfs.metadata.inodes import Inode
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.storage.objects import Space
from tierfs.tiering.heat import Row

ROWS: Final = 128
"""Rows fetched at a time, about: what a time limit may be overrun by."""

LEAST_SPAN: Final = 64
MOST_SPAN: Final = 16_384
"""Inode numbers asked for at a time: where most are gone it takes many to find a few."""


class CatalogReader(Protocol):
    """Files, pins and requests of the index.

    Raises from every method:
        FsError: the index failed.
    """

    def files(self, after: int, span: int, *, on_flash: bool) -> tuple[list[Inode], int]:
        """Regular files with numbers in ``(after, after + span]``, and the next ``after``.

        The latter is 0 when the end of the table was passed.
        """

    def last_inode(self) -> int:
        """The largest inode number there is, or more."""

    def some(self, inos: Sequence[int]) -> list[Inode]:
        """Those of the inodes that are regular files and have a name, in ascending order."""

    def paths(self, rows: Sequence[Inode]) -> Mapping[int, Sequence[bytes]]:
        """The names that are known of each file, from the root and beginning with a slash."""

    def xattr(self, ino: int, name: bytes) -> bytes | None:
        """The value of an extended attribute."""

    def header_fact(self, ino: int, version: int, key: str) -> float | str | None:
        """What the header of a file with this data version says; None: that is not known."""

    def alone(self, after: int, span: int) -> tuple[int | None, int]:
        """When the oldest file that only flash has was changed last, of a range of numbers."""

    def pinned(self, rows: Sequence[Inode], now: int) -> Mapping[int, int]:
        """The files pinned by hand at ``now``, each with the inode that has the pin."""

    def pinned_directories(self, now: int) -> list[int]:
        """The directories that are pinned at ``now``."""

    def directory_path(self, ino: int) -> bytes | None:
        """The path of a directory from the root; None: it is being removed."""

    def below(self, directory: int, after: int, limit: int) -> list[tuple[int, int, int]]:
        """Places, inode numbers and modes of the ``limit`` next entries behind a place."""

    def pins(self, after: int, limit: int) -> list[Pin]:
        """Pins of the ``limit`` next inodes behind ``after``."""

    def requests(self, after: int, limit: int) -> list[Request]:
        """Requests for the ``limit`` next inodes behind ``after``."""


class Catalog(CatalogReader, Protocol):
    """Where pins and requests can be settled as well: in the daemon."""

    def settle(self, requests: Sequence[Request], ended: Sequence[Pin]) -> None:
        """Remove requests that are done with, and pins that have ended; what is newer stays."""


class Migrator(Protocol):
    """`tierfs.fs.migration.Migrator`."""

    def place(
        self, ino: int, prefix: int, *, keep_mirror: bool, paced: Callable[[int], None]
    ) -> Migrated:
        """Make ``prefix`` the file's P."""

    def mirror(self, inos: Sequence[int], *, paced: Callable[[int], None]) -> list[Migrated]:
        """Copy heads to disk."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The filesystem as the engine sees it."""

    catalog: Catalog
    migrator: Migrator
    space: Callable[[], Space]
    """The room in the flash filesystem."""
    activity: Callable[[], tuple[list[Row], set[int]]]
    """Files read, with reads and bytes, and files changed, since the last call."""
    upcoming: Callable[[int], Mapping[int, int]] = lambda _most: {}
    """Files that will be read: how many come before each. The argument limits their bytes, for each
    user."""


class ScanCursor:
    """Goes through the files of the index in the order of numbers, round and round.

    ``scans`` counts how often it came to the end of the table.
    """

    def __init__(self, files: CatalogReader, *, on_flash: bool) -> None:
        self._files = files
        self._on_flash = on_flash
        self._span = ROWS
        self.after = 0
        self.scans = 0

    def rows(self) -> list[Inode]:
        """The next few files, perhaps none."""
        rows, self.after = self._files.files(self.after, self._span, on_flash=self._on_flash)
        self.scans += self.after == 0
        if len(rows) < ROWS // 4:
            self._span = min(2 * self._span, MOST_SPAN)
        elif len(rows) > 2 * ROWS:
            self._span = max(self._span * ROWS // len(rows), LEAST_SPAN)
        return rows

    def restart(self) -> None:
        """Start a scan over."""
        self.after = 0

    @property
    def progress(self) -> float:
        """How much of the present scan is done, 0 to 1, by inode numbers."""
        return min(1.0, self.after / max(1, self._files.last_inode()))
