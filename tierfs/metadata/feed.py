"""The change feed: every change, in order, for readers that follow the index.

While the feed has a reader, each change of a name, an attribute, an extended attribute, a pin, the
dirty set or an original adds a row to the table ``feed``, in the transaction of the change.
Triggers of the writer's connection do that, inside SQLite: no request gets another statement of
Python. They are temporary, so that an index which nobody follows has none.

What every change pays for is short. Of an inode a row has the number alone, and one of a name or an
extended attribute stands for the inodes as well that change with it. Who reads takes the images of
the inodes from the inode table: they may be newer than the row, never older. One row tells of all
the names that adopting a tree adds to a directory at a time, which are read likewise.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

from tierfs.common.errors import TierfsError
from tierfs.metadata.database import Database
from tierfs.metadata.inodes import Inode
from tierfs.metadata.sqlite import Row

INODE, DENTRY, XATTR, PIN, DIRTY = 1, 3, 5, 7, 9
"""Kinds: what a row of the feed is about. With 1 added: it was deleted."""

DIRTY_FROM: Final = 11
"""The kind of a change of ``volume.dirty_from``."""

ORIGINAL: Final = 13
"""The kind of an original of an adopted file. With 1 added: nobody else has it any more."""

ADOPTED: Final = 15
"""The kind of a row of adopted names: of ``parent``, with cookies from ``ino`` up to ``number``.

It is in the table alone: who reads gets the names, the originals and the inodes.
"""

AND_INODES: Final = 32
"""Added to a kind in the table: the inode, and the directory of a name, have changed as well."""

SERIALS: Final = 3
"""Of such a row, which has the last of them: the others are those of the inodes.

