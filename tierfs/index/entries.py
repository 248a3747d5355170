"""The directory entries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tierfs.index.database import Database
from tierfs.index.inodes import Inode, Inodes

_INODE_COLUMNS = ", ".join(f"inode.{field}" for field in Inode._fields)
_LOOKUP = (
    f"SELECT {_INODE_COLUMNS} FROM entry JOIN inode USING (ino) "  # noqa: S608 - column names of our own
    "WHERE entry.parent = ? AND entry.name = ?"
)
_LIST = (
    f"SELECT entry.name, entry.cookie, {_INODE_COLUMNS} FROM entry JOIN inode USING (ino) "  # noqa: S608
    "WHERE entry.parent = ? AND entry.cookie < ? ORDER BY entry.cookie DESC LIMIT ?"
)
END = 2**62
"""Behind every position of a listing; no serial comes near it."""

FIRST_PAGE = 64
LAST_PAGE = 512
"""Entries fetched at a time, more and more: a listing of any directory needs that much memory."""


class Entry(NamedTuple):
    """One line of a listing; ``cookie`` is where the next line begins, counted from the start."""

    name: bytes
    cookie: int
    inode: Inode


class Entries:
    """Names in directories; those that change something are called inside a transaction."""

    def __init__(self, database: Database, inodes: Inodes) -> None:
        self._database = database
        self._inodes = inodes

    def find(self, parent: int, name: bytes) -> Inode | None:
        """What ``name`` refers to in the directory ``parent``, or None."""
        with self._database.lock:
            row = self._database.row(_LOOKUP, parent, name)
            return None if row is None else self._inodes.remember(Inode._make(row))

    def insert(self, parent: int, name: bytes, ino: int, cookie: int) -> None:
        """Add an entry; ``cookie`` grows with every one that is added."""
        self._database.execute(
            "INSERT INTO entry (parent, name, ino, cookie) VALUES (?, ?, ?, ?)",
            parent,
            name,
            ino,
            cookie,
        )

    def point(self, parent: int, name: bytes, ino: int) -> None:
        """Make an entry refer to another inode; it keeps its place in the listing."""
        self._database.execute(
            "UPDATE entry SET ino = ? WHERE parent = ? AND name = ?", ino, parent, name
        )

    def rename(self, parent: int, name: bytes, new_name: bytes) -> None:
        """Give an entry another name, which is free; it keeps its place in the listing."""
        self._database.execute(
            "UPDATE entry SET name = ? WHERE parent = ? AND name = ?", new_name, parent, name
        )

    def delete(self, parent: int, name: bytes) -> None:
        """Remove an entry."""
        self._database.execute("DELETE FROM entry WHERE parent = ? AND name = ?", parent, name)

    def is_empty(self, parent: int) -> bool:
        """Whether a directory has no entry but . and .."""
        return self._database.row("SELECT 1 FROM entry WHERE parent = ? LIMIT 1", parent) is None

    def after(self, parent: int, cookie: int) -> Iterator[Entry]:
        """The entries behind ``cookie``, newest first, fetched a page at a time.

        Newest first, so that what is made while a listing is under way is made behind it: a program
        that makes a file for each one that it lists comes to an end.
        """
        page = FIRST_PAGE
        stored = END - cookie
        while rows := self._database.rows(_LIST, parent, stored, page):
            for name, stored, *inode in rows:
                yield Entry(name, END - stored, Inode._make(inode))
            page = min(2 * page, LAST_PAGE)

    def name_of(self, inode: Inode) -> bytes | None:
        """An inode's name in the directory that ``parent`` hints at; reads that directory."""
        row = self._database.row(
            "SELECT name FROM entry WHERE parent = ? AND ino = ? LIMIT 1", inode.parent, inode.ino
        )
        return None if row is None else bytes(row[0])
