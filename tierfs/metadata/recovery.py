"""What a mount needs to know of the last one: its generation, the dirty set, pending truncations.

Of the files in the dirty set bytes changed since they were last synced. With a pending truncation
the objects of a file may hold more than its size and its prefix say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tierfs.metadata.database import Database

IN_SET = """
SELECT ino, size, error, exact FROM dirty UNION ALL
SELECT ino, 0, 0, 1 FROM inode
WHERE ino >= (SELECT dirty_from FROM volume) AND mode & 0xF000 = 0x8000 AND NOT adopted
AND ino NOT IN (SELECT ino FROM dirty) ORDER BY ino
"""
"""The whole set, in the order of the inode numbers; a new file is in it without a row.

An adopted one never is: others change its object, whose length says nothing."""


class Generations(NamedTuple):
    """Of which writable mount the index is, and of which the markers may be already; UUIDs.

    Empty: none.
    """

    current: str
    next: str


class DirtyRow(NamedTuple):
    """One inode of the set; ``size`` in bytes is a lower bound of what is synced."""

    ino: int
    size: int
    error: int
    exact: int


class DirtyRows:
    """By inode number; those that change something are called inside a transaction.

    A regular file with a number from ``first`` on, which is not adopted, is in the set without a
    row, as if it had one with size 0 that is exact. Any other has a row, committed no later than
    the first change of size that it covers. So whatever part of SQLite's log survives a power cut,
    a file with a size that may not be durable is in the set.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.first = 0
        """Known once the set was read."""

    def all(self) -> list[DirtyRow]:
        """Everything in the set, in the order of the inode numbers."""
        for (first,) in self._database.rows("SELECT dirty_from FROM volume"):
            self.first = max(self.first, first)
        return [DirtyRow._make(row) for row in self._database.rows(IN_SET)]

    def put(self, ino: int, size: int, *, exact: bool) -> None:
        """``size`` bytes of an inode of the set are synced; ``exact`` as in the schema."""
        self._database.execute(
            "INSERT INTO dirty (ino, size, error, exact) VALUES (?, ?, 0, ?) "
            "ON CONFLICT (ino) DO UPDATE SET size = excluded.size, exact = excluded.exact",
            ino,
            size,
            int(exact),
        )

    def raise_to(self, first: int, rows: Iterable[DirtyRow]) -> None:
        """Let files below ``first`` be in the set only by a row; ``rows`` are of those that are.

        A row that is there already stays.
        """
        for row in rows:
            self._database.execute("INSERT OR IGNORE INTO dirty VALUES (?, ?, ?, ?)", *row)
        self._database.execute("UPDATE volume SET dirty_from = max(dirty_from, ?)", first)
        self.first = first

    def set_error(self, ino: int, error: int) -> None:
        """Syncing failed with this errno; 0: the bytes that could not be written are gone."""
        self._database.execute("UPDATE dirty SET error = ? WHERE ino = ?", error, ino)

    def forget_errors(self) -> None:
        """For a new mount: the lengths of the objects tell what a failed sync has left."""
        self._database.execute("UPDATE dirty SET error = 0 WHERE error != 0")

    def delete(self, *inos: int) -> None:
        """All bytes of these inodes, which have rows, are synced, or they are gone."""
        self._database.execute_for("DELETE FROM dirty WHERE ino = ?", inos)


class PendingTruncations:
    """Inode numbers; those that change something are called inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, ino: int) -> bool:
        """Let the objects of the inode be trimmed, even if the daemon is killed before.

        False: it is pending already.
        """
        return self._database.execute("INSERT OR IGNORE INTO cut (ino) VALUES (?)", ino) > 0

    def delete(self, *inos: int) -> None:
        """The objects of these were trimmed, or removed."""
        self._database.execute_for("DELETE FROM cut WHERE ino = ?", inos)

    def all(self) -> list[int]:
        """Every inode with one."""
        return [ino for (ino,) in self._database.rows("SELECT ino FROM cut")]
