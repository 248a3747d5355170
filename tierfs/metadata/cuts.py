"""The files whose objects may hold more than their size and prefix say."""

from __future__ import annotations

from tierfs.metadata.database import Database


class Cuts:
    """Inode numbers; those that change something are called inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, ino: int) -> bool:
        """The objects of the inode are to be trimmed, even if the daemon is killed before.

        False: that was noted already.
        """
        return self._database.execute("INSERT OR IGNORE INTO cut (ino) VALUES (?)", ino) > 0

    def delete(self, *inos: int) -> None:
        """The objects of these were trimmed, or removed."""
        self._database.execute_for("DELETE FROM cut WHERE ino = ?", inos)

    def all(self) -> list[int]:
        """Every inode noted."""
        return [ino for (ino,) in self._database.rows("SELECT ino FROM cut")]
