"""Readers of the index beside its writer, for scans that read it a little at a time.

An `IndexReader` has a connection of its own in the daemon: no request waits for it, and it sees
what is committed. A `SnapshotReader` is for another process, and sees the state of the last
checkpoint.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

from tierfs.common.errors import IndexFailed
from tierfs.metadata.header_facts import HELD_FACT, FactState, FactValue
from tierfs.metadata.inodes import COLUMNS, ROOT, Inode, inode_of
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.metadata.sqlite import Row, connect, translating
from tierfs.metadata.wal import CheckpointSeqlockReader

T = TypeVar("T")

PRAGMAS = (
    "PRAGMA query_only = ON",
    "PRAGMA cache_size = -4096",  # 4 MiB: rows are read once
    "PRAGMA mmap_size = 0",  # or a scan would map the whole index
    "PRAGMA busy_timeout = 10000",
)

_PAUSE_S: Final = 0.01
_SNAPSHOT_CACHE: Final = "PRAGMA cache_size = -65536"  # 64 MiB

_FILE = "mode & 0xF000 = 0x8000 AND nlink > 0"
_FILES = f"SELECT {COLUMNS} FROM inode WHERE ino > ? AND ino <= ? AND {_FILE}"  # noqa: S608 - names of our own
_ON_FLASH = f"{_FILES} AND prefix > 0 AND size > 0"
_ALONE = f"""
SELECT min(ctime) FROM inode WHERE ino > ? AND ino <= ? AND {_FILE}
AND prefix > 0 AND size > 0 AND NOT mirrored
"""  # noqa: S608
_DIRECTORIES = """
SELECT ino, parent FROM inode WHERE ino > ? AND ino <= ? AND mode & 0xF000 = 0x4000
"""
# In halves: the sum of two sparse files may have more than 63 bits.
_BY_DIRECTORY = f"""
SELECT parent, count(*),
    sum(size >> 32), sum(size & 0xFFFFFFFF),
    sum(min(size, prefix) >> 32), sum(min(size, prefix) & 0xFFFFFFFF),
    sum(mirrored * (min(size, prefix) >> 32)), sum(mirrored * (min(size, prefix) & 0xFFFFFFFF))
FROM inode WHERE ino > ? AND ino <= ? AND {_FILE} GROUP BY parent
"""  # noqa: S608 - names of our own
SIZE_CLASSES: Final = tuple(2**bits for bits in (*range(12, 23), 24, 26, 28, 30, 34))
"""The largest file of each `SizeClass`, in bytes: 4KiB to 16GiB."""
_CLASS = " ".join(f"WHEN size <= {most} THEN {most}" for most in SIZE_CLASSES)
_BY_SIZE = f"""
SELECT uid, CASE {_CLASS} ELSE 0 END, count(*),
    sum(size >> 32), sum(size & 0xFFFFFFFF),
    sum(min(size, prefix) >> 32), sum(min(size, prefix) & 0xFFFFFFFF)
