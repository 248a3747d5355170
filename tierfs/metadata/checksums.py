"""Checksums of files, by which a scrub finds bytes that changed below; and how far the scrub is.

A row holds for one data version. Before bytes of its file change in place, the index that has the
row no more is synced (``tierfs/fs/dirty.py``): otherwise a power cut could bring back a checksum of
bytes that the file no longer has, and they would be called wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, unique
from typing import NamedTuple

from tierfs.metadata.database import Database


class Checksum(NamedTuple):
    """A row of the table; the columns are explained in ``schema.py``."""

    ino: int
    version: int
    length: int
    head: bytes
    whole: bytes | None
    verified: int
    lost: int = 0


@unique
class ScrubState(IntEnum):
    """Whether a pass is under way."""

    IDLE = 0
    RUNNING = 1
    PAUSED = 2


class ScrubProgress(NamedTuple):
    """How far the scrub is; the columns are explained in ``schema.py``."""

    state: int = ScrubState.IDLE
    position: int = 0
    began: int = 0
    completed: int = 0
    files: int = 0
    bytes: int = 0
    healed: int = 0
    lost: int = 0
    skipped: int = 0


COLUMNS = ", ".join(Checksum._fields)
_END = """
DELETE FROM checksum WHERE ino = ? AND version = ? AND (whole IS NOT NULL OR length > ?)
"""
_FIND = f"SELECT {COLUMNS} FROM checksum WHERE ino = ?"  # noqa: S608 - names of our own
_PUT = f"INSERT OR REPLACE INTO checksum ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_LOST = f"""
SELECT {", ".join(f"checksum.{name}" for name in Checksum._fields)}
FROM checksum JOIN inode USING (ino)
WHERE lost != 0 AND checksum.version = inode.version AND nlink > 0 ORDER BY ino LIMIT ?
"""  # noqa: S608
_COUNT_LOST = """
SELECT count(*) FROM checksum JOIN inode USING (ino)
WHERE lost != 0 AND checksum.version = inode.version AND nlink > 0
"""
_PROGRESS = ", ".join(ScrubProgress._fields)


class Checksums:
    """By inode number; those that change something are called inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, ino: int, version: int) -> Checksum | None:
        """What holds for the data version of a file; None: nothing does."""
        row = self._database.row(_FIND, ino)
        found = None if row is None else Checksum._make(row)
        return found if found is not None and found.version == version else None

    def put(self, checksum: Checksum) -> None:
        """Store a row in place of an older one."""
        self._database.execute(_PUT, *checksum)

    def end(self, ino: int, version: int, kept: int) -> bool:
        """The bytes of a file are about to change; returns whether its checksums held until now.

        Those of no more than the first ``kept`` bytes stay, until the data version is another:
        these bytes are not the ones that change.
        """
        return self._database.execute(_END, ino, version, kept) > 0

    def carry(self, ino: int, version: int) -> None:
        """The data version grows by 1, and the bytes of the file stay as they are."""
        self._database.execute(
            "UPDATE checksum SET version = version + 1 WHERE ino = ? AND version = ?", ino, version
        )

    def delete(self, *inos: int) -> None:
        """Remove the rows of deleted inodes."""
        self._database.execute_for("DELETE FROM checksum WHERE ino = ?", inos)

    def lost(self, limit: int) -> Sequence[Checksum]:
        """The first files with bytes that are wrong and of which no copy is right."""
        return [Checksum._make(row) for row in self._database.rows(_LOST, limit)]

    def lost_count(self) -> int:
        """How many such files there are."""
        return int(self._database.rows(_COUNT_LOST)[0][0])

    def progress(self) -> ScrubProgress:
        """How far the scrub is."""
        rows = self._database.rows(f"SELECT {_PROGRESS} FROM scrub")  # noqa: S608
        return ScrubProgress._make(rows[0]) if rows else ScrubProgress()

    def set_progress(self, progress: ScrubProgress) -> None:
        """Store how far it is."""
        columns = ", ".join(f"{name} = ?" for name in ScrubProgress._fields)
        self._database.execute(f"UPDATE scrub SET {columns}", *progress)  # noqa: S608
