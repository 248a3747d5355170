"""A consistent copy of the index, made beside its writer, and the replay of the feed into a copy.

`copy_index` goes through the big tables a range of keys at a time, each range in one state of the
file. Changes made meanwhile are in the change feed: its rows are copied last, together with the
small tables, and replayed. So the copy is the index of the moment at which these were read,
although no reader kept the log of SQLite from being emptied. SQLite moves the rows; Python sees
none of them.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Self
from urllib.parse import quote

from tierfs.metadata.feed import (
    DENTRY,
    DIRTY,
    DIRTY_FROM,
    INODE,
    INODE_COLUMNS,
    ORIGINAL,
    PIN,
    XATTR,
    copy_changes,
)
from tierfs.metadata.inodes import COLUMNS as INODE_FIELDS
from tierfs.metadata.schema import MIGRATIONS
from tierfs.metadata.sqlite import connect, translating
from tierfs.metadata.wal import CheckpointSeqlockReader

ROWS_AT_A_TIME: Final = 20_000
"""Rows of one range: some tens of milliseconds, so that it is seldom read twice."""

CHANGES_AT_A_TIME: Final = 20_000
"""Rows of the feed: what is left for the last step, which is of one moment, is less."""

ALL: Final = -1
"""As a limit of SQLite: none."""

STEPS_AT_A_TIME: Final = 1_000_000
"""Of SQLite's virtual machine: some tens of milliseconds."""

_PAUSE_S: Final = 0.01

_BIG: Final = {"inode": "ino", "entry": "parent, name", "xattr": "ino, name", "adopted": "ino"}
"""The tables that are copied by ranges, with their keys."""

_SMALL: Final = (
    *("volume", "generation", "pin", "request", "cut", "dirty", "feed_state", "adopting"),
)
"""Those that are copied whole. Checksums and header facts are in no copy: of a file that was
changed after the last change that is known, they would be wrong."""

_UNSYNCED: Final = ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF")
"""Of a file that nobody believes before it was synced as a whole."""

_LISTING: Final = "CREATE UNIQUE INDEX entry_listing ON entry (parent, cookie)"


class IndexState(NamedTuple):
    """Which moment a copy is of: the feed, and the serial of the last change in it."""

    generation: str
    serial: int


def _uri(path: Path, how: str = "") -> str:
    return f"file:{quote(str(path))}{how}"


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def empty_index(path: Path) -> None:
    """Make an index without a row, at a ``path`` where nothing is.

    Raises:
        IndexFailed: SQLite failed.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with translating(path), closing(sqlite3.connect(path, isolation_level=None)) as made:
        for pragma in ("PRAGMA page_size = 1024", *_UNSYNCED):
            made.execute(pragma)
        for number, migration in enumerate(MIGRATIONS):
            made.executescript(migration)
            made.execute(f"PRAGMA user_version = {number + 1}")


# ------------------------------------------------------------------ out


def copy_index(
    source: Path,
    target: Path,
    memory: int,
    *,
    checkpoints: int | None = None,
    after: int = 0,
    pause: Callable[[], object] = bool,
) -> IndexState:
    """Copy the index ``source`` to ``target``, where nothing is; not synced yet.

    Args:
        source: the index.
        target: the copy.
        memory: bytes for pages of the copy.
        checkpoints: the descriptor that `Index.checkpoint_for_snapshot` returned; None: nobody has
            the index open.
        after: the serial of the feed from which it keeps what is changed meanwhile.
        pause: called between two ranges, and now and then while nobody needs the source.

    Raises:
        IndexFailed: SQLite failed.
    """
    empty_index(target)
    with translating(target), closing(_alone(target, memory)) as connection:
        connection.execute("DROP INDEX entry_listing")  # not while what it lists is of two moments
    with translating(source), _Copy(source, target, memory, checkpoints) as copy:
        copy.run(after, pause)
    with translating(target), closing(_alone(target, memory // 3)) as connection:
        # The sorter of the index takes as much as the cache; what the copy has freed is in pieces.
        connection.set_progress_handler(partial(_paused, pause), STEPS_AT_A_TIME)
        with _transaction(connection):
            replay(connection, after)
            connection.execute(_LISTING)
        return state_of(connection)


def _paused(pause: Callable[[], object]) -> int:
    """Pause, and let SQLite go on."""
    pause()
    return 0


def _alone(path: Path, memory: int) -> sqlite3.Connection:
    """A copy, of which nothing is undone: one that is not whole is thrown away.

    So there is no journal, which would have each page in memory that the changes behind the copy
    touch.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", _cache(memory)):
        connection.execute(pragma)
    return connection


def _cache(memory: int) -> str:
    return f"PRAGMA cache_size = -{memory // 1024}"


def state_of(connection: sqlite3.Connection) -> IndexState:
    """The moment of a copy that is ``main``."""
    (row,) = connection.execute(
        "SELECT generation, (SELECT coalesce(max(serial), 0) FROM feed) FROM feed_state"
    )
    return IndexState(*row)


