"""The dentries: names in directories, and listings in pages."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tierfs.common.errors import FsError
from tierfs.metadata.cache_updater import ABSENT, CacheUpdater, ListingLine
from tierfs.metadata.database import Database
from tierfs.metadata.inode_table import InodeTable
from tierfs.metadata.inodes import Inode, inode_of
from tierfs.metadata.xattrs import WEIGHT, Xattrs

_COLUMNS = ", ".join(f"inode.{field}" for field in Inode._fields)
_FROM = "FROM entry JOIN inode USING (ino) WHERE entry.parent = ?"
_LOOKUP = f"SELECT {_COLUMNS}, {WEIGHT} {_FROM} AND entry.name = ?"
_LEADS_TO = "SELECT ino FROM entry WHERE parent = ? AND name = ?"
_LIST = (
    f"SELECT entry.name, entry.cookie, {WEIGHT}, {_COLUMNS} {_FROM} "
    "AND entry.cookie < ? ORDER BY entry.cookie DESC LIMIT ?"
)
_FILL = (
    f"SELECT entry.name, {WEIGHT}, {_COLUMNS} {_FROM} "
    "AND entry.name > ? ORDER BY entry.name LIMIT ?"
)
END = 2**62
"""Behind every position of a listing; no serial comes near it."""

MOST_KNOWN = 16_384
"""Names that were made and are remembered: many of them are renamed or removed soon."""

NAMES_AT_ONCE = 500
"""Names that one query asks for."""

FIRST_PAGE = 64
LAST_PAGE = 512
"""Dentries fetched at a time, more and more: a listing of any directory needs that much memory."""


_BETWEEN = "SELECT parent, name, ino FROM entry WHERE ino >= ? AND ino < ?"
_NAME = "SELECT name FROM entry WHERE parent = ? AND ino = ? LIMIT 1"
_FIRST_NAME = "SELECT name FROM entry WHERE parent = ? AND ino = ? AND cookie = ?"


def _marks(number: int) -> str:
    return ", ".join("?" * number)


DentryKey = tuple[int, bytes]
"""A directory's inode number and a name in it."""


class Dentry(NamedTuple):
    """One line of a listing; ``cookie`` is where the next line begins, counted from the start."""

    name: bytes
    cookie: int
    inode: Inode


