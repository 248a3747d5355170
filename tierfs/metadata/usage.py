"""Counts of all inodes, maintained with each change, so that no query scans the table for a sum.

The counts are in memory. A row of the index has them since the last checkpoint, and says whether
they are right: they are when the volume was closed. After an unclean end they are counted again
in the background, a thousand inodes at a time; a volume that is closed before that is done says so,
and the next mount counts. This is the arithmetic; `Index` runs the statements.
"""

from __future__ import annotations

from stat import S_IFREG
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from tierfs.metadata.schema import COUNTED, COUNTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierfs.metadata.inodes import Inode

AT_A_TIME: Final = 1000
"""Inodes counted in a step: half a millisecond, for which writers wait."""

OPEN: Final = 0
EXACT: Final = 1
CLOSED_INEXACT: Final = 2
"""What the column ``exact`` says: see the schema."""

_HALF: Final = 32
READ_COUNTS = f"SELECT exact, {', '.join(COUNTED)} FROM usage"  # noqa: S608 - names of our own
WRITE_COUNTS = f"UPDATE usage SET exact = ?, {', '.join(f'{name} = ?' for name in COUNTED)}"  # noqa: S608
COUNT_NEXT = f"""
SELECT max(ino), {COUNTS} FROM (SELECT * FROM inode WHERE ino > ? ORDER BY ino LIMIT {AT_A_TIME})
"""  # noqa: S608
"""The largest number and the sums of the next inodes behind a number."""


class IndexUsage(NamedTuple):
    """What the index counts: inodes, regular files, and files and bytes by tier.

    ``alone`` is what only flash has, and would be lost with it.
    """

    inodes: int
    files: int
    flash_bytes: int
    disk_bytes: int
    flash_files: int
    disk_files: int
    alone_files: int
    alone_bytes: int


class UsageCounts:
    """Every method is called under the database's lock."""

    def __init__(self, stored: Sequence[Any] | None) -> None:
        """``stored``: the row that `READ_COUNTS` finds."""
        self.pending: list[tuple[Inode, Literal[1, -1]]] = []
        """Rows that the present transaction adds, and takes away: a change is one of each."""
        self.pending_on_disk: list[Sequence[tuple[int, int]]] = []
        """Number and size of regular files that it adds, all of whose bytes are on disk."""
        if stored is None or not all(isinstance(number, int) for number in stored):
            stored = (0,) * (1 + len(COUNTED))  # it is damaged: all is counted again
        state, *numbers = stored
        self.were_closed: Final = state != OPEN
        """Whether they were stored after the last change."""
        self._sums = _sums_of(numbers)
        self._recount: list[int] | None = None if state == EXACT else [0] * len(self._sums)
        self.counted = 0
        """Inodes up to this number are in the recount."""
        self.unwritten = False
        """Whether they have changed since they were written."""

    def usage(self) -> IndexUsage:
        """The counts; unless ``exact``, those of a checkpoint before an unclean end."""
        return IndexUsage._make(self._sums)

    @property
    def exact(self) -> bool:
        """Whether they are right, and no recount is under way."""
        return self._recount is None

    def commit(self) -> None:
        """The pending rows have changed."""
        self.unwritten = True
        for row, sign in self.pending:
            _add(self._sums, row, sign)
            if self._recount is not None and row.ino <= self.counted:
                _add(self._recount, row, sign)
        self.pending.clear()
        while self.pending_on_disk:
            self._add_on_disk(self.pending_on_disk.pop())

    def _add_on_disk(self, files: Sequence[tuple[int, int]]) -> None:
        sizes = [size for _, size in files]
        _add_files(self._sums, len(sizes), sum(sizes))
        if self._recount is not None:
            sizes = [size for ino, size in files if ino <= self.counted]
            _add_files(self._recount, len(sizes), sum(sizes))

    def change(self, before: Inode, after: Inode) -> None:
        """The size of a file has changed outside a transaction."""
        self.unwritten = True
        sums = self._sums
        if before.size < after.size <= after.prefix and self._recount is None:
            grown = after.size - before.size  # nearly always: its head grows
            first = int(not before.size)
            sums[2] += grown
            sums[4] += first
            if not after.mirrored:
                sums[6] += first
                sums[7] += grown
            return
        _add(sums, before, -1)
        _add(sums, after, 1)
        if self._recount is not None and after.ino <= self.counted:
            _add(self._recount, before, -1)
            _add(self._recount, after, 1)

    def roll_back(self) -> None:
        """The pending rows have not changed."""
        self.pending.clear()
        self.pending_on_disk.clear()

    def recount(self, last: int | None, sums: Sequence[int]) -> bool:
        """Add what `COUNT_NEXT` finds behind ``counted``; returns whether there may be more."""
        if self._recount is None:
            return False
        if last is not None:
            added = zip(self._recount, _sums_of(sums), strict=True)
            self._recount = [a + b for a, b in added]
            self.counted = last
            return True
        self._sums, self._recount = self._recount, None
        return False

    def to_store(self, *, closed: bool) -> tuple[int, ...]:
        """What the caller writes by `WRITE_COUNTS`; ``closed``: nothing changes any more."""
        self.unwritten = False
        inodes, files, flash, disk, flash_files, disk_files, alone_files, alone = self._sums
        low = (1 << _HALF) - 1
        halves = (half for size in (flash, disk, alone) for half in (size >> _HALF, size & low))
        state = OPEN if not closed else EXACT if self.exact else CLOSED_INEXACT
        return state, inodes, files, flash_files, disk_files, alone_files, *halves


def _add(sums: list[int], row: Inode, sign: int) -> None:
    """Add one inode to sums in the order of `IndexUsage`; this is done for every write."""
    sums[0] += sign
    if row.mode & 0xF000 == S_IFREG:
        size, prefix = row.size, row.prefix
        sums[1] += sign
        if size > prefix:
            sums[3] += sign * (size - prefix)
            sums[5] += sign
            size = prefix
        if size > 0:
            sums[2] += sign * size
            sums[4] += sign
            if not row.mirrored:
                sums[6] += sign
                sums[7] += sign * size


def _add_files(sums: list[int], number: int, size: int) -> None:
    """Add files whose bytes are all on disk."""
    sums[0] += number
    sums[1] += number
    sums[3] += size
    sums[5] += number


def _sums_of(stored: Sequence[int]) -> list[int]:
    inodes, files, flash_files, disk_files, alone_files, *halves = stored
    flash, disk, alone = ((halves[at] << _HALF) + halves[at + 1] for at in (0, 2, 4))
    return [inodes, files, flash, disk, flash_files, disk_files, alone_files, alone]
