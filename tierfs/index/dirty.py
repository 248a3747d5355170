"""The dirty set: files whose bytes changed since they were last synced."""

from __future__ import annotations

from typing import NamedTuple

from tierfs.index.database import Database


class DirtyRow(NamedTuple):
    """One inode of the set; ``size`` in bytes is a lower bound of what is synced."""

    ino: int
    size: int
    error: int
    exact: int


class DirtyRows:
    """By inode number; those that change something are called inside a transaction.

    A row is committed no later than the first change of size that it covers. So whatever part of
    SQLite's log survives a power cut, a size that may not be durable has its row.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[DirtyRow]:
        """Every row, in the order of the inode numbers."""
        rows = self._database.rows("SELECT ino, size, error, exact FROM dirty ORDER BY ino")
        return [DirtyRow._make(row) for row in rows]

    def insert(self, ino: int, size: int, *, exact: bool) -> None:
        """The bytes of an inode change; ``size`` of them are synced; ``exact`` as in the schema."""
        self._database.execute(
            "INSERT INTO dirty (ino, size, error, exact) VALUES (?, ?, 0, ?)", ino, size, int(exact)
        )

    def update(self, ino: int, size: int, *, exact: bool) -> None:
        """The same of an inode that is in the set."""
        self._database.execute(
            "UPDATE dirty SET size = ?, exact = ? WHERE ino = ?", size, int(exact), ino
        )

    def set_error(self, ino: int, error: int) -> None:
        """Syncing failed with this errno; 0: what could not be written is gone."""
        self._database.execute("UPDATE dirty SET error = ? WHERE ino = ?", error, ino)

    def forget_errors(self) -> None:
        """A new mount: the lengths of the objects tell what a failed sync has left."""
        self._database.execute("UPDATE dirty SET error = 0 WHERE error != 0")

    def delete(self, *inos: int) -> None:
        """All bytes of these inodes are synced, or they are gone."""
        self._database.execute_for("DELETE FROM dirty WHERE ino = ?", inos)
