"""What fsck does with an index that is not open: read all of it, and repair it.

`IntegrityCheck` changes nothing. Its streams are in the order of inode numbers, so that they can be
merged. Sorting them uses temporary files of SQLite, not memory
(https://www.sqlite.org/tempfiles.html). A `Repair` is one transaction, durable at its end.
"""

from __future__ import annotations

import re
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tierfs.common.errors import VolumeRefused
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM
from tierfs.metadata.adopted import COLUMNS as ADOPTED
from tierfs.metadata.adopted import Original
from tierfs.metadata.checksums import Checksum
from tierfs.metadata.database import Database
from tierfs.metadata.feed import NEW_GENERATION
from tierfs.metadata.inodes import DIRECTORY_SIZE, ROOT, Inode, inode_of
from tierfs.metadata.recovery import IN_SET, Generations
from tierfs.metadata.schema import COUNTED, COUNTS, MIGRATIONS, VERSION
from tierfs.metadata.sqlite import connect, translating, unreadable
from tierfs.metadata.tag_indexes import is_tag_index
from tierfs.metadata.usage import EXACT

Tier = Literal["flash", "disk"]

PRAGMAS = ("PRAGMA temp_store = FILE", "PRAGMA cache_size = -16384")  # 16 MiB

MOST_PROBLEMS = 100
"""Of SQLite's own, listed at most."""

LOST_AND_FOUND = b"lost+found"
PRIVATE = stat.S_IFDIR | 0o700

_DIRECTORY = "inode.mode & 0xF000 = 0x4000"

_WORK = f"""
-- Dentries that refer to a directory, or to nothing that is there.
CREATE TEMP TABLE subdirectory (
    parent INTEGER, name BLOB, ino INTEGER, there INTEGER, PRIMARY KEY (parent, name)
) WITHOUT ROWID;
INSERT INTO subdirectory
SELECT entry.parent, entry.name, entry.ino, inode.ino IS NOT NULL
FROM main.entry LEFT JOIN main.inode USING (ino)
WHERE inode.ino IS NULL OR {_DIRECTORY} ORDER BY entry.parent, entry.name;
CREATE INDEX temp.subdirectory_ino ON subdirectory (ino);
-- Directories to which a path leads.
CREATE TEMP TABLE reached (ino INTEGER PRIMARY KEY);
INSERT INTO reached
WITH RECURSIVE down (ino) AS (
    VALUES (1) UNION SELECT subdirectory.ino FROM down
    JOIN subdirectory ON subdirectory.parent = down.ino AND subdirectory.there
)
SELECT ino FROM down ORDER BY ino;
CREATE TEMP TABLE flash (ino INTEGER PRIMARY KEY, length INTEGER);
CREATE TEMP TABLE disk (ino INTEGER PRIMARY KEY, length INTEGER);
"""  # noqa: S608 - SQL of our own

_BAD_NAMES = """
SELECT ino, parent, name FROM entry
WHERE length(name) NOT BETWEEN 1 AND 255 OR name IN (x'2E', x'2E2E')
   OR instr(name, x'2F') OR instr(name, x'00')
"""


class Names(NamedTuple):
    """How many dentries refer to an inode, and one of them."""

    total: int
    parent: int
    name: bytes


class Location(NamedTuple):
    """Where a dentry is: its directory and its name."""

    parent: int
    name: bytes


class FeedState(NamedTuple):
    """The generation of the change feed, and the serial up to which it counts as copied."""

    generation: str
    copied: int | None
    """None: nobody copies it."""