Also of each cookie of adopted names: inode, original, name. The last one is the directory's.
"""

TRIMMED_AT_A_TIME: Final = 5000
"""Rows that one transaction deletes: other requests wait that long at most."""

MOST_ROWS: Final = 2_000_000
"""A reader that is further behind must start over: half a gigabyte."""

INODE_COLUMNS: Final = ", ".join("value" if name == "target" else name for name in Inode._fields)
"""The columns of an inode, as the feed calls them."""

COLUMNS: Final = (
    *("serial", "kind", "ino", "parent", "name", "value", "number", "flag", "size", "mode", "uid"),
    *("gid", "nlink", "rdev", "atime", "mtime", "ctime", "prefix", "version", "sparse"),
    *("mirrored", "btime", "adopted"),
)
"""Of the table, in its order."""

WITH_A_NAME: Final = frozenset({"nlink", "mtime", "ctime", "parent"})
"""Columns of an inode that change with a name or an extended attribute, whose row tells of it."""


def _row(kind: int, columns: str, row: str, names: str = "") -> str:
    """A row of this kind, with columns of the row that fires; ``names``: what they are there."""
    values = ", ".join(f"{row}.{name}" for name in (names or columns).split(", "))
    return f"INSERT INTO feed (kind, {columns}) VALUES ({kind}, {values});"  # noqa: S608 - names of our own


def _row_and_inodes(kind: int, columns: str, row: str, names: str = "") -> str:
    """The same, which stands for the inodes as well."""
    serial = f"(SELECT coalesce(max(serial), 0) + {SERIALS} FROM feed)"  # noqa: S608 - a number
    plain = _row(kind + AND_INODES, columns, row, names)
    return plain.replace("(kind", "(serial, kind").replace("VALUES (", f"VALUES ({serial}, ")


_PUT_INODE = _row(INODE, "ino", "NEW")
_TOLD_ALONE = ", ".join(
    name for name in (*Inode._fields, "synced") if name != "ino" and name not in WITH_A_NAME
)
_PUT_DENTRY = _row_and_inodes(
    DENTRY, "ino, parent, name, number", "NEW", "ino, parent, name, cookie"
)
_DENTRY_GONE = _row_and_inodes(DENTRY + 1, "ino, parent, name", "OLD")
_PUT_XATTR = _row_and_inodes(XATTR, "ino, name, value", "NEW")
_PUT_PIN = _row(PIN, "ino, number, flag", "NEW", "ino, until, below")
_PUT_DIRTY = _row(DIRTY, "ino, size, number, flag", "NEW", "ino, size, error, exact")
_PUT_ORIGINAL = _row(
    ORIGINAL, "ino, number, size, mtime, ctime", "NEW", "ino, original, size, mtime, ctime"
)

_ENTRY_MADE: Final = "INSERT ON main.entry"
_ORIGINAL_MADE: Final = "INSERT ON main.adopted"

_TRIGGERS: Final = {
    f"UPDATE OF {_TOLD_ALONE} ON main.inode": _PUT_INODE,
    "DELETE ON main.inode": _row(INODE + 1, "ino", "OLD"),
    _ENTRY_MADE: _PUT_DENTRY,
    "UPDATE ON main.entry": _DENTRY_GONE + _PUT_DENTRY,
    "DELETE ON main.entry": _DENTRY_GONE,
    "INSERT ON main.xattr": _PUT_XATTR,
    "UPDATE ON main.xattr": _PUT_XATTR,
    "DELETE ON main.xattr": _row_and_inodes(XATTR + 1, "ino, name", "OLD"),
    "INSERT ON main.pin": _PUT_PIN,
    "DELETE ON main.pin": _row(PIN + 1, "ino", "OLD"),
    "INSERT ON main.dirty": _PUT_DIRTY,
    "UPDATE ON main.dirty": _PUT_DIRTY,
    "DELETE ON main.dirty": _row(DIRTY + 1, "ino", "OLD"),
    "UPDATE OF dirty_from ON main.volume": _row(DIRTY_FROM, "ino", "NEW", "dirty_from"),
    _ORIGINAL_MADE: _PUT_ORIGINAL,
    "DELETE ON main.adopted": _row(ORIGINAL + 1, "ino", "OLD"),
}
"""What is written to the feed, by what fires it."""

_NUMBERS: Final = {event: number for number, event in enumerate(_TRIGGERS)}
"""Of the triggers, which are called by them."""

_TRIGGER_STATEMENTS: Final = tuple(
    f"CREATE TEMP TRIGGER IF NOT EXISTS feed_{number} AFTER {event} BEGIN {body} END"
    for number, (event, body) in enumerate(_TRIGGERS.items())
)

_INSERT_ADOPTED: Final = f"""
INSERT INTO feed (serial, kind, ino, parent, number)
VALUES ((SELECT coalesce(max(serial), 0) + ? FROM feed), {ADOPTED}, ?, ?, ?)
"""  # noqa: S608 - a number

_IMAGE = dict.fromkeys(COLUMNS, "NULL") | {
    **{"value" if name == "target" else name: f"inode.{name}" for name in Inode._fields},
    "number": "inode.synced",
    "serial": "key.serial",
    "kind": f"{INODE} + (inode.ino IS NULL)",
    "ino": "key.ino",
}

_END: Final = f"""
SELECT count(*), max(serial) FROM (
    SELECT serial FROM main.feed WHERE serial > ?1 AND (?2 < 0 OR serial <=
        {SERIALS} * ?2 + (SELECT min(serial) FROM main.feed WHERE serial > ?1))
    ORDER BY serial LIMIT ?2
)
"""  # noqa: S608 - a number
"""How many of the next rows there are, and the serial of the last of them.