FROM inode WHERE ino > ? AND ino <= ? AND {_FILE} GROUP BY 1, 2
"""  # noqa: S608 - names of our own
_GIVEN = "IN (SELECT value FROM json_each(?))"
_SOME = f"SELECT {COLUMNS} FROM inode WHERE ino {_GIVEN} AND {_FILE} ORDER BY ino"  # noqa: S608
_PINNED_BELOW = "SELECT ino FROM pin WHERE below = 1 AND (until IS NULL OR until > ?)"
_ANY_BELOW = "SELECT 1 FROM pin WHERE below = 1 LIMIT 1"
_BELOW = """
SELECT entry.cookie, inode.ino, inode.mode FROM entry JOIN inode ON inode.ino = entry.ino
WHERE entry.parent = ? AND entry.cookie > ? ORDER BY entry.cookie LIMIT ?
"""
_PINNED = f"SELECT ino FROM pin WHERE ino {_GIVEN} AND (until IS NULL OR until > ?)"  # noqa: S608
_PINNED_OF_THESE = f"{_PINNED} AND below = 1"

# The first name of an inode has its number as its place in the listing, which a rename inside the
# directory keeps: most names are found without reading the directory.
_FIRST_NAMES = f"""
SELECT inode.ino, entry.name FROM inode
JOIN entry ON entry.parent = inode.parent AND entry.cookie = inode.ino AND entry.ino = inode.ino
WHERE inode.ino {_GIVEN}
"""  # noqa: S608
_PARENTS = f"SELECT ino, parent FROM inode WHERE ino {_GIVEN}"  # noqa: S608
_NAMES = f"SELECT ino, name FROM entry WHERE parent = ? AND ino {_GIVEN}"  # noqa: S608

_XATTRS = f"""
SELECT ino, name, value FROM xattr WHERE ino {_GIVEN} AND length(value) <= ? ORDER BY ino, name
"""  # noqa: S608

_FACT_STATES = f"SELECT {', '.join(FactState._fields)} FROM fact_state WHERE ino {_GIVEN}"  # noqa: S608


class DirectoryBytes(NamedTuple):
    """What is directly in a directory, or below it: files, and bytes by tier."""

    files: int
    size: int
    flash: int
    mirrored: int


class Linked(Protocol):
    """An inode, and the directory that it was last linked in."""

    @property
    def ino(self) -> int:
        """The inode number."""

    @property
    def parent(self) -> int:
        """That of the directory."""


class SizeClass(NamedTuple):
    """Files of one owner whose sizes are at most ``up_to`` and above the class below.

    ``up_to`` is one of `SIZE_CLASSES`, 0: larger than all of them; ``flash`` bytes are read from
    flash.
    """

    uid: int
    up_to: int
    files: int
    size: int
    flash: int


class IndexReader:
    """Thread-safe; ``read_only`` where the index was opened so.

    ``prepare`` writes what the index has in memory alone; it is called before inodes are read.
    ``flush`` lets other connections see every change; it is called before anything is read.

    Raises from every method:
        IndexFailed: SQLite failed.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        prepare: Callable[[], object] = bool,
        flush: Callable[[], object] = bool,
    ) -> None:
        self._path = path
        self._prepare = prepare
        self._flush = flush
        self._read_only = read_only
        self._mutex = threading.Lock()
        self.open(path)

    def open(self, path: Path) -> None:
        """Connect; once, or after `close`."""
        with translating(path):
            self._connection = self._connect(path)

    def close(self) -> None:
        """Close; nothing may be called afterwards."""
        with self._mutex, translating(self._path):
            self._connection.close()

    def files(self, after: int, span: int, *, on_flash: bool) -> tuple[list[Inode], int]:
        """Regular files that have a name, of the ``span`` inode numbers behind ``after``, in order.

        With ``on_flash`` only those that have bytes there. Also returns the number to continue
        behind; 0: that was the end of the table.
        """
        end = after + span
        self._prepare()
        rows = self._rows(_ON_FLASH if on_flash else _FILES, after, end)
        return [inode_of(row) for row in rows], end if end < self.last_inode() else 0

    def alone(self, after: int, span: int) -> tuple[int | None, int]:
        """When the least recently changed file without a mirror was changed, in nanoseconds.

        Of the ``span`` inode numbers behind ``after``; None: there is none. Also as `files`.
        """
        end = after + span
        self._prepare()
        ((oldest,),) = self._rows(_ALONE, after, end)
        return oldest, end if end < self.last_inode() else 0

    def parents(self, after: int, span: int) -> dict[int, int]:
        """The directory that each directory is in, of ``span`` inode numbers behind ``after``."""
        rows = self._rows(_DIRECTORIES, after, after + span)
        return {int(ino): int(parent) for ino, parent in rows}

    def bytes_by_directory(self, after: int, span: int) -> dict[int, DirectoryBytes]:
        """What the files among ``span`` inode numbers behind ``after`` add to their directories."""
        return {
            int(directory): DirectoryBytes(
                files,
                (size_high << 32) + size_low,
                (flash_high << 32) + flash_low,
                (mirrored_high << 32) + mirrored_low,
            )
            for (
                directory,
                files,
                size_high,
                size_low,
                flash_high,
                flash_low,
                mirrored_high,
                mirrored_low,
            ) in self._rows(_BY_DIRECTORY, after, after + span)
        }

    def bytes_by_size(self, after: int, span: int) -> list[SizeClass]:
        """The files among ``span`` inode numbers behind ``after``, by owner and size."""
        return [
            SizeClass(uid, up_to, files, (high << 32) + low, (flash_high << 32) + flash_low)
            for uid, up_to, files, high, low, flash_high, flash_low in self._rows(
                _BY_SIZE, after, after + span
            )
        ]

    def last_inode(self) -> int:
        """The largest inode number there is."""
        return int(self._rows("SELECT coalesce(max(ino), 0) FROM inode")[0][0])

    def some(self, inos: Sequence[int]) -> list[Inode]:
        """Those of the inodes that are regular files and have a name, in ascending order."""
        self._prepare()
        return [inode_of(row) for row in self._rows(_SOME, json.dumps(inos))]

    def pinned(self, rows: Sequence[Linked], now: int) -> dict[int, int]:
        """Those of the files that are pinned at ``now``, each with the inode that has the pin.

        That is the file itself, or the nearest directory above it, from the one that it was last
        linked in.
        """
        inos = json.dumps([row.ino for row in rows])
        found = {ino: ino for (ino,) in self._rows(_PINNED, inos, now)}
        if self._rows(_ANY_BELOW):  # mostly there is none
            above = self._nearest_pinned({row.parent for row in rows}, now)
            for row in rows:
                if row.parent in above:
                    found.setdefault(row.ino, above[row.parent])
        return found

    def pinned_directories(self, now: int) -> list[int]:
        """The directories that are pinned at ``now``."""
        return [ino for (ino,) in self._rows(_PINNED_BELOW, now)]

    def directory_path(self, ino: int) -> bytes | None:
        """The path of a directory from the root; None: it is being removed."""
        path = self._directories({ino}).get(ino)
        return b"/" if path == b"" else path

    def directory_paths(self, inos: Sequence[int]) -> dict[int, bytes]:
        """The paths of directories from the root; one that is being removed has none."""
        found = self._directories(set(inos))
        return {ino: found[ino] or b"/" for ino in inos if ino in found}

    def below(self, directory: int, after: int, limit: int) -> list[tuple[int, int, int]]:
        """Cookies, inode numbers and modes of the ``limit`` next dentries behind a cookie."""
        return [
            (place, ino, mode) for place, ino, mode in self._rows(_BELOW, directory, after, limit)
        ]

    def pins(self, after: int, limit: int) -> list[Pin]:
        """Pins of the ``limit`` next inodes behind ``after``, files and directories."""
        query = "SELECT ino, until, below FROM pin WHERE ino > ? ORDER BY ino LIMIT ?"
        return [Pin._make(row) for row in self._rows(query, after, limit)]

    def requests(self, after: int, limit: int) -> list[Request]:
        """Requests for the ``limit`` next inodes behind ``after``."""
        query = "SELECT ino, prefix FROM request WHERE ino > ? ORDER BY ino LIMIT ?"
        return [Request._make(row) for row in self._rows(query, after, limit)]

    def xattr(self, ino: int, name: bytes) -> bytes | None:
        """The value of an extended attribute."""
        rows = self._rows("SELECT value FROM xattr WHERE ino = ? AND name = ?", ino, name)
        return bytes(rows[0][0]) if rows else None

    def fact_states(self, inos: Sequence[int]) -> dict[int, FactState]:
        """What is known of those of the inodes whose headers were looked at."""
        rows = self._rows(_FACT_STATES, json.dumps(inos))
        return {row[0]: FactState._make(row) for row in rows}

    def header_fact(self, ino: int, version: int, key: str) -> FactValue | None:
        """A header fact that holds of a file with this data version; None: it is not known."""
        rows = self._rows(HELD_FACT, ino, key, version)
        return rows[0][0] if rows else None

    def xattrs(self, inos: Sequence[int], longest: int) -> dict[int, list[tuple[bytes, bytes]]]:
        """Names and values of attributes by inode, of values up to ``longest`` bytes."""
        found: dict[int, list[tuple[bytes, bytes]]] = {}
        for ino, name, value in self._rows(_XATTRS, json.dumps(inos), longest):
            found.setdefault(ino, []).append((bytes(name), bytes(value)))
        return found

    def paths(self, rows: Sequence[Linked]) -> dict[int, list[bytes]]:
        """The paths of each file from the root, in the directory that it was last linked in.

        A directory is read through only for files that were moved there from another.
        """
        parents = {row.ino: row.parent for row in rows}
        directories = self._directories(set(parents.values()))
        paths: dict[int, list[bytes]] = {}
        for ino, name in self._names(parents):
            above = directories.get(parents[ino])
            if above is not None:
                paths.setdefault(ino, []).append(above + b"/" + name)
        return paths

    def _nearest_pinned(self, wanted: set[int], now: int) -> dict[int, int]:
        """Of each directory that is pinned, or below one that is, the nearest such."""
        up: dict[int, int] = {}
        level = wanted - {ROOT}
        while level:
            found = self._rows(_PARENTS, json.dumps(list(level)))
            up.update((ino, parent) for ino, parent in found)
            level = {parent for _, parent in found} - up.keys() - {ROOT}
        chain = json.dumps([*up, ROOT])
        marked = {ino for (ino,) in self._rows(_PINNED_OF_THESE, chain, now)}
        nearest: dict[int, int] = {}
        for directory in wanted:
            at = directory
            while at not in marked and at in up:
                at = up[at]
            if at in marked:
                nearest[directory] = at
        return nearest

    def names(self, rows: Sequence[Inode]) -> dict[int, bytes]:
        """A name of each file, in the directory that it was last linked in."""
        return dict(self._names({row.ino: row.parent for row in rows}))

    def _directories(self, wanted: set[int]) -> dict[int, bytes]:
        """The paths of directories, found level by level; one that is being removed has none."""
        steps: dict[int, tuple[int, bytes]] = {}
        seen, level = {ROOT}, wanted - {ROOT}
        while level:
            seen |= level
            parents = {ino: int(up) for ino, up in self._rows(_PARENTS, json.dumps(list(level)))}
            for ino, name in self._names(parents):
                steps[ino] = parents[ino], name
            level = set(parents.values()) - seen
        paths = {ROOT: b""}
        for directory in steps:
            self._join(directory, steps, paths)
        return paths

    @staticmethod
    def _join(directory: int, steps: dict[int, tuple[int, bytes]], paths: dict[int, bytes]) -> None:
        chain = []
        while directory in steps and directory not in paths:
            chain.append(directory)
            directory = steps[directory][0]
        for below in reversed(chain) if directory in paths else ():
            parent, name = steps[below]
            paths[below] = paths[parent] + b"/" + name

    def _names(self, parents: dict[int, int]) -> Iterator[tuple[int, bytes]]:
        """Names of inodes in their directories."""
        left = dict(parents)
        for ino, name in self._rows(_FIRST_NAMES, json.dumps(list(parents))):
            left.pop(ino, None)
            yield ino, bytes(name)
        for directory in set(left.values()):
            inos = [ino for ino, parent in left.items() if parent == directory]
            for ino, name in self._rows(_NAMES, directory, json.dumps(inos)):
                yield ino, bytes(name)

    def _connect(self, path: Path) -> sqlite3.Connection:
        return connect(path, PRAGMAS, read_only=self._read_only)

    def _rows(self, statement: str, *args: object) -> list[Row]:
        self._flush()
        with self._mutex, translating(self._path):
            return self._connection.execute(statement, args).fetchall()


