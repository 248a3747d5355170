"""Reading the index beside its writer, a little at a time, for whoever goes through all of it.

A connection of its own: nobody waits for it, and it sees what is committed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tierfs.index.database import Row, connect
from tierfs.index.failures import translated
from tierfs.index.inodes import COLUMNS, ROOT, Inode, inode_of
from tierfs.index.wishes import Pin, Request

PRAGMAS = (
    "PRAGMA query_only = ON",
    "PRAGMA cache_size = -4096",  # 4 MiB: rows are read once
    "PRAGMA mmap_size = 0",  # or a sweep would map the whole index
    "PRAGMA busy_timeout = 10000",
)

_FILE = "mode & 0xF000 = 0x8000 AND nlink > 0"
_FILES = f"SELECT {COLUMNS} FROM inode WHERE ino > ? AND ino <= ? AND {_FILE}"  # noqa: S608 - names of our own
_ON_FLASH = f"{_FILES} AND prefix > 0 AND size > 0"
_GIVEN = "IN (SELECT value FROM json_each(?))"
_SOME = f"SELECT {COLUMNS} FROM inode WHERE ino {_GIVEN} AND {_FILE} ORDER BY ino"  # noqa: S608
_PINNED = f"SELECT ino FROM pin WHERE ino {_GIVEN} AND (until IS NULL OR until > ?)"  # noqa: S608

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


class Survey:
    """Thread-safe; ``read_only`` where the index was opened so.

    Raises from every method:
        IndexFailed: SQLite failed.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._mutex = threading.Lock()
        with translated(path):
            self._connection = connect(path, PRAGMAS, read_only=read_only)

    def close(self) -> None:
        """Close; nothing may be called afterwards."""
        with self._mutex, translated(self._path):
            self._connection.close()

    def files(self, after: int, span: int, *, on_flash: bool) -> tuple[list[Inode], int]:
        """Regular files that have a name, of the ``span`` inode numbers behind ``after``, in order.

        With ``on_flash`` only those that have bytes there. Also returns the number to go on
        behind; 0: that was the end of the table.
        """
        end = after + span
        rows = self._rows(_ON_FLASH if on_flash else _FILES, after, end)
        return [inode_of(row) for row in rows], end if end < self.last_inode() else 0

    def last_inode(self) -> int:
        """The largest inode number there is."""
        return int(self._rows("SELECT coalesce(max(ino), 0) FROM inode")[0][0])

    def some(self, inos: Sequence[int]) -> list[Inode]:
        """Those of the inodes that are regular files and have a name, in ascending order."""
        return [inode_of(row) for row in self._rows(_SOME, json.dumps(inos))]

    def pinned(self, inos: Sequence[int], now: int) -> set[int]:
        """Those of the inodes that are pinned at ``now``."""
        return {ino for (ino,) in self._rows(_PINNED, json.dumps(inos), now)}

    def pins(self, after: int, limit: int) -> list[Pin]:
        """Pins of the ``limit`` next inodes behind ``after``."""
        query = "SELECT ino, until FROM pin WHERE ino > ? ORDER BY ino LIMIT ?"
        return [Pin._make(row) for row in self._rows(query, after, limit)]

    def requests(self, after: int, limit: int) -> list[Request]:
        """Requests for the ``limit`` next inodes behind ``after``."""
        query = "SELECT ino, prefix FROM request WHERE ino > ? ORDER BY ino LIMIT ?"
        return [Request._make(row) for row in self._rows(query, after, limit)]

    def xattr(self, ino: int, name: bytes) -> bytes | None:
        """The value of an extended attribute."""
        rows = self._rows("SELECT value FROM xattr WHERE ino = ? AND name = ?", ino, name)
        return bytes(rows[0][0]) if rows else None

    def xattrs(self, inos: Sequence[int], longest: int) -> dict[int, list[tuple[bytes, bytes]]]:
        """Names and values of attributes by inode, of values up to ``longest`` bytes."""
        found: dict[int, list[tuple[bytes, bytes]]] = {}
        for ino, name, value in self._rows(_XATTRS, json.dumps(inos), longest):
            found.setdefault(ino, []).append((bytes(name), bytes(value)))
        return found

    def paths(self, rows: Sequence[Inode]) -> dict[int, list[bytes]]:
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

    def _rows(self, statement: str, *args: object) -> list[Row]:
        with self._mutex, translated(self._path):
            return self._connection.execute(statement, args).fetchall()
