"""The extended attributes."""

from __future__ import annotations

from tierfs.index.database import Database


class Xattrs:
    """Values by inode and full name; changes are made inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, ino: int, name: bytes) -> bytes | None:
        """The value, or None."""
        row = self._database.row("SELECT value FROM xattr WHERE ino = ? AND name = ?", ino, name)
        return None if row is None else bytes(row[0])

    def names(self, ino: int) -> list[bytes]:
        """Every name, in order."""
        return [
            name
            for (name,) in self._database.rows(
                "SELECT name FROM xattr WHERE ino = ? ORDER BY name", ino
            )
        ]

    def put(self, ino: int, name: bytes, value: bytes) -> None:
        """Set a value, new or old."""
        self._database.execute(
            "INSERT OR REPLACE INTO xattr (ino, name, value) VALUES (?, ?, ?)", ino, name, value
        )

    def delete(self, ino: int, name: bytes) -> bool:
        """Remove a value; tells whether there was one."""
        return self._database.execute("DELETE FROM xattr WHERE ino = ? AND name = ?", ino, name) > 0

    def delete_all(self, ino: int) -> None:
        """Remove every value of an inode."""
        self._database.execute("DELETE FROM xattr WHERE ino = ?", ino)
