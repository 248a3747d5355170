"""Read-only SQL on views of the index, for people: `tierfs sql`.

The views are temporary ones of the connection, so nothing of them is in the index. SQLite itself
asks before it compiles a statement whether each thing in it is allowed
(https://www.sqlite.org/c3ref/set_authorizer.html). It says through which view a table is read, but
a common table expression could have the name of a view. So each view reads another one with a
random name, and the tables are read through that alone.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

from tierfs.common.errors import UsageError
from tierfs.metadata.reader import SnapshotReader

VIEWS: Final = {
    "files": (
        "one row an inode that has a name",
        """
        SELECT i.ino AS inode, CASE i.mode & 0xF000 WHEN 0x8000 THEN 'file'
            WHEN 0x4000 THEN 'directory' WHEN 0xA000 THEN 'link' WHEN 0x1000 THEN 'fifo'
            WHEN 0xC000 THEN 'socket' WHEN 0x6000 THEN 'block' WHEN 0x2000 THEN 'character' END
            AS type,
            i.mode & 0xFFF AS mode, i.uid AS owner, i.gid AS "group", i.nlink AS links,
            i.size AS size, i.atime AS atime, i.mtime AS mtime, i.ctime AS ctime,
            nullif(i.btime, 0) AS btime, i.parent AS directory,
            CASE WHEN i.mode & 0xF000 = 0x8000 THEN CASE WHEN i.prefix = 0 THEN 'disk'
                WHEN i.size <= i.prefix THEN 'flash' ELSE 'split' END END AS tier,
            (i.mode & 0xF000 = 0x8000) * min(i.size, i.prefix) AS on_flash,
            i.mirrored AS mirrored, i.sparse AS sparse, i.adopted AS adopted
        FROM main.inode AS i WHERE i.nlink > 0
        """,
    ),
    "names": (
        "one row a directory entry",
        """
        SELECT parent AS directory, name AS raw_name, CAST(name AS TEXT) AS name, ino AS inode
        FROM main.entry
        """,
    ),
    "tags": (
        "one row an extended attribute `user.`",
        """
        SELECT x.ino AS inode, CAST(x.name AS TEXT) AS name, CAST(x.value AS TEXT) AS value,
            x.value AS raw_value
        FROM main.xattr AS x JOIN main.inode AS i ON i.ino = x.ino
        WHERE substr(x.name, 1, 5) = x'757365722e' AND i.nlink > 0
        """,
    ),
    "facts": (
        "one row a header fact that holds",
        """
        SELECT f.ino AS inode, f.key AS name, f.value AS value FROM main.fact AS f
            JOIN main.fact_state AS s ON s.ino = f.ino JOIN main.inode AS i ON i.ino = f.ino
        WHERE s.data_version = i.version AND i.nlink > 0
        """,
    ),
}
"""What each view has, for people, and its SELECT."""

LONGEST: Final = 16 * 1024 * 1024
"""Bytes of a value."""

MEMORY: Final = 256 * 1024 * 1024
"""Bytes that SQLite may allocate; sorting goes to temporary files before."""

_COUNTED: Final = frozenset({"inode", "entry", "xattr", "fact", "fact_state"})

STEPS: Final = 100_000
"""Of SQLite's virtual machine, between two looks at the clock."""


class SqlReader(SnapshotReader):
    """A connection that can only read the views, until a moment of the monotonic clock."""

    def __init__(self, path: Path, checkpoints: int, until: float) -> None:
        self._until = until
        super().__init__(path, checkpoints)

    @property
    def state(self) -> int | None:
        """Which state of the file is read; it differs after a checkpoint."""
        return self._checkpoints.settled

    def select(
        self, statement: str, take: Callable[[list[str], Iterator[tuple[Any, ...]]], object]
    ) -> None:
        """Run a statement, and give the names of its columns and its rows to ``take``.

        Raises:
            UsageError: it is wrong, reads something else, needs too much memory, or takes too long.
        """
        try:
            with closing(self._connection.execute(statement)) as cursor:
                if cursor.description is None:
                    raise UsageError("this statement selects nothing; write SELECT ...")
                take([column[0] for column in cursor.description], cursor)
        except sqlite3.Error as error:
            raise UsageError(_explained(error)) from error

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = super()._connect(path)
        secret = f"v{secrets.token_hex(16)}"
        try:
            connection.execute("PRAGMA temp_store = FILE")  # before there are views
            connection.execute("PRAGMA query_only = OFF")  # which are no change of the index
            for name, (_, select) in VIEWS.items():
                connection.execute(f"CREATE TEMP VIEW {secret}_{name} AS {select}")
                connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {secret}_{name}")  # noqa: S608 - names of our own
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA hard_heap_limit = {MEMORY}")
            connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.set_progress_handler(self._is_late, STEPS)
            connection.set_authorizer(partial(_authorize, secret))
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_late(self) -> bool:
        return time.monotonic() > self._until


def _authorize(
    secret: str,
    action: int,
    first: str | None,
    second: str | None,
    database: str | None,
    through: str | None,
) -> int:
    """Whether a part of a statement is allowed: what a view reads is, through that view."""
    if action in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE}:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_DENY if second == "load_extension" else sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_READ:
        by_view = through is not None and through.startswith(secret)
        if not second and database == "main":  # how many rows a table has, as count(*) of a view
            return sqlite3.SQLITE_OK if first in _COUNTED else sqlite3.SQLITE_DENY
        if by_view or (database == "temp" and (first in VIEWS or str(first).startswith(secret))):
            return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _explained(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_INTERRUPT:
        return "the statement takes too long; raise --timeout, or select less"
    if code == sqlite3.SQLITE_AUTH or "prohibited" in str(error):
        return f"{error}: only SELECT on the views {', '.join(VIEWS)} is allowed"
    if code == sqlite3.SQLITE_NOMEM:
        return "the statement needs too much memory; select less"
    return f"SQL: {error}"
