"""The extended attributes."""

from __future__ import annotations

from tierfs.index.database import Database
from tierfs.index.inodes import Inodes
from tierfs.index.publisher import XATTRS_MAX, Pairs, Publisher

WEIGHT = "(SELECT sum(length(name) + length(value)) FROM xattr WHERE xattr.ino = inode.ino)"
"""Bytes of the extended attributes of a row of ``inode``; NULL when there is none."""

MOST_ABSENT = 1024
"""Attributes remembered as looked for in vain."""

_WEIGH = "SELECT sum(length(name) + length(value)) FROM xattr WHERE ino = ?"


class Xattrs:
    """Values by inode and full name; changes are made inside a transaction."""

    def __init__(self, database: Database, inodes: Inodes, publisher: Publisher) -> None:
        self._database = database
        self._inodes = inodes
        self._publisher = publisher
        self._absent: set[tuple[int, bytes]] = set()

    def find(self, ino: int, name: bytes) -> bytes | None:
        """The value, or None."""
        with self._database.lock:  # or the transaction may be another thread's
            if self._database.in_transaction:
                return self._find_for_change(ino, name)
            self._publish_all(ino)
            return self._stored(ino, name)

    def names(self, ino: int) -> list[bytes]:
        """Every name, in order."""
        self._publish_all(ino)
        return [
            name
            for (name,) in self._database.rows(
                "SELECT name FROM xattr WHERE ino = ? ORDER BY name", ino
            )
        ]

    def put(self, ino: int, name: bytes, value: bytes) -> None:
        """Set a value, new or old; ENOSPC where the index may not grow."""
        self._database.require_growth(len(value))
        self._database.execute(
            "INSERT OR REPLACE INTO xattr (ino, name, value) VALUES (?, ?, ?)", ino, name, value
        )
        self._absent.discard((ino, name))
        self._publisher.xattr_changed(ino, name, value)

    def delete(self, ino: int, name: bytes) -> bool:
        """Remove a value; tells whether there was one."""
        self._publisher.xattr_changed(ino, name, None)
        return self._database.execute("DELETE FROM xattr WHERE ino = ? AND name = ?", ino, name) > 0

    def delete_all(self, ino: int) -> None:
        """Remove every value of an inode."""
        self._database.execute("DELETE FROM xattr WHERE ino = ?", ino)
        self._publisher.xattrs_removed(ino)

    def publish(self, ino: int, weight: int | None) -> None:
        """Publish all of an inode's, unless they are many; ``weight`` is what ``WEIGHT`` gave.

        Under the database's lock since before ``weight`` was read.
        """
        if weight is None:
            self._publisher.found_xattrs(ino, [])
        elif weight <= XATTRS_MAX:
            self._publisher.found_xattrs(ino, self._pairs(ino))

    def forget_absent(self) -> None:
        """Forget which were looked for in vain: a transaction rolled back."""
        self._absent.clear()

    def _stored(self, ino: int, name: bytes) -> bytes | None:
        row = self._database.row("SELECT value FROM xattr WHERE ino = ? AND name = ?", ino, name)
        return None if row is None else bytes(row[0])

    def _find_for_change(self, ino: int, name: bytes) -> bytes | None:
        """Each file that is made asks for its directory's default list, mostly in vain."""
        if (ino, name) in self._absent:
            return None
        value = self._stored(ino, name)
        if value is None:
            if len(self._absent) >= MOST_ABSENT:
                self._absent.clear()
            self._absent.add((ino, name))
        return value

    def _publish_all(self, ino: int) -> None:
        """Who asks for one of an inode's asks for others soon, above all for some it lacks."""
        if not self._publisher.on:
            return
        with self._database.lock:
            if not self._database.in_transaction:
                self._inodes.find(ino)  # without it they are not kept
                self.publish(ino, self._database.rows(_WEIGH, ino)[0][0])

    def _pairs(self, ino: int) -> Pairs:
        return [
            (name, value)
            for name, value in self._database.rows(
                "SELECT name, value FROM xattr WHERE ino = ? ORDER BY name", ino
            )
        ]