class IntegrityCheck:
    """Read-only; not thread-safe.

    Raises from every method:
        IndexFailed: SQLite could not read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with translating(path):
            self._connection = connect(path, PRAGMAS, read_only=True)

    def close(self) -> None:
        """Close, and remove the temporary files."""
        self._connection.close()

    def require_current(self) -> None:
        """Check that the index has this version of the schema.

        Raises:
            VolumeRefused: it has another.
        """
        version = self._one("PRAGMA user_version")
        if version != VERSION:
            advice = "mount the volume once" if version < VERSION else "use the newer tierfs"
            raise VolumeRefused(
                f"{self.path}: its schema is {version}, this tierfs knows {VERSION}: {advice}"
            )

    def problems(self, *, thorough: bool) -> list[str]:
        """What SQLite finds wrong with the file; ``thorough``: with every b-tree against others."""
        check = "integrity_check" if thorough else "quick_check"
        found = [str(row[0]) for row in self._rows(f"PRAGMA {check}({MOST_PROBLEMS})")]
        return [] if found == ["ok"] else found

    def unreadable_file(self) -> str:
        """Which file of the index its device cannot read, and why; empty: none. Reads all of it."""
        return unreadable(self.path)

    def schema_differences(self) -> list[str]:
        """The tables and indexes that are missing, superfluous or not as this tierfs makes them.

        Indexes of tags may be there or not: a mount makes those that its volume file names.
        """
        with closing(sqlite3.connect(":memory:")) as fresh:
            for migration in MIGRATIONS:
                fresh.executescript(migration)
            wanted = _schema(fresh)
        with translating(self.path):
            schema = _schema(self._connection)
        found = {name: sql for name, sql in schema.items() if not is_tag_index(name, sql)}
        return sorted(str(name) for name in wanted | found if wanted.get(name) != found.get(name))

    def owner(self) -> str:
        """UUID of the volume, as text."""
        return str(self._one("SELECT coalesce(max(uuid), '') FROM volume"))

    def generations(self) -> Generations:
        """Of which mount the index is."""
        return Generations(*next(self._rows("SELECT current, next FROM generation")))

    def next_serial(self) -> int:
        """The serial at or above which none was given out."""
        return int(self._one("SELECT coalesce(max(next_serial), 0) FROM volume"))

    def largest_serial(self) -> int:
        """The largest number of an inode, listing position or object; after ``remember``."""
        tables = ("main.inode", "temp.flash", "temp.disk")
        largest = [self._one(f"SELECT max(ino) FROM {table}") for table in tables]  # noqa: S608
        return max(number or 0 for number in (*largest, self._one("SELECT max(cookie) FROM entry")))

    def miscounted(self) -> dict[str, tuple[int, int]]:
        """The columns of ``usage`` that are wrong: what is kept, and what the inodes come to.

        While the volume is not closed they may be old, which is not a mistake.
        """
        missing = (EXACT, *(0 for _ in COUNTED))
        state, *kept = next(self._rows(f"SELECT exact, {', '.join(COUNTED)} FROM usage"), missing)  # noqa: S608
        if state != EXACT:
            return {}
        found = next(self._rows(f"SELECT {COUNTS} FROM inode"))  # noqa: S608
        pairs = zip(COUNTED, kept, found, strict=True)
        return {name: (int(old), int(new)) for name, old, new in pairs if old != new}

    def prepare(self) -> None:
        """Collect the directories; before every stream."""
        with translating(self.path):
            self._connection.executescript(_WORK)

    def remember(self, tier: Tier, objects: Iterable[tuple[int, int]]) -> None:
        """Keep inode numbers and lengths of objects, to return them in order."""
        with translating(self.path):
            self._connection.execute("BEGIN")
            # A directory that changes while it is listed may show a name twice.
            insert = f"INSERT OR REPLACE INTO temp.{tier} VALUES (?, ?)"  # noqa: S608
            self._connection.executemany(insert, objects)
            self._connection.execute("COMMIT")

    def version_of(self, ino: int) -> int | None:
        """The data version of an inode; None: there is none."""
        row = next(self._rows("SELECT version FROM inode WHERE ino = ?", ino), None)
        return None if row is None else int(row[0])

    def objects(self, tier: Tier) -> Iterator[tuple[int, int]]:
        """Inode number and length of every object."""
        yield from self._rows(f"SELECT ino, length FROM temp.{tier} ORDER BY ino")  # noqa: S608

    def inodes(self) -> Iterator[tuple[int, Inode]]:
        """Every row."""
        columns = ", ".join(Inode._fields)
        for row in self._rows(f"SELECT {columns} FROM inode ORDER BY ino"):  # noqa: S608
            inode = inode_of(row)
            yield inode.ino, inode

    def names(self) -> Iterator[tuple[int, Names]]:
        """The names of each inode that has one."""
        # With min(), name is of the row that has the smallest (https://www.sqlite.org/quirks.html).
        rows = self._rows(
            "SELECT ino, count(*), min(parent), name FROM entry GROUP BY ino ORDER BY ino"
        )
        for ino, *names in rows:
            yield ino, Names._make(names)

    def children(self) -> Iterator[tuple[int, int]]:
        """How many names each directory holds, if any."""
        yield from self._rows("SELECT parent, count(*) FROM entry GROUP BY parent ORDER BY parent")

    def subdirectories(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """How many of these are of directories, and of nothing that is there; if any."""
        rows = self._rows(
            "SELECT parent, sum(there), sum(1 - there) FROM subdirectory "
            "GROUP BY parent ORDER BY parent"
        )
        for parent, directories, dangling in rows:
            yield parent, (directories, dangling)

    def reached(self) -> Iterator[tuple[int, bool]]:
        """The directories to which a path leads, the root included."""
        yield from self._rows("SELECT ino, 1 FROM reached ORDER BY ino")

    def xattrs(self) -> Iterator[tuple[int, int]]:
        """How many extended attributes each inode has, if any."""
        yield from self._rows("SELECT ino, count(*) FROM xattr GROUP BY ino ORDER BY ino")

    def original(self, ino: int) -> Original | None:
        """The original of an adopted file."""
        row = next(self._rows(f"SELECT {ADOPTED} FROM adopted WHERE ino = ?", ino), None)  # noqa: S608
        return None if row is None else Original._make(row)

    def feed_state(self, reader: str) -> FeedState:
        """The change feed; ``reader``: the one that copies it."""
        generation = self._one("SELECT generation FROM feed_state")
        rows = self._rows("SELECT serial FROM feed_reader WHERE name = ?", reader)
        return FeedState(generation, next(rows, (None,))[0])

    def adopting(self) -> list[range]:
        """Inodes whose objects were just being made of originals: the next mount sees to them."""
        return [range(first, end) for first, end in self._rows("SELECT first, end FROM adopting")]

    def listed(
        self, table: Literal["pin", "request", "cut", "adopted"]
    ) -> Iterator[tuple[int, bool]]:
        """The inodes in a table that has one row for each."""
        yield from self._rows(f"SELECT ino, 1 FROM {table} ORDER BY ino")  # noqa: S608

    def checksums(self) -> Iterator[tuple[int, Checksum]]:
        """The checksums of each file that has some, for whichever data version."""
        columns = ", ".join(Checksum._fields)
        for row in self._rows(f"SELECT {columns} FROM checksum ORDER BY ino"):  # noqa: S608
            yield row[0], Checksum._make(row)

    def dirty(self) -> Iterator[tuple[int, int]]:
        """The dirty inodes, and how many bytes of each are synced."""
        for ino, size, _, _ in self._rows(IN_SET):
            yield ino, size

    def bad_names(self) -> Iterator[tuple[int, Location]]:
        """Inode number and location of dentries whose names no path can hold."""
        for ino, parent, name in self._rows(_BAD_NAMES):
            yield ino, Location(parent, name)

    def location_of(self, directory: int) -> Location | None:
        """Where a dentry refers to the directory, or to the inode that is not there."""
        statement = "SELECT parent, name FROM subdirectory WHERE ino = ? ORDER BY parent LIMIT 1"
        row = next(self._rows(statement, directory), None)
        return None if row is None else Location._make(row)

    def _one(self, statement: str) -> Any:  # noqa: ANN401 - a value of any column
        return next(self._rows(statement))[0]

    def _rows(self, statement: str, *args: object) -> Iterator[tuple[Any, ...]]:
        with translating(self.path):
            yield from self._connection.execute(statement, args)


def _schema(connection: sqlite3.Connection) -> dict[str, str]:
    """Tables and indexes by name, without the comments, of which a later version has others."""
    rows = connection.execute("SELECT name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL")
    return {name: " ".join(re.sub(r"--[^\n]*", "", sql).split()) for name, sql in rows}


@contextmanager
def repairing(path: Path) -> Iterator[Repair]:
    """A transaction of repairs, durable at its end; an exception undoes them.

    Raises:
        IndexFailed: SQLite failed.
    """
    database = Database(
        path, SYSTEM, Metrics(), on_commit=_nothing, on_rollback=_nothing, on_housekeeping=_nothing
    )
    with closing(database):
        database.replay()
        with database:
            # The next mount counts again what a repair changed.
            database.execute("UPDATE usage SET exact = 0")
            database.execute(NEW_GENERATION)
            yield Repair(database)
        database.wal.sync()


def _nothing() -> None:
    """Nobody else has the index open."""


class Repair:
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
        self._carry(ino)
        self._run(
            "UPDATE inode SET prefix = 0, mirrored = 0, version = version + 1 WHERE ino = ?", ino
        )
        self.trim(ino)

    def place(self, ino: int, size: int, prefix: int, mirrored: int) -> None:
        """Let the row of a file say where its bytes are, as its objects show."""
        self._run(
            "UPDATE inode SET size = ?, prefix = ?, mirrored = ?, version = version + 1 "
            "WHERE ino = ?",
            size,
            prefix,
            mirrored,
            ino,
        )

    def insert_file(self, ino: int, size: int, prefix: int) -> None:
        """Insert a file for objects that have none; its own attributes are not known."""
        self._insert(ino, stat.S_IFREG | 0o600, 1, size, prefix)

    def require_size(self, ino: int, size: int) -> None:
        """Set how many bytes of a file of the dirty set count as synced: fewer are damage."""
        self._run("INSERT OR REPLACE INTO dirty VALUES (?, ?, 0, 0)", ino, size)

    def clear_dirty(self) -> None:
        """Take every file out of the dirty set: its row says how long it is."""
        self._run("DELETE FROM dirty")
        self._run("UPDATE volume SET dirty_from = next_serial")

    def drop_mirror(self, ino: int) -> None:
        """Mark a file as not mirrored, so that it is mirrored again."""
        self._carry(ino)
        self._run("UPDATE inode SET mirrored = 0, version = version + 1 WHERE ino = ?", ino)
        self.trim(ino)

    def _carry(self, ino: int) -> None:
        """Let what holds of the bytes hold for the next data version: they stay as they are."""
        for table, version in (("checksum", "version"), ("fact_state", "data_version")):
            self._run(
                f"UPDATE {table} SET {version} = {version} + 1 WHERE ino = ? AND {version} = "  # noqa: S608 - names of our own
                f"(SELECT version FROM inode WHERE inode.ino = {table}.ino)",
                ino,
            )

    def trim(self, ino: int) -> None:
        """Let the next mount trim the objects of a file."""
        self._run("INSERT OR IGNORE INTO cut (ino) VALUES (?)", ino)

    def delete_rows(self, ino: int) -> None:
        """Remove the rows of other tables of an inode that is not there."""
        for table in (
            "xattr",
            "pin",
            "request",
            "cut",
            "dirty",
            "checksum",
            "adopted",
            "fact_state",
        ):
            self._run(f"DELETE FROM {table} WHERE ino = ?", ino)  # noqa: S608 - names of our own

    def recount(self) -> None:
        """Store the counts that the inodes have."""
        columns = f"id, exact, {', '.join(COUNTED)}"
        self._run(f"INSERT OR REPLACE INTO usage ({columns}) SELECT 1, 1, {COUNTS} FROM inode")  # noqa: S608

    def accept(self, generation: str) -> None:
        """Accept the directories whose markers get this generation.

        What of the objects is newer than the index may have other bytes than a checksum or a header
        fact says.
        """
        self._run("DELETE FROM checksum")
        self._run("DELETE FROM fact_state")
        self._run("UPDATE generation SET current = ?, next = ''", generation)

    def last_change(self) -> int:
        """When the last change of an inode was made that the index knows, in nanoseconds.

        By the time of status change, which no program can set.
        """
        (last,) = self._row("SELECT coalesce(max(ctime), 0) FROM inode")
        return last

    def mirrored(self, after: int) -> list[Inode]:
        """Some mirrored files behind an inode, that are not adopted and not empty."""
        rows = self._database.rows(
            f"SELECT {', '.join(Inode._fields)} FROM inode "  # noqa: S608 - names of our own
            "WHERE ino > ? AND mirrored = 1 AND adopted = 0 AND size > 0 ORDER BY ino LIMIT 1000",
            after,
        )
        return [inode_of(row) for row in rows]

    def forget_mirror(self, ino: int) -> None:
        """The mirror of a file is older than its head; its bytes stay where they are."""
        self._run("UPDATE inode SET mirrored = 0 WHERE ino = ?", ino)

    def adopted(self, after: int, *, least_prefix: int) -> list[tuple[int, int | None]]:
        """Some adopted files behind an inode, and the numbers of their originals.

        None: the index does not know the original. ``least_prefix``: in bytes.
        """
        return [
            (ino, original)
            for ino, original in self._database.rows(
                "SELECT inode.ino, original FROM inode LEFT JOIN adopted USING (ino) "
                "WHERE inode.ino > ? AND inode.adopted = 1 AND prefix >= ? ORDER BY inode.ino "
                "LIMIT 1000",
                after,
                least_prefix,
            )
        ]

    def own(self, ino: int) -> None:
        """The disk object of an adopted file is its own, and may be older than its head."""
        self._run("UPDATE inode SET adopted = 0, mirrored = 0 WHERE ino = ?", ino)
        self._run("DELETE FROM adopted WHERE ino = ?", ino)

    def raise_serial(self, following: int) -> None:
        """Give out no number below."""
        self._run("UPDATE volume SET next_serial = max(next_serial, ?)", following)

    def drop_names(self, inos: Iterable[int]) -> None:
        """Remove every name of inodes that are not there."""
        self._run("CREATE TEMP TABLE dropped (ino INTEGER PRIMARY KEY)")
        for ino in inos:
            self._run("INSERT OR IGNORE INTO dropped VALUES (?)", ino)
        self._run("DELETE FROM entry WHERE ino IN (SELECT ino FROM dropped)")
        self._run("DROP TABLE temp.dropped")

    def restore_directory(self, ino: int, links: int) -> None:
        """Insert a directory again for the names in it; its attributes are lost."""
        if not self._changed("UPDATE inode SET nlink = ? WHERE ino = ?", links, ino):
            self._insert_directory(ino, links)

    def link_to_lost_and_found(self, ino: int) -> None:
        """Give an inode without a name one in ``/lost+found``."""
        lost_and_found = self._lost_and_found()
        self._enter(lost_and_found, b"#%d" % ino, ino, self._serial())
        (mode,) = self._row("SELECT mode FROM inode WHERE ino = ?", ino)
        self._run("UPDATE inode SET parent = ? WHERE ino = ?", lost_and_found, ino)
        if stat.S_ISDIR(mode):
            self._run("UPDATE inode SET nlink = nlink + 1 WHERE ino = ?", lost_and_found)
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
        self._insert(ino, PRIVATE, links, DIRECTORY_SIZE, 0)

    def _insert(self, ino: int, mode: int, links: int, size: int, prefix: int) -> None:
        uid, gid = self._row("SELECT uid, gid FROM inode WHERE ino = ?", ROOT)
        now = time.time_ns()
        times = (now, now, now)
        sparse = int(stat.S_ISREG(mode) and size > 0)
        row = Inode(
            ino, mode, uid, gid, links, size, 0, *times, prefix, 0, ROOT, None, sparse, 0, now
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
        """A number that was never given out."""
        (serial,) = self._row("SELECT next_serial FROM volume")
        self._run("UPDATE volume SET next_serial = next_serial + 1")
        return int(serial)

    def _row(self, statement: str, *args: object) -> tuple[int, ...]:
        return self._database.rows(statement, *args)[0]

    def _run(self, statement: str, *args: object) -> None:
        self._database.execute(statement, *args)

    def _changed(self, statement: str, *args: object) -> int:
        return self._database.execute(statement, *args)
