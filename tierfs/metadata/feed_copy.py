"""The copy of the change feed: the changes since a copy of the index, in a file elsewhere.

A `FeedCopier` adds the newest changes of the feed to such a file, a *segment*: a database that
holds the table ``feed`` alone, with the images of the inodes. It reads on a connection of its own,
for a moment only, into memory, so that a slow target never keeps the log of the index from being
emptied.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from tierfs.common.errors import IndexFailed
from tierfs.common.sync import sync_data, sync_file
from tierfs.metadata.feed import copy_changes
from tierfs.metadata.schema import FEED
from tierfs.metadata.sqlite import connect, translating

ROWS_AT_A_TIME: Final = 20_000
"""Rows in memory: some megabytes."""

_PRAGMAS: Final = (
    "PRAGMA cache_size = -2048",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA busy_timeout = 10000",
)


_BATCH: Final = "CREATE TEMP TABLE batch"


class Segment(NamedTuple):
    """What a segment says of itself: it holds each change behind ``start`` up to ``end``."""

    generation: str
    start: int
    end: int


def read_segment(path: Path) -> Segment:
    """What a segment holds.

    Raises:
        IndexFailed: it cannot be read, or is damaged.
    """
    with (
        translating(path),
        closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True)) as connection,
    ):
        return _segment(connection, "main")


def inspect_segment(path: Path) -> Segment:
    """What a segment holds, all of which is read, and nothing changed.

    Raises:
        IndexFailed: it cannot be read, or is damaged.
    """
    journal = path.with_name(f"{path.name}-journal").exists()
    way = "mode=rw" if journal else "immutable=1"
    with (
        translating(path),
        closing(sqlite3.connect(f"file:{quote(str(path))}?{way}", uri=True)) as connection,
    ):
        (problem,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if problem != "ok":
            raise IndexFailed(errno.EIO, problem)
        return _segment(connection, "main")


def _segment(connection: sqlite3.Connection, schema: str) -> Segment:
    (row,) = connection.execute(
        f"SELECT generation, start, coalesce((SELECT max(serial) FROM {schema}.feed), start) "  # noqa: S608 - a name of our own
        f"FROM {schema}.segment"
    )
    return Segment._make(row)


def make_segment(path: Path, generation: str, start: int) -> None:
    """Make an empty segment, durably, at a ``path`` where nothing is.

    Raises:
        IndexFailed: SQLite failed.
        OSError: it cannot be made.
    """
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with translating(unfinished), closing(sqlite3.connect(unfinished)) as connection:
        connection.executescript(f"BEGIN; {FEED} {_STATE} COMMIT;")
        connection.execute("INSERT INTO segment VALUES (?, ?)", (generation, start))
        connection.commit()
    unfinished.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file(directory)
    finally:
        os.close(directory)


_STATE: Final = """
-- One row: which feed it is of, and behind which serial it starts.
CREATE TABLE segment (generation TEXT NOT NULL, start INTEGER NOT NULL) STRICT;
"""


def _sync(path: Path) -> None:
    """Make sure that a segment that SQLite has synced is durable.

    Raises:
        OSError: it may not be.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        sync_data(descriptor)
    finally:
        os.close(descriptor)


class FeedCopier:
    """Adds to a segment what the feed has; thread-safe.

    Raises from every method:
        IndexFailed: SQLite failed: the index could not be read, or the segment not be written.
        OSError: the log of the index, or the segment, could not be synced.
    """

    def __init__(
        self, index: Path, sync: Callable[[], object], *, flush: Callable[[], object] = bool
    ) -> None:
        """``sync`` makes every change of the index so far durable; ``flush`` lets others see it."""
        self._index = index
        self._flush = flush
        self._sync = sync
        self._lock = threading.Lock()
        self._segment: Path | None = None
        self.position = 0
        """The serial up to which every change is in the copy, durably."""
        with translating(index):
            self._connection = connect(index, _PRAGMAS)
            self._connection.executescript(FEED.replace("CREATE TABLE feed", _BATCH))

    def close(self) -> None:
        """Close; nothing may be called afterwards."""
        with self._lock, translating(self._index):
            self._connection.close()

    def write_to(self, path: Path) -> Segment:
        """Continue with the segment ``path``."""
        with self._lock, translating(path):
            if self._segment is not None:
                self._connection.execute("DETACH segment")
                self._segment = None
            self._connection.execute(
                "ATTACH ? AS segment", (f"file:{quote(str(path))}?mode=rw&vfs=unix",)
            )
            # With FULL a power cut may bring the journal back, which takes the copy back.
            self._connection.execute("PRAGMA segment.synchronous = EXTRA")
            self._segment = path
            found = _segment(self._connection, "segment")
            self.position = found.end
            return found

    def copy(self) -> int:
        """Copy what is there and not copied yet, durably; returns the `position`."""
        with self._lock:
            if self._segment is None:
                return self.position
            self._flush()
            while self._copy_some(self._segment):
                pass
            return self.position

    def _copy_some(self, segment: Path) -> bool:
        """Copy some rows; returns whether there may be more."""
        connection = self._connection
        with translating(self._index):
            connection.execute("BEGIN")
            try:
                connection.execute("DELETE FROM temp.batch")
                rows = copy_changes(connection, "temp.batch", self.position, ROWS_AT_A_TIME)
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
        if not rows:
            return False
        self._sync()  # nothing is in the copy that a power cut could take from the index
        with translating(segment):
            connection.execute("INSERT OR IGNORE INTO segment.feed SELECT * FROM temp.batch")
        _sync(segment)  # SQLite believes a sync of a filesystem that was shut down meanwhile
        (self.position,) = connection.execute("SELECT max(serial) FROM temp.batch").fetchone()
        return True