class _Copy:
    """One copy under way."""

    def __init__(self, source: Path, target: Path, memory: int, checkpoints: int | None) -> None:
        self._source, self._target, self._memory = source, target, memory
        self._counters = None if checkpoints is None else CheckpointSeqlockReader(checkpoints)
        self._seen: int | None = None
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._counters is not None:
            self._counters.close()

    def run(self, after: int, pause: Callable[[], object]) -> None:
        for table, key in _BIG.items():
            while self._consistently(partial(_copy_range, table=table, key=key)):
                pause()
        # What is tried again, since a checkpoint came in between, must not grow meanwhile.
        changes, rest = partial(_copy_changes, after=after), partial(_copy_rest, after=after)
        while self._consistently(changes) or not self._once(rest):
            pause()

    def _consistently(self, step: Callable[[sqlite3.Connection], int]) -> int:
        """Do a step in one state of the source: what it copied from two is rolled back."""
        while (result := self._once(step)) is None:
            time.sleep(_PAUSE_S)
        return result

    def _once(self, step: Callable[[sqlite3.Connection], int]) -> int | None:
        """What the step returns; None: it met two states, and is undone."""
        settled = 0 if self._counters is None else self._counters.settled
        if settled is None:
            return None
        try:
            connection = self._connection
            if connection is None or settled != self._seen:
                connection = self._open()  # which reads the schema
                self._seen = settled
            connection.execute("BEGIN")
            result = step(connection)
            if self._counters is None or self._counters.settled == settled:
                connection.execute("COMMIT")
                return result
        except sqlite3.Error:  # or of pages that belong to two states
            if self._counters is None or self._counters.settled == settled:
                raise
        self._seen = None
        return None

    def _open(self) -> sqlite3.Connection:
        """SQLite never reads again what it has cached of an immutable file."""
        if self._connection is not None:
            self._connection.close()
        if self._counters is None:
            connection = connect(self._source, (_cache(self._memory),), read_only=True)
        else:
            connection = sqlite3.connect(
                _uri(self._source, "?immutable=1"), uri=True, isolation_level=None
            )
        self._connection = connection
        connection.execute("ATTACH ? AS copy", (_uri(self._target, "?mode=rw"),))
        connection.execute("PRAGMA copy.journal_mode = MEMORY")
        connection.execute("PRAGMA copy.synchronous = OFF")
        connection.execute(f"PRAGMA copy.cache_size = -{self._memory // 1024}")
        return connection


def _copy_range(connection: sqlite3.Connection, table: str, key: str) -> int:
    """Copy the rows behind the last one that is there; returns how many they were."""
    down = ", ".join(f"{column} DESC" for column in key.split(", "))
    last = connection.execute(f"SELECT {key} FROM copy.{table} ORDER BY {down} LIMIT 1").fetchone()  # noqa: S608 - names of our own
    marks = ", ".join("?" * len(last or ()))
    behind = f"WHERE ({key}) > ({marks})" if last else ""
    return connection.execute(
        f"INSERT INTO copy.{table} SELECT * FROM main.{table} {behind} "  # noqa: S608
        f"ORDER BY {key} LIMIT {ROWS_AT_A_TIME}",
        last or (),
    ).rowcount


def _copy_changes(connection: sqlite3.Connection, after: int) -> int:
    """Copy rows of the feed behind the last one that is there; returns how many they were."""
    return copy_changes(connection, "copy.feed", _last_copied(connection, after), CHANGES_AT_A_TIME)


def _copy_rest(connection: sqlite3.Connection, after: int) -> int:
    """Copy the tables that must be of one moment; returns how many there are."""
    for table in _SMALL:
        connection.execute(f"DELETE FROM copy.{table}")  # noqa: S608
        connection.execute(f"INSERT INTO copy.{table} SELECT * FROM main.{table}")  # noqa: S608
    ((last,),) = connection.execute("SELECT coalesce(max(serial), 0) FROM main.feed")
    copy_changes(connection, "copy.feed", min(_last_copied(connection, after), last - 1), ALL)
    return len(_SMALL)


def _last_copied(connection: sqlite3.Connection, after: int) -> int:
    ((serial,),) = connection.execute(
        "SELECT max(?, coalesce(max(serial), 0)) FROM copy.feed", (after,)
    )
    return int(serial)


# ------------------------------------------------------------------ replay

TABLES: Final = (
    (INODE, "inode", "ino", f"{INODE_FIELDS}, synced", f"{INODE_COLUMNS}, number"),
    (DENTRY, "entry", "parent, name", "parent, name, ino, cookie", "parent, name, ino, number"),
    (XATTR, "xattr", "ino, name", "ino, name, value", "ino, name, value"),
    (PIN, "pin", "ino", "ino, until, below", "ino, number, flag"),
    (DIRTY, "dirty", "ino", "ino, size, error, exact", "ino, size, number, flag"),
    (
        *(ORIGINAL, "adopted", "ino"),
        *("ino, original, size, mtime, ctime", "ino, number, size, mtime, ctime"),
    ),
)
"""Kind, table, key, columns, and what these are called in the feed."""


def _replayed(kind: int, table: str, key: str, columns: str, named: str) -> tuple[str, str]:
    """Of each key the last row counts. What is gone goes first: a name may get its cookie."""
    last = f"""
        SELECT max(serial) FROM feed
        WHERE serial > :after AND kind IN ({kind}, {kind + 1}) GROUP BY {key}
    """  # noqa: S608 - names of our own
    gone = f"""
        DELETE FROM {table} WHERE ({key}) IN
        (SELECT {key} FROM feed WHERE kind = {kind + 1} AND serial IN ({last}))
    """  # noqa: S608
    put = f"""
        INSERT OR REPLACE INTO {table} ({columns})
        SELECT {named} FROM feed WHERE kind = {kind} AND serial IN ({last})
    """  # noqa: S608
    return gone, put


_DIRTY_FROM: Final = f"""
UPDATE volume SET dirty_from = max(dirty_from, coalesce(
    (SELECT max(ino) FROM feed WHERE kind = {DIRTY_FROM} AND serial > :after), 0))
"""  # noqa: S608


def replay(connection: sqlite3.Connection, after: int) -> None:
    """Carry out what the feed of ``main`` says behind a serial, and keep only its last row."""
    for table in TABLES:
        for statement in _replayed(*table):
            connection.execute(statement, {"after": after})
    connection.execute(_DIRTY_FROM, {"after": after})
    connection.execute("DELETE FROM feed WHERE serial < (SELECT max(serial) FROM feed)")
