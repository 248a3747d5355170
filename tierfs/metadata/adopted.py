"""The originals of adopted files: the size and times that show whether one was changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

from tierfs.common.times import to_stored
from tierfs.metadata.database import Database
from tierfs.metadata.inode_table import InodeTable
from tierfs.metadata.inodes import Inode

MOST_KNOWN = 16_384
"""Originals remembered: each read of an adopted file on disk asks for its own."""

COLUMNS = "ino, original, size, mtime, ctime"


class Original(NamedTuple):
    """A row of the table; the columns are explained in ``schema.py``."""

    ino: int
    original: int
    size: int
    mtime: int
    ctime: int

    def is_unchanged(self, status: os.stat_result) -> bool:
        """Whether the file of ``status`` has the size and the mtime that are noted."""
        return (self.size, self.mtime) == (status.st_size, to_stored(status.st_mtime_ns))

    def is_same(self, status: os.stat_result) -> bool:
        """The same, with the ctime."""
        return self.is_unchanged(status) and self.ctime == to_stored(status.st_ctime_ns)


make_original = cast("Callable[[Sequence[int]], Original]", partial(tuple.__new__, Original))
"""As ``Original._make``, in half the time."""


def original_of(ino: int, status: os.stat_result) -> Original:
    """What is noted of an original, which is the object of the inode ``ino``."""
    return Original(
        ino,
        to_stored(status.st_ino),
        status.st_size,
        to_stored(status.st_mtime_ns),
        to_stored(status.st_ctime_ns),
    )


def number_of(status: os.stat_result) -> int:
    """The number of an original, as it is noted."""
    return to_stored(status.st_ino)


class Originals:
    """By inode number; those that change something are called inside a transaction."""

    def __init__(self, database: Database, inodes: InodeTable) -> None:
        self._database = database
        self._inodes = inodes
        self._known: dict[int, Original] = {}

    def get(self, ino: int) -> Original | None:
        """The original of an adopted file, or None."""
        with self._database.lock:  # neither an uncommitted row nor one that just became old
            known = self._known.get(ino)
            if known is None:
                row = self._database.row(f"SELECT {COLUMNS} FROM adopted WHERE ino = ?", ino)  # noqa: S608 - names of our own
                if row is None:
                    return None
                known = Original._make(row)
                if not self._database.in_transaction:
                    if len(self._known) >= MOST_KNOWN:
                        self._known.clear()
                    self._known[ino] = known
            return known

    def of(self, original: int) -> list[int]:
        """The inodes that have the original with this number, as of ``number_of``."""
        rows = self._database.rows("SELECT ino FROM adopted WHERE original = ?", original)
        return [ino for (ino,) in rows]

    def after(self, ino: int, limit: int) -> list[Original]:
        """Those of the first ``limit`` adopted inodes behind ``ino``, in order."""
        statement = f"SELECT {COLUMNS} FROM adopted WHERE ino > ? ORDER BY ino LIMIT ?"  # noqa: S608
        return [Original._make(row) for row in self._database.rows(statement, ino, limit)]

    def count(self) -> int:
        """How many there are."""
        ((number,),) = self._database.rows("SELECT count(*) FROM adopted")
        return int(number)

    def put(self, original: Original) -> None:
        """Note an original, new or old; the inode is marked by who changes its row."""
        self._known.pop(original.ino, None)
        self._database.execute(
            f"INSERT OR REPLACE INTO adopted ({COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
            *original,
        )

    def put_all(self, originals: Sequence[Original]) -> None:
        """The same of many new ones."""
        self._database.insert_many(f"adopted ({COLUMNS})", originals)

    def begin(self, first: int, end: int) -> None:
        """Objects of these inodes are about to be made of originals."""
        self._database.execute("INSERT OR REPLACE INTO adopting VALUES (?, ?)", first, end)

    def begun(self) -> list[tuple[int, int]]:
        """The ranges that were begun and are not settled: first number, and end."""
        return [(first, end) for first, end in self._database.rows("SELECT * FROM adopting")]

    def settle(self, *firsts: int) -> None:
        """Every object of these ranges, and its name, survives a power cut."""
        self._database.execute_for("DELETE FROM adopting WHERE first = ?", firsts)

    def release(self, inode: Inode) -> Inode:
        """The disk object of an adopted inode is its own now, or there is none."""
        self.forget(inode.ino)
        return self._inodes.change(inode, adopted=0)

    def forget(self, *inos: int) -> None:
        """Remove the rows of deleted inodes."""
        for ino in inos:
            self._known.pop(ino, None)
        self._database.execute_for("DELETE FROM adopted WHERE ino = ?", inos)