class Dentries:
    """Names in directories; those that change something are called inside a transaction."""

    def __init__(
        self, database: Database, inodes: InodeTable, xattrs: Xattrs, updater: CacheUpdater
    ) -> None:
        self._database = database
        self._inodes = inodes
        self._xattrs = xattrs
        self._updater = updater
        self._known: dict[DentryKey, int] = {}
        """Inode numbers of names that were made recently; used and changed inside transactions."""

    def find(self, parent: int, name: bytes) -> Inode | None:
        """What ``name`` refers to in the directory ``parent``, or None."""
        with self._database.lock:
            row = self._database.row(_LOOKUP, parent, name)
            if row is None:
                if self._updater.enabled and not self._database.in_transaction:
                    self._updater.fill_negative(parent, name)
                return None
            *fields, weight = row
            inode = self._inodes.remember(self._inodes.latest(inode_of(fields)))
            self._fill(parent, name, inode, weight)
        if inode.ino in self._inodes.unreconciled:
            return self._inodes.find(inode.ino)
        return inode

    def find_within(self, parent: int, name: bytes) -> Inode | None:
        """The same inside a transaction, as that has made it.

        Raises:
            FsError: ESTALE, it refers to an inode that does not exist: the index is damaged.
        """
        ino = self._known.get((parent, name))
        if ino is None:
            row = self._database.row_within(_LEADS_TO, parent, name)
            if row is None:
                return None
            (ino,) = row
        return self._inodes.find_within(ino)

    def insert(self, parent: int, name: bytes, ino: int, cookie: int) -> None:
        """Add a dentry; ``cookie`` grows with every one that is added.

        Raises:
            FsError: EEXIST, the name is taken; the transaction is to be rolled back.
        """
        added = self._database.execute(
            "INSERT OR IGNORE INTO entry (parent, name, ino, cookie) VALUES (?, ?, ?, ?)",
            parent,
            name,
            ino,
            cookie,
        )
        if not added:
            raise FsError(errno.EEXIST)
        self._note(parent, name, ino)

    def insert_all(self, dentries: Sequence[tuple[int, bytes, int, int]]) -> None:
        """Add many dentries whose names are free: directory, name, inode number and cookie."""
        self._database.insert_many("entry (parent, name, ino, cookie)", dentries)
        self._updater.names_added(parent for parent, _, _, _ in dentries)

    def taken(self, parent: int, names: Sequence[bytes]) -> set[bytes]:
        """Those of the names that a directory has, in a transaction or not."""
        found: set[bytes] = set()
        for at in range(0, len(names), NAMES_AT_ONCE):
            part = names[at : at + NAMES_AT_ONCE]
            query = f"SELECT name FROM entry WHERE parent = ? AND name IN ({_marks(len(part))})"  # noqa: S608
            found.update(bytes(name) for (name,) in self._database.rows(query, parent, *part))
        return found

    def between(self, first: int, end: int) -> list[tuple[int, bytes, int]]:
        """Directory, name and inode number of every name of these inodes; reads every dentry."""
        return [
            (parent, bytes(name), ino)
            for parent, name, ino in self._database.rows(_BETWEEN, first, end)
        ]

    def point(self, parent: int, name: bytes, ino: int) -> None:
        """Make a dentry refer to another inode; it keeps its place in the listing."""
        self._database.execute(
            "UPDATE entry SET ino = ? WHERE parent = ? AND name = ?", ino, parent, name
        )
        self._note(parent, name, ino)

    def rename(self, parent: int, name: bytes, new_name: bytes, ino: int) -> bool:
        """Give a dentry of ``ino`` another name, if that is free; its place in the listing stays.

        Returns whether it was free.
        """
        if (parent, new_name) in self._known:
            return False
        renamed = self._database.execute(
            "UPDATE OR IGNORE entry SET name = ? WHERE parent = ? AND name = ?",
            new_name,
            parent,
            name,
        )
        if renamed:
            self._note(parent, name, ABSENT)
            self._note(parent, new_name, ino)
        return renamed > 0

    def move(self, source: DentryKey, target: DentryKey, ino: int, cookie: int) -> None:
        """Move a dentry of ``ino`` to a free name in another directory, as if added there."""
        self._database.execute(
            "UPDATE entry SET parent = ?, name = ?, cookie = ? WHERE parent = ? AND name = ?",
            *target,
            cookie,
            *source,
        )
        self._note(*source, ABSENT)
        self._note(*target, ino)

    def delete(self, parent: int, name: bytes) -> None:
        """Remove a dentry."""
        self._database.execute("DELETE FROM entry WHERE parent = ? AND name = ?", parent, name)
        self._note(parent, name, ABSENT)

    def is_empty(self, parent: int) -> bool:
        """Whether a directory has no dentry, that is, nothing but . and .."""
        return self._database.row("SELECT 1 FROM entry WHERE parent = ? LIMIT 1", parent) is None

    def after(self, parent: int, cookie: int) -> Iterator[Dentry]:
        """The dentries behind ``cookie``, newest first, fetched a page at a time.

        Newest first, so that a file made during a listing is not listed: a program that makes a
        file for each one that it lists comes to an end.
        """
        page = FIRST_PAGE
        stored = END - cookie
        while entries := self._page(parent, stored, page):
            if self._inodes.unreconciled:
                self._inodes.reconcile_all([entry.inode.ino for entry in entries])
                entries = self._page(parent, stored, page)
            yield from entries
            stored = END - entries[-1].cookie
            page = min(2 * page, LAST_PAGE)

    def fill_listing(self, parent: int, cookie: int, first: list[ListingLine]) -> None:
        """Put the page behind ``cookie`` into the metadata cache.

        ``first`` come before it: ``.`` and ``..``.
        """
        stored = END - (first[-1][1] if first else cookie)
        if self._inodes.unreconciled:
            page = self._page(parent, stored, LAST_PAGE)
            self._inodes.reconcile_all([entry.inode.ino for entry in page])
        with self._database.lock:
            page = self._page(parent, stored, LAST_PAGE)
            rows = [(name, place, inode.ino, inode.mode) for name, place, inode in page]
            self._updater.fill_listing(parent, cookie, first + rows, end=len(page) < LAST_PAGE)

    def begin_cache_fill(self, parent: int) -> bool:
        """Begin to put every name into the metadata cache, page by page; False: all are there."""
        return self._updater.begin_fill(parent)

    def complete_cache_fill(self, parent: int) -> bool:
        """Every name was put into the metadata cache; False: it has evicted some meanwhile."""
        return self._updater.complete_fill(parent)

    def fill_cache(self, parent: int, after: bytes, limit: int) -> bytes | None:
        """Put the next ``limit`` names behind ``after`` into the metadata cache.

        Returns the last of them; None: no more come.

        A change between two calls puts its own names there: one that is made in front of ``after``,
        or renamed to there, is not missed.
        """
        with self._database.lock:
            rows = self._database.rows(_FILL, parent, after, limit)
            for name, weight, *fields in rows:
                self._fill(parent, name, self._inodes.latest(inode_of(fields)), weight)
        return bytes(rows[-1][0]) if len(rows) == limit else None

    def name_of(self, inode: Inode) -> bytes | None:
        """An inode's name in the directory that ``parent`` hints at; reads that directory."""
        found = (inode.parent, inode.ino)
        # Its first name has its number as its place, which is found without reading the directory.
        row = self._database.row(_FIRST_NAME, *found, inode.ino) or self._database.row(
            _NAME, *found
        )
        return None if row is None else bytes(row[0])

    def roll_back(self, places: Iterable[DentryKey]) -> None:
        """Forget what a rolled-back transaction made of these."""
        for place in places:
            self._known.pop(place, None)

    def _note(self, parent: int, name: bytes, ino: int) -> None:
        """A name leads to the inode now; ``ABSENT``: to none."""
        place = parent, name
        if ino == ABSENT:
            self._known.pop(place, None)
        else:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[place] = ino
        self._updater.dentries[place] = ino

    def _page(self, parent: int, stored: int, limit: int) -> list[Dentry]:
        entries = []
        with self._database.lock:
            for name, cookie, weight, *fields in self._database.rows(_LIST, parent, stored, limit):
                inode = self._inodes.latest(inode_of(fields))
                entries.append(Dentry(name, END - cookie, inode))
                self._fill(parent, name, inode, weight)
        return entries

    def _fill(self, parent: int, name: bytes, inode: Inode, weight: int | None) -> None:
        """Under the lock since before the row was read."""
        if self._updater.enabled and not self._database.in_transaction:
            self._updater.fill_dentry(parent, name, inode)
            self._xattrs.fill_cache(inode.ino, weight)
