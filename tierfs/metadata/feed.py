"""The change feed: what was changed, in the order of the changes, for those who follow the index.

While the feed has a reader, each change of a name, an attribute, an extended attribute, a pin or
the dirty set adds a row to the table ``feed``, in the transaction of the change. Triggers of the
writer's connection do that, inside SQLite: no request gets another statement of Python. They are
temporary, so that an index which nobody follows has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from tierfs.common.errors import TierfsError
from tierfs.metadata.database import Database
from tierfs.metadata.inodes import Inode
from tierfs.metadata.sqlite import Row

INODE, DENTRY, XATTR, PIN, DIRTY = 1, 3, 5, 7, 9
"""Kinds: what a row of the feed is of. With 1 added: it is gone."""

DIRTY_FROM: Final = 11
"""The kind of a change of ``volume.dirty_from``."""

TRIMMED_AT_A_TIME: Final = 5000
"""Rows that one transaction deletes: other requests wait that long at most."""

MOST_ROWS: Final = 2_000_000
"""A reader that is further behind must start anew: half a gigabyte."""

INODE_COLUMNS: Final = ", ".join("value" if name == "target" else name for name in Inode._fields)
"""The columns of an inode, as the feed calls them."""


def _row(kind: int, columns: str, row: str, names: str = "") -> str:
    """A row of this kind, with columns of the row that fires; ``names``: what they are there."""
    values = ", ".join(f"{row}.{name}" for name in (names or columns).split(", "))
    return f"INSERT INTO feed (kind, {columns}) VALUES ({kind}, {values});"  # noqa: S608 - names of our own


_PUT_INODE = _row(INODE, INODE_COLUMNS, "NEW", ", ".join(Inode._fields))
_PUT_DENTRY = _row(DENTRY, "ino, parent, name, number", "NEW", "ino, parent, name, cookie")
_DENTRY_GONE = _row(DENTRY + 1, "ino, parent, name", "OLD")
_PUT_XATTR = _row(XATTR, "ino, name, value", "NEW")
_PUT_PIN = _row(PIN, "ino, number, flag", "NEW", "ino, until, below")
_PUT_DIRTY = _row(DIRTY, "ino, size, number, flag", "NEW", "ino, size, error, exact")

_TRIGGERS: Final = {
    "INSERT ON main.inode": _PUT_INODE,
    "UPDATE ON main.inode": _PUT_INODE,
    "DELETE ON main.inode": _row(INODE + 1, "ino", "OLD"),
    "INSERT ON main.entry": _PUT_DENTRY,
    "UPDATE ON main.entry": _DENTRY_GONE + _PUT_DENTRY,
    "DELETE ON main.entry": _DENTRY_GONE,
    "INSERT ON main.xattr": _PUT_XATTR,
    "UPDATE ON main.xattr": _PUT_XATTR,
    "DELETE ON main.xattr": _row(XATTR + 1, "ino, name", "OLD"),
    "INSERT ON main.pin": _PUT_PIN,
    "DELETE ON main.pin": _row(PIN + 1, "ino", "OLD"),
    "INSERT ON main.dirty": _PUT_DIRTY,
    "UPDATE ON main.dirty": _PUT_DIRTY,
    "DELETE ON main.dirty": _row(DIRTY + 1, "ino", "OLD"),
    "UPDATE OF dirty_from ON main.volume": _row(DIRTY_FROM, "ino", "NEW", "dirty_from"),
}
"""What is written to the feed, by what fires it."""


NEW_GENERATION: Final = "UPDATE feed_state SET generation = lower(hex(randomblob(16)))"
"""Where something was changed that the feed does not say: its readers begin anew."""


class TrimmedAway(TierfsError):
    """A reader is so far behind that changes are missing: it must begin anew."""


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
        self.on_close: Callable[[], object] = _nothing
        """Called before the index is closed, with every change in the feed."""
        if not database.read_only and self.readers():
            self._write()

    @property
    def generation(self) -> str:
        """UUID of the feed: its serials go on while it stays the same."""
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
        """Let changes be written for a reader; returns the serial that it is to go on behind.

        A reader that is registered already goes on where it was, unless it begins ``anew``.
        """
        with self._database.lock:
            if not self._written and not self._database.is_full:
                self._write()  # not in the transaction, which may be rolled back
        with self._database:
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
                    self._database.execute(NEW_GENERATION)
            if self._written and not self.readers():
                self._stop()

    @property
    def is_written(self) -> bool:
        """Whether changes are written: there is a reader, and room."""
        return self._written

    def shed(self) -> None:
        """Stop where the filesystem is full, and delete some rows: the room is for removals.

        Readers begin anew, with another generation. To be called now and then, between two
        transactions, while it is full.
        """
        if self._written:
            self._stop()
            with self._database:
                self._database.execute(NEW_GENERATION)
        self.trim(most=0)

    def read(self, after: int, limit: int) -> list[Row]:
        """The next rows behind a serial; the caller makes them durable before it passes them on.

        Raises:
            TrimmedAway: rows behind ``after`` are not there any more.
        """
        with self._database.lock:
            ((first,),) = self._database.rows("SELECT coalesce(min(serial), 0) FROM feed")
            if after + 1 < first:
                raise TrimmedAway(
                    f"the change feed begins behind {first - 1}, not at {after}: begin anew from "
                    "what is there now"
                )
            return self._database.rows(
                "SELECT * FROM feed WHERE serial > ? ORDER BY serial LIMIT ?", after, limit
            )

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
        for number, (event, body) in enumerate(_TRIGGERS.items()):
            self._database.execute(
                f"CREATE TEMP TRIGGER IF NOT EXISTS feed_{number} AFTER {event} BEGIN {body} END"
            )
        self._written = True

    def _stop(self) -> None:
        for number in range(len(_TRIGGERS)):
            self._database.execute(f"DROP TRIGGER temp.feed_{number}")
        self._written = False


def _nothing() -> None:
    """Nobody copies the feed."""
