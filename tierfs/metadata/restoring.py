"""An index that is restored from a copy, before it becomes the one of a volume."""

from __future__ import annotations

import sqlite3
import stat
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from tierfs.common.errors import VolumeRefused
from tierfs.metadata.copying import IndexState, replay, state_of
from tierfs.metadata.dumping import load_lines
from tierfs.metadata.feed import NEW_GENERATION
from tierfs.metadata.feed_copy import read_segment
from tierfs.metadata.inodes import COLUMNS, ROOT
from tierfs.metadata.schema import MIGRATIONS, VERSION
from tierfs.metadata.sqlite import translating

_NOT_FOLLOWED: Final = ("request", "cut")
"""Tables of which the feed tells nothing, with a row for some inodes that may be gone since."""


class RestoredIndex:
    """The copy at ``path``; nobody else has it open, and a crash may leave it damaged.

    Raises from every method:
        IndexFailed: SQLite failed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with translating(path):
            self._connection = sqlite3.connect(path, isolation_level=None)
            for pragma in ("journal_mode = MEMORY", "synchronous = OFF", "cache_size = -65536"):
                self._connection.execute(f"PRAGMA {pragma}")

    def close(self) -> None:
        """Close it; its bytes are not synced yet."""
        with translating(self.path):
            self._connection.close()

    def migrate(self) -> None:
        """Bring it to the present schema: a backup may be older than this tierfs.

        Raises:
            VolumeRefused: it is of a newer one.
        """
        with translating(self.path):
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise VolumeRefused(
                    f"{self.path}: the backup has schema {version}, this tierfs knows {VERSION}: "
                    "use the newer tierfs that wrote it"
                )
            for number in range(version, VERSION):
                self._connection.executescript(
                    f"BEGIN;\n{MIGRATIONS[number]}\nPRAGMA user_version = {number + 1};\nCOMMIT;"
                )

    def volume(self) -> str:
        """UUID of the volume that it is of."""
        with translating(self.path):
            (row,) = self._connection.execute("SELECT uuid FROM volume")
            return str(row[0])

    @property
    def state(self) -> IndexState:
        """The moment that it is of."""
        with translating(self.path):
            return state_of(self._connection)

    def replay(self, segment: Path) -> int:
        """Carry out what a segment says behind the state; returns how many changes that were."""
        generation, serial = self.state
        found = read_segment(segment)
        if found.generation != generation or not found.start <= serial < found.end:
            return 0
        with translating(segment):
            self._connection.execute("ATTACH ? AS segment", (str(segment),))
            try:
                self._connection.execute("BEGIN")
                rows = self._connection.execute(
                    "INSERT OR IGNORE INTO main.feed SELECT * FROM segment.feed WHERE serial > ?",
                    (serial,),
                ).rowcount
                replay(self._connection, serial)
                for table in _NOT_FOLLOWED:
                    self._connection.execute(
                        f"DELETE FROM {table} WHERE ino NOT IN (SELECT ino FROM inode)"  # noqa: S608 - names of our own
                    )
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._connection.execute("DETACH segment")
        return int(rows)

    def load(self, lines: Iterable[str]) -> int:
        """Fill an empty index from a dump; returns when that was made, in nanoseconds.

        Raises:
            VolumeRefused: the dump is of a newer form.
            DamageFound: a line is wrong, or the end is missing.
        """
        with translating(self.path):
            self._connection.execute("BEGIN")
            made = load_lines(self._connection, lines)
            self._connection.execute("COMMIT")
            return made

    def last_change(self) -> int:
        """When the last change of an inode was made that is known, in nanoseconds.

        By the time of status change, which no program can set; changes are in their order.
        """
        with translating(self.path):
            (row,) = self._connection.execute("SELECT coalesce(max(ctime), 0) FROM inode")
            return int(row[0])

    def make_root(self, uid: int, gid: int) -> None:
        """Insert the root directory into an empty index."""
        now = time.time_ns()
        with translating(self.path):
            self._connection.execute(
                f"INSERT INTO inode ({COLUMNS}) "  # noqa: S608 - names of our own
                "VALUES (?, ?, ?, ?, 2, 4096, 0, ?, ?, ?, 0, 0, ?, NULL, 0, 0, ?, 0)",
                (ROOT, stat.S_IFDIR | 0o755, uid, gid, now, now, now, ROOT, now),
            )

    def begin_anew(self, volume: str, generation: str) -> None:
        """Let it be of a mount generation that no copy has, with a new feed and no reader."""
        with translating(self.path), closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.execute("UPDATE volume SET uuid = ?", (volume,))
            cursor.execute("UPDATE generation SET current = ?, next = ''", (generation,))
            cursor.execute(NEW_GENERATION)
            cursor.execute("DELETE FROM feed_reader")
            cursor.execute("UPDATE usage SET exact = 0")
            cursor.execute("COMMIT")
