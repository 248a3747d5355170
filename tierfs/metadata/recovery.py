"""What a mount needs from the one before: generation, dirty set, pending truncations, requests.

The bytes of the files in the dirty set changed since they were last synced. With a pending
truncation, the objects of a file may be longer than its size and its prefix say.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import get_ident
from typing import NamedTuple

from tierfs.metadata.database import Database

IN_SET = """
SELECT ino, size, error, exact FROM dirty UNION ALL
SELECT ino, synced, 0, 1 FROM inode
WHERE ino >= (SELECT dirty_from FROM volume) AND mode & 0xF000 = 0x8000 AND NOT adopted
AND ino NOT IN (SELECT ino FROM dirty) ORDER BY ino
"""
"""The whole set, in the order of the inode numbers; a new file is in it without a row.

An adopted one never is: others change its object, whose length says nothing."""


class Generations(NamedTuple):
    """The UUID of the mount that the index is from, and of the one the markers may be from already.

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
    row, as if it had one that is exact, with the size ``InodeTable.store_synced`` has stored.
    Any other has a row, committed no later than
    the first change of size that it covers. So whatever part of SQLite's log survives a power cut,
    a file with a size that may not be durable is in the set.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.first = 0
        """Known once the set has been read."""

    def all(self) -> list[DirtyRow]:
        """Everything in the set, in the order of the inode numbers."""
        for (first,) in self._database.rows("SELECT dirty_from FROM volume"):
            self.first = max(self.first, first)
        return [DirtyRow._make(row) for row in self._database.rows(IN_SET)]

    def put(self, ino: int, size: int, *, exact: bool) -> None:
        """Store that ``size`` bytes of an inode are synced; ``exact`` as in the schema."""
        self._database.execute(
            "INSERT INTO dirty (ino, size, error, exact) VALUES (?, ?, 0, ?) "
            "ON CONFLICT (ino) DO UPDATE SET size = excluded.size, exact = excluded.exact",
            ino,
            size,
            int(exact),
        )

    def raise_to(self, first: int, rows: Iterable[DirtyRow]) -> None:
        """Raise ``first``; ``rows`` are those of files below it that stay in the set.

        An existing row is kept.
        """
        for row in rows:
            self._database.execute("INSERT OR IGNORE INTO dirty VALUES (?, ?, ?, ?)", *row)
        self._database.execute("UPDATE volume SET dirty_from = max(dirty_from, ?)", first)
        self.first = first

    def set_error(self, ino: int, error: int) -> None:
        """Store the errno of a failed sync; 0: the file was truncated, so the error is void."""
        self._database.execute("UPDATE dirty SET error = ? WHERE ino = ?", error, ino)

    def forget_errors(self) -> None:
        """Clear all errors, for a new mount: the lengths of the objects decide."""
        self._database.execute("UPDATE dirty SET error = 0 WHERE error != 0")

    def delete(self, *inos: int) -> None:
        """Take inodes out of the set: all their bytes are synced, or they were deleted."""
        self._database.execute_for("DELETE FROM dirty WHERE ino = ?", inos)


class PendingTruncations:
    """Inode numbers; those that change something are called inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, ino: int) -> bool:
        """Add an inode; False: it is in already."""
        return self._database.execute("INSERT OR IGNORE INTO cut (ino) VALUES (?)", ino) > 0

    def delete(self, *inos: int) -> None:
        """Remove inodes whose objects were trimmed or deleted."""
        self._database.execute_for("DELETE FROM cut WHERE ino = ?", inos)

    def has(self, ino: int) -> bool:
        """Whether the inode has one."""
        return self._database.row("SELECT 1 FROM cut WHERE ino = ?", ino) is not None

    def all(self) -> list[int]:
        """Every inode with a pending truncation."""
        return [ino for (ino,) in self._database.rows("SELECT ino FROM cut")]


class AnsweredRequests:
    """Requests whose change is committed, and which may have no reply yet, for a takeover.

    By number; each thread has its last one. ``note`` is called inside a transaction. Only requests
    whose result does not show that they were carried out; see ``tierfs.daemon.resent``. The
    numbers belong to one connection to the kernel.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._threads: dict[int, int] = {}
        self._first = 0
        self._earlier: frozenset[int] = frozenset()

    def begin(self) -> None:
        """Start a new connection: drop the rows of an earlier one."""
        if self._database.row("SELECT 1 FROM answered"):
            with self._database:
                self._database.execute("DELETE FROM answered")

    def take_over(self) -> None:
        """Continue the connection of an earlier daemon: keep its rows."""
        rows = self._database.rows("SELECT thread, request FROM answered")
        self._first = max((thread for thread, _ in rows), default=-1) + 1
        self._earlier = frozenset(request for _, request in rows)

    def has(self, request: int) -> bool:
        """Whether an earlier daemon of the connection committed the change of the request."""
        return request in self._earlier

    def note(self, request: int) -> None:
        """Note that the transaction carries out the request; this thread's last one has a reply."""
        thread = self._threads.setdefault(get_ident(), self._first + len(self._threads))
        self._database.execute("INSERT OR REPLACE INTO answered VALUES (?, ?)", thread, request)