One row of adopted names is a thousand changes: more changes than the limit may be read.
"""

_ROWS: Final = f"""
SELECT serial, kind % {AND_INODES}, {", ".join(COLUMNS[2:])} FROM main.feed
WHERE serial > ?1 AND serial <= ?2 AND kind NOT IN ({INODE}, {ADOPTED})
"""  # noqa: S608 - names of our own
"""The rows behind a serial, up to another, without those of inodes and of adopted names."""

_ADOPTED: Final = f"""
SELECT serial - 1 - {SERIALS} * (number - 1) AS base, serial, ino AS first, number AS behind, parent
FROM main.feed WHERE kind = {ADOPTED} AND serial > ?1 AND serial <= ?2
"""  # noqa: S608 - numbers
"""The rows of adopted names; the serial of a name is ``base`` with three for each cookie."""

_ENTRIES: Final = """
CROSS JOIN main.entry AS entry
ON entry.parent = adopted.parent AND entry.cookie >= first AND entry.cookie < behind
"""
_OF_NAME = dict.fromkeys(COLUMNS, "NULL") | {
    "serial": f"base + {SERIALS} * cookie",
    "kind": str(DENTRY),
    "number": "cookie",
    **{name: f"entry.{name}" for name in ("ino", "parent", "name")},
}
_OF_ORIGINAL = dict.fromkeys(COLUMNS, "NULL") | {
    "serial": f"base + {SERIALS} * original.ino - 1",
    "kind": str(ORIGINAL),
    "number": "original.original",
    **{name: f"original.{name}" for name in ("ino", "size", "mtime", "ctime")},
}
_ADOPTED_ROWS: Final = f"""
WITH adopted AS ({_ADOPTED})
SELECT * FROM (
    SELECT {", ".join(f"{_OF_NAME[name]} AS {name}" for name in COLUMNS)} FROM adopted {_ENTRIES}
    UNION ALL
    SELECT {", ".join(_OF_ORIGINAL[name] for name in COLUMNS)} FROM adopted
    CROSS JOIN main.adopted AS original ON original.ino >= first AND original.ino < behind
) WHERE serial > ?1
"""  # noqa: S608 - names of our own
"""What rows of adopted names stand for, but for inodes, as it is now.

A name that was moved or removed since is not there: rows of its own follow.
"""

_IMAGES: Final = f"""
WITH new AS (
    SELECT serial, kind, ino, parent FROM main.feed
    WHERE serial > ?1 AND serial <= ?2 AND kind != {ADOPTED}
),
adopted AS ({_ADOPTED}),
key (serial, ino) AS (
    SELECT serial, ino FROM new WHERE kind = {INODE}
    UNION ALL
    SELECT max(serial), ino FROM (
        SELECT serial - 2 AS serial, ino FROM new WHERE kind > {AND_INODES}
        UNION ALL SELECT serial - 1, parent FROM new WHERE kind > {AND_INODES} AND parent NOT NULL
        UNION ALL SELECT serial, parent FROM adopted
        UNION ALL SELECT base + {SERIALS} * made.ino - 2, made.ino FROM adopted
            CROSS JOIN main.inode AS made ON made.ino >= first AND made.ino < behind
        UNION ALL SELECT base + {SERIALS} * cookie - 2, entry.ino FROM adopted {_ENTRIES}
            WHERE entry.ino != cookie
    ) GROUP BY ino HAVING max(serial) > ?1
)
SELECT {", ".join(_IMAGE[name] for name in COLUMNS)}
FROM key LEFT JOIN main.inode AS inode ON inode.ino = key.ino
"""  # noqa: S608 - names of our own
"""The inodes of the same rows. One that is there because of names is there once, with the last.

So who begins behind any of the rows gets the inodes of those that follow.
"""

_NAMES_OF: Final = f"""
SELECT DISTINCT parent, name FROM feed
WHERE serial > ?1 AND kind % {AND_INODES} IN ({DENTRY}, {DENTRY + 1})
UNION SELECT entry.parent, entry.name FROM feed CROSS JOIN entry
ON entry.parent = feed.parent AND entry.cookie >= feed.ino AND entry.cookie < feed.number
WHERE serial > ?1 AND kind = {ADOPTED}
"""  # noqa: S608 - numbers
"""The names in the rows behind a serial, with their directories."""

_INODES_OF: Final = f"""
SELECT ino FROM feed WHERE serial > ?1 AND (kind = {INODE} OR kind > {AND_INODES})
UNION SELECT parent FROM feed
WHERE serial > ?1 AND (kind > {AND_INODES} AND parent NOT NULL OR kind = {ADOPTED})
"""  # noqa: S608 - numbers
"""The numbers of the inodes in the same."""

_FIRST: Final = f"""
SELECT serial - CASE WHEN kind > {AND_INODES} THEN {SERIALS} - 1
    WHEN kind = {ADOPTED} THEN {SERIALS} * (number - ino) ELSE 0 END
