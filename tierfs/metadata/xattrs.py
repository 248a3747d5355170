"""The extended attributes: values by inode and name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tierfs.metadata.cache_updater import MAX_CACHED_XATTRS, CacheUpdater
from tierfs.metadata.database import Database

WEIGHT = "(SELECT sum(length(name) + length(value)) FROM xattr WHERE xattr.ino = inode.ino)"
"""Bytes of the extended attributes of a row of ``inode``; NULL when there is none."""

MOST_KNOWN = 16_384
"""Inodes of which the names of their attributes are remembered."""

FEW = 16
"""Attributes of one inode: of more no name is remembered."""

_NONE: frozenset[bytes] = frozenset()

_STORED = "SELECT value FROM xattr WHERE ino = ? AND name = ?"
_NAMES = "SELECT name FROM xattr WHERE ino = ? ORDER BY name"
_FEW_NAMES = f"SELECT name FROM xattr WHERE ino = ? LIMIT {FEW + 1}"  # noqa: S608 - a number
_WEIGH = "SELECT sum(length(name) + length(value)) FROM xattr WHERE ino = ?"


class Xattrs:
    """Values by inode and full name; changes are made inside a transaction."""

    def __init__(
        self, database: Database, find_inode: Callable[[int], object], updater: CacheUpdater
    ) -> None:
        """``find_inode`` puts an inode into the metadata cache."""
        self._database = database
        self._find_inode = find_inode
        self._updater = updater
        self._known: dict[int, frozenset[bytes]] = {}
        """The names of all attributes of some inodes, used and changed inside transactions."""

    def find(self, ino: int, name: bytes) -> bytes | None:
        """The value, or None."""
        with self._database.lock:  # or the transaction may be another thread's
            if self._database.in_transaction:
                return self.find_within(ino, name)
            self._fill_all(ino)
            row = self._database.row(_STORED, ino, name)
            return None if row is None else bytes(row[0])

    def find_within(self, ino: int, name: bytes) -> bytes | None:
        """The value inside a transaction, as that has made it.

        Each new file needs the default ACL of its directory, which mostly has none.
        """
        names = self._known.get(ino)
        if names is None:
            names = self._names_within(ino)
        if names is not None and name not in names:
            return None
        row = self._database.row_within(_STORED, ino, name)
        return None if row is None else bytes(row[0])

    def names(self, ino: int) -> list[bytes]:
        """Every name, in order."""
        self._fill_all(ino)
        return [name for (name,) in self._database.rows(_NAMES, ino)]

    def begin(self, ino: int) -> None:
        """The inode is a new one."""
        self._remember(ino, _NONE)

    def put(self, ino: int, name: bytes, value: bytes) -> None:
        """Set a value, new or old; ENOSPC where the index may not grow."""
        self._database.require_growth(len(value))
        self._database.execute(
            "INSERT OR REPLACE INTO xattr (ino, name, value) VALUES (?, ?, ?)", ino, name, value
        )
        names = self._known.get(ino)
        if names is not None:
            if not names and len(name) + len(value) <= MAX_CACHED_XATTRS:
                self._updater.xattrs_removed(ino)  # what follows are all of its attributes
            if name not in names:
                self._remember(ino, names | {name})
        self._updater.xattr_changed(ino, name, value)

    def delete(self, ino: int, name: bytes) -> bool:
        """Remove a value; tells whether there was one."""
        names = self._names_within(ino)
        if names is not None:
            if name not in names:
                return False
            self._remember(ino, names - {name})
        self._updater.xattr_changed(ino, name, None)
        return self._database.execute("DELETE FROM xattr WHERE ino = ? AND name = ?", ino, name) > 0

    def delete_all(self, *inos: int) -> None:
        """Remove every value of these inodes."""
        self._database.delete_for("xattr", inos)
        for ino in inos:
            self._known.pop(ino, None)
            self._updater.xattrs_removed(ino)

    def fill_cache(self, ino: int, weight: int | None) -> None:
        """Put all of an inode's into the metadata cache, unless they are many.

        ``weight`` is what ``WEIGHT`` gave. Under the lock since before ``weight`` was read.
        """
        if weight is None:
            self._updater.fill_xattrs(ino, [])
        elif weight <= MAX_CACHED_XATTRS:
            few = self._database.rows(
                "SELECT name, value FROM xattr WHERE ino = ? ORDER BY name", ino
            )
            self._updater.fill_xattrs(ino, [(name, value) for name, value in few])

    def roll_back(self, inos: Iterable[int]) -> None:
        """Forget what a rolled-back transaction made of these."""
        for ino in inos:
            self._known.pop(ino, None)

    def _names_within(self, ino: int) -> frozenset[bytes] | None:
        """All names, inside a transaction; None: they are many."""
        names = self._known.get(ino)
        if names is None:
            rows = self._database.rows_within(_FEW_NAMES, ino)
            if len(rows) > FEW:
                return None
            names = frozenset(name for (name,) in rows)
            self._remember(ino, names)
        return names

    def _remember(self, ino: int, names: frozenset[bytes]) -> None:
        if len(names) > FEW:
            self._known.pop(ino, None)
            return
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[ino] = names or _NONE

    def _fill_all(self, ino: int) -> None:
        """A request for one attribute is soon followed by others, most of them for absent ones."""
        if not self._updater.enabled:
            return
        with self._database.lock:
            if not self._database.in_transaction:
                self._find_inode(ino)  # without it they are not kept
                self.fill_cache(ino, self._database.rows(_WEIGH, ino)[0][0])