def copy_snapshot(path: Path, target: Path, checkpoints: int) -> None:
    """Copy the database file as the last checkpoint left it, beside the daemon that has it open.

    ``checkpoints`` as of `SnapshotReader`. A checkpoint that comes in between begins it anew.

    Raises:
        OSError: it cannot be read, or there is no room.
    """
    seqlock = CheckpointSeqlockReader(checkpoints)
    try:
        while True:
            settled = seqlock.settled
            if settled is not None:
                shutil.copyfile(path, target)
                if seqlock.settled == settled:
                    return
            time.sleep(_PAUSE_S)
    finally:
        seqlock.close()


class SnapshotReader(IndexReader):
    """Reads the database file alone, without locks; to be called inside `consistently`."""

    def __init__(self, path: Path, checkpoints: int) -> None:
        """``checkpoints`` is the descriptor that `Index.checkpoint_for_snapshot` returned."""
        self._checkpoints = CheckpointSeqlockReader(checkpoints)
        self._seen: int | None = None
        try:
            self._open_settled(lambda: super(SnapshotReader, self).__init__(path))
        except BaseException:
            self._checkpoints.close()
            raise

    def close(self) -> None:
        """Close; nothing may be called afterwards."""
        super().close()
        self._checkpoints.close()

    def consistently(self, read: Callable[[], T], /) -> T:
        """What ``read`` returns, read in one state of the file: it is called again until it is.

        Raises:
            IndexFailed: the file cannot be read, or is damaged.
        """
        while True:
            if self._seen is None or self._checkpoints.settled != self._seen:
                self._open_settled(self._reopen)
            settled = self._seen
            try:
                result = read()
            except IndexFailed:  # or of pages that belong to two states
                if self._checkpoints.settled == settled:
                    raise
            else:
                if self._checkpoints.settled == settled:
                    return result
            self._seen = None

    def _open_settled(self, connect: Callable[[], object]) -> None:
        """Connect while the file is in one state: that alone reads the schema."""
        while True:
            settled = self._checkpoints.settled
            if settled is not None:
                try:
                    connect()
                except IndexFailed:
                    if self._checkpoints.settled == settled:
                        raise
                else:
                    if self._checkpoints.settled == settled:
                        self._seen = settled
                        return
            time.sleep(_PAUSE_S)

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?immutable=1",
            uri=True,
            isolation_level=None,
            cached_statements=256,
        )
        try:
            for pragma in (*PRAGMAS, _SNAPSHOT_CACHE):
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    def _reopen(self) -> None:
        """SQLite never reads again what it has cached of an immutable file."""
        super().close()
        self.open(self._path)
