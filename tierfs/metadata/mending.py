"""Repairs of an index that nobody has open: all of one round are committed together, durably."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM
from tierfs.metadata.database import Database
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.metadata.schema import COUNTED, COUNTS

LOST_AND_FOUND = b"lost+found"
PRIVATE = stat.S_IFDIR | 0o700
DIRECTORY_SIZE = 4096


@contextmanager
def mending(path: Path) -> Iterator[Mending]:
    """A transaction of repairs, durable at its end; an exception undoes them.

    Raises:
        IndexFailed: SQLite failed.
    """
    database = Database(
        path, SYSTEM, Metrics(), on_commit=_nothing, on_rollback=_nothing, on_look=_nothing
    )
    with closing(database):
        with database:
            # What a repair changes is counted by the next mount.
            database.execute("UPDATE usage SET exact = 0")
            yield Mending(database)
        database.sync()


def _nothing() -> None:
    """Nobody else has the index open."""


class Mending:
    """Changes by inode number."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_links(self, ino: int, links: int) -> None:
        """Correct a link count."""
        self._run("UPDATE inode SET nlink = ? WHERE ino = ?", links, ino)

    def set_parent(self, ino: int, parent: int) -> None:
        """Let the row of a directory say where it is."""
        self._run("UPDATE inode SET parent = ? WHERE ino = ?", parent, ino)

    def read_from_disk(self, ino: int) -> None:
        """Take all of a mirrored file from disk: its head is lost."""
        self._run(
            "UPDATE inode SET prefix = 0, mirrored = 0, version = version + 1 WHERE ino = ?", ino
        )
        self.trim(ino)

    def forget_mirror(self, ino: int) -> None:
        """Count a file as not mirrored: it will be again."""
        self._run("UPDATE inode SET mirrored = 0, version = version + 1 WHERE ino = ?", ino)
        self.trim(ino)

    def trim(self, ino: int) -> None:
        """Let the next mount trim the objects of a file."""
        self._run("INSERT OR IGNORE INTO cut (ino) VALUES (?)", ino)

    def forget(self, ino: int) -> None:
        """Remove what is noted of an inode that is not there."""
        for table in ("xattr", "pin", "request", "cut", "dirty"):
            self._run(f"DELETE FROM {table} WHERE ino = ?", ino)  # noqa: S608 - names of our own

    def count_anew(self) -> None:
        """Make the kept counts those of the inodes."""
        columns = f"id, exact, {', '.join(COUNTED)}"
        self._run(f"INSERT OR REPLACE INTO usage ({columns}) SELECT 1, 1, {COUNTS} FROM inode")  # noqa: S608

    def accept(self, generation: str) -> None:
        """Let the index belong to the directories whose markers are given this generation."""
        self._run("UPDATE generation SET current = ?, next = ''", generation)

    def raise_serial(self, following: int) -> None:
        """Hand out no number below."""
        self._run("UPDATE volume SET next_serial = max(next_serial, ?)", following)

    def drop_names(self, inos: Iterable[int]) -> None:
        """Remove every name of inodes that are not there."""
        self._run("CREATE TEMP TABLE dropped (ino INTEGER PRIMARY KEY)")
        for ino in inos:
            self._run("INSERT OR IGNORE INTO dropped VALUES (?)", ino)
        self._run("DELETE FROM entry WHERE ino IN (SELECT ino FROM dropped)")
        self._run("DROP TABLE temp.dropped")

    def restore_directory(self, ino: int, links: int) -> None:
        """Make a directory be there again for the names in it; its attributes are lost."""
        if not self._changed("UPDATE inode SET nlink = ? WHERE ino = ?", links, ino):
            self._insert_directory(ino, links)

    def rescue(self, ino: int) -> None:
        """Give an inode without a name one in ``/lost+found``."""
        shelter = self._lost_and_found()
        self._enter(shelter, b"#%d" % ino, ino, self._serial())
        (mode,) = self._row("SELECT mode FROM inode WHERE ino = ?", ino)
        self._run("UPDATE inode SET parent = ? WHERE ino = ?", shelter, ino)
        if stat.S_ISDIR(mode):
            self._run("UPDATE inode SET nlink = nlink + 1 WHERE ino = ?", shelter)
        else:
            self.set_links(ino, 1)

    def _lost_and_found(self) -> int:
        """The directory, made if it is not there."""
        row = self._database.row(
            "SELECT ino FROM entry JOIN inode USING (ino) "
            "WHERE entry.parent = ? AND name = ? AND mode & 0xF000 = 0x4000",
            ROOT,
            LOST_AND_FOUND,
        )
        if row is not None:
            return int(row[0])
        ino = self._serial()
        self._insert_directory(ino, 2)
        self._enter(ROOT, LOST_AND_FOUND, ino, ino)
        self._run("UPDATE inode SET nlink = nlink + 1 WHERE ino = ?", ROOT)
        return ino

    def _insert_directory(self, ino: int, links: int) -> None:
        uid, gid = self._row("SELECT uid, gid FROM inode WHERE ino = ?", ROOT)
        now = time.time_ns()
        times = (now, now, now)
        row = Inode(
            ino, PRIVATE, uid, gid, links, DIRECTORY_SIZE, 0, *times, 0, 0, ROOT, None, 0, 0, now
        )
        marks = ", ".join("?" * len(row))
        self._run(f"INSERT INTO inode ({', '.join(Inode._fields)}) VALUES ({marks})", *row)  # noqa: S608

    def _enter(self, parent: int, name: bytes, ino: int, cookie: int) -> None:
        self._run(
            "INSERT INTO entry (parent, name, ino, cookie) VALUES (?, ?, ?, ?)",
            parent,
            name,
            ino,
            cookie,
        )

    def _serial(self) -> int:
        """A number never handed out."""
        (serial,) = self._row("SELECT next_serial FROM volume")
        self._run("UPDATE volume SET next_serial = next_serial + 1")
        return int(serial)

    def _row(self, statement: str, *args: object) -> tuple[int, ...]:
        return self._database.rows(statement, *args)[0]

    def _run(self, statement: str, *args: object) -> None:
        self._database.execute(statement, *args)

    def _changed(self, statement: str, *args: object) -> int:
        return self._database.execute(statement, *args)