FROM feed ORDER BY serial LIMIT 1
"""  # noqa: S608 - numbers
"""The serial of the first change that is there."""


_PARTS: Final = (_ROWS, _ADOPTED_ROWS, _IMAGES)


def copy_changes(connection: sqlite3.Connection, target: str, after: int, limit: int) -> int:
    """Insert the changes behind a serial into a table like ``feed``, but with the inodes.

    What there is in some of the next rows, ``limit`` at most, or with -1 in all; in a transaction,
    since it must be of one moment. After the last row of a moment the table leads to the index of
    that moment.

    Returns how many rows there were.
    """
    ((rows, end),) = connection.execute(_END, (after, limit))
    for part in _PARTS if rows else ():
        connection.execute(f"INSERT OR REPLACE INTO {target} {part}", (after, end))
    return int(rows)


NEW_GENERATION: Final = "UPDATE feed_state SET generation = lower(hex(randomblob(16)))"
"""The generation of a feed that misses a change: its readers start over."""


class TrimmedAway(TierfsError):
    """A reader is so far behind that changes are missing: it must start over."""


class Reader(NamedTuple):
    """A reader of the feed, and the serial up to which it has dealt with every change."""

    name: str
    serial: int


class Feed:
    """The writer's side: readers come, advance and go. Thread-safe.

    Raises from every method:
        IndexFailed: SQLite failed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written = False
        self.catch_up: Callable[[], object] = _nothing
        """Called before objects are freed: who copies the feed copies what it has so far."""
        self.at_sync: Callable[[], object] | None = None
        """Called by an fsync once the index is synced: what it makes durable is to be copied."""
        self.on_close: Callable[[], object] = _nothing
        """Called before the index is closed, with every change in the feed."""
        if not database.read_only and self.readers():
            self._write()

    @property
    def generation(self) -> str:
        """UUID of the feed: its serials continue while it stays the same."""
        ((generation,),) = self._database.rows("SELECT generation FROM feed_state")
        return str(generation)

    def last(self) -> int:
        """The serial of the last change; 0: there was none yet."""
        ((serial,),) = self._database.rows("SELECT coalesce(max(serial), 0) FROM feed")
        return int(serial)

    def readers(self) -> list[Reader]:
        """All of them."""
        return [
            Reader._make(row)
            for row in self._database.rows("SELECT name, serial FROM feed_reader ORDER BY name")
        ]

    def register(self, name: str, *, anew: bool = False) -> int:
        """Let changes be written for a reader; returns the serial that it is to continue behind.

        A reader that is registered already continues where it was, unless it begins ``anew``.
        """
        with self._database.lock:
            if not self._written and not self._database.is_full:
                self._write()  # not in the transaction, which may be rolled back
        with self._database:
            self._database.commit_alone()  # what is replayed needs the triggers from the beginning
            if anew:
                self._database.execute("DELETE FROM feed_reader WHERE name = ?", name)
            self._database.execute(
                "INSERT OR IGNORE INTO feed_reader VALUES (?, ?)", name, self.last()
            )
            ((serial,),) = self._database.rows(
                "SELECT serial FROM feed_reader WHERE name = ?", name
            )
        return int(serial)

    def advance(self, name: str, serial: int) -> None:
        """A reader has dealt with every change up to ``serial``."""
        with self._database:
            self._database.execute(
                "UPDATE feed_reader SET serial = max(serial, ?) WHERE name = ?", serial, name
            )

    def unregister(self, name: str) -> None:
        """Let a reader go; without any, no changes are written, and the generation ends."""
        with self._database.lock:
            with self._database:
                self._database.execute("DELETE FROM feed_reader WHERE name = ?", name)
                if self._written and not self.readers():
                    self._database.commit_alone()
                    self._database.execute(NEW_GENERATION)
            if self._written and not self.readers():
                self._stop()

    @property
    def is_written(self) -> bool:
        """Whether changes are written: there is a reader, and room."""
        return self._written

    def shed(self) -> None:
        """Stop where the filesystem is full, and delete some rows: the room is for removals.

        Readers start over, with another generation. To be called now and then, between two
        transactions, while it is full.
        """
        if self._written:
            self._stop()
            with self._database:
                self._database.commit_alone()
                self._database.execute(NEW_GENERATION)
        self.trim(most=0)

    def read(self, after: int, limit: int) -> list[Row]:
        """The next changes behind a serial, in order: rows with all of `COLUMNS`.

        The caller makes them durable before it passes them on.

        Raises:
            TrimmedAway: rows behind ``after`` are not there any more.
        """
        with self._database.lock:
            for (first,) in self._database.rows(_FIRST):
                if after + 1 < first:
                    raise TrimmedAway(
                        f"the change feed begins behind {first - 1}, not at {after}: start over "
                        "from what is there now"
                    )
            found: list[Row] = []
            while len(found) < limit:
                ((rows, end),) = self._database.rows(_END, after, limit)
                if not rows:
                    break
                parts = [self._database.rows(part, after, end) for part in _PARTS]
                found += sorted(chain(*parts), key=itemgetter(0))
                after = end
            return found[:limit]

    def latest(self, limit: int) -> tuple[list[tuple[int, bytes]], list[int]]:
        """What the last ``limit`` changes are of: names, by their directories, and inodes."""
        after = self.last() - limit
        names = self._database.rows(_NAMES_OF, after)
        inodes = self._database.rows(_INODES_OF, after)
        return [(parent, bytes(name)) for parent, name in names], [ino for (ino,) in inodes]

    @contextmanager
    def adopting(self, directories: Iterable[tuple[int, range]]) -> Iterator[None]:
        """Let one row for each directory tell of the names and originals that the block inserts.

        In a transaction, which fails if the block does. A directory comes with the cookies that its
        names have.
        """
        if not self._written:
            yield
            return
        self._database.commit_alone()
        made = [_NUMBERS[event] for event in (_ENTRY_MADE, _ORIGINAL_MADE)]
        for number in made:
            self._database.execute(f"DROP TRIGGER temp.feed_{number}")
        yield
        for parent, cookies in directories:
            self._database.execute(
                _INSERT_ADOPTED, SERIALS * len(cookies) + 1, cookies.start, parent, cookies.stop
            )
        for number in made:
            self._database.execute(_TRIGGER_STATEMENTS[number])

    def trim(self, most: int = MOST_ROWS) -> bool:
        """Delete some rows that every reader has dealt with; returns whether there are more.

        The last row stays. Beyond ``most`` rows the oldest go, even if a reader needs them.
        """
        last = self.last()
        done = min((reader.serial for reader in self.readers()), default=last)
        below = min(max(done + 1, last - most), last)
        ((first,),) = self._database.rows("SELECT coalesce(min(serial), 0) FROM feed")
        if first >= below:
            return False
        with self._database:
            self._database.execute(
                "DELETE FROM feed WHERE serial < ?", min(below, first + TRIMMED_AT_A_TIME)
            )
        return bool(first + TRIMMED_AT_A_TIME < below)

    def _write(self) -> None:
        """From now on changes are written."""
        for statement in _TRIGGER_STATEMENTS:
            self._database.execute_alone(statement)
        self._written = True

    def _stop(self) -> None:
        for number in range(len(_TRIGGERS)):
            self._database.execute_alone(f"DROP TRIGGER temp.feed_{number}")
        self._written = False


def _nothing() -> None:
    """Nobody copies the feed."""
