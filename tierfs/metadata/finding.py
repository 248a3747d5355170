"""What `tierfs.query` reads of the index, in a process of its own.

A condition is SQL on a row ``i`` of the inode table. Beside SQLite's own functions it may call
``fits(pattern, value)``, whether a text or bytes fit a pattern, and ``number(value)``, the number
that a text is: both are NULL of NULL.

Of the extended attributes only those of the namespace ``user.`` are read here.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, cast

from tierfs.common.errors import IndexFailed
from tierfs.metadata.inode_sql import KNOWN, Found
from tierfs.metadata.reader import SnapshotReader
from tierfs.metadata.tag_indexes import PREFIX, literal, tag_index

_BYTES: Final = "sum((i.mode & 0xF000 = 0x8000) * (i.size {}))"
_RANGE: Final = "i.nlink > 0 AND i.ino > ? AND i.ino <= ?"
_SOME: Final = "i.nlink > 0 AND i.ino IN (SELECT value FROM json_each(?))"

_TAGS: Final = """
SELECT ino, name, value FROM xattr WHERE ino IN (SELECT value FROM json_each(?))
AND name >= CAST('user.' AS BLOB) AND name < CAST('user/' AS BLOB) ORDER BY ino, name
"""
_FACTS: Final = """
SELECT fact.ino, key, value FROM fact JOIN fact_state USING (ino) JOIN inode USING (ino)
WHERE fact.ino IN (SELECT value FROM json_each(?)) AND data_version = inode.version
ORDER BY fact.ino, key
"""


_KNOWN: Final = ", ".join(f"i.{name}" for name in Found._fields)
_pack: Final = struct.Struct(f"={KNOWN}q").pack
_make: Final = cast("Callable[[Sequence[Any]], Found]", partial(tuple.__new__, Found))


class Finder(SnapshotReader):
    """As `SnapshotReader`; ``fits(pattern, value)`` is what the function of SQL calls."""

    def __init__(self, path: Path, checkpoints: int, fits: Callable[[str, str], bool]) -> None:
        self._fits = fits
        super().__init__(path, checkpoints)

    def indexed_tags(self) -> frozenset[bytes]:
        """The attributes whose values are indexed."""
        names = self._rows("SELECT name FROM sqlite_schema WHERE type = 'index'")
        tags = [name.removeprefix(PREFIX) for (name,) in names if name.startswith(PREFIX)]
        return frozenset(os.fsencode(name) for name in tags)

    def among(
        self, inos: Sequence[int], columns: Sequence[str], where: str, values: Sequence[object]
    ) -> list[Found]:
        """Those of some inodes for which a condition holds; ``values`` of columns, then of it."""
        return self._found(_SOME, (json.dumps(inos),), columns, where, values)

    def within(
        self,
        after: int,
        span: int,
        columns: Sequence[str],
        where: str,
        values: Sequence[object],
        order: str = "i.ino",
    ) -> list[Found]:
        """The same of the ``span`` inode numbers behind ``after``; ``order`` may have a limit."""
        return self._found(_RANGE, (after, after + span), columns, where, values, order)

    def sums(
        self, after: int, span: int, column: str, where: str, values: Sequence[object]
    ) -> list[tuple[Any, int, int]]:
        """The values of a column, each with the number of inodes and the bytes of files."""
        query = (
            f"SELECT {column}, count(*), {_BYTES.format('>> 32')}, {_BYTES.format('& 0xFFFFFFFF')} "  # noqa: S608
            f"FROM inode AS i WHERE {_RANGE} AND ({where}) GROUP BY 1"
        )
        return [
            (value, count, (high << 32) + low)
            for value, count, high, low in self._rows(query, after, after + span, *values)
        ]

    def count(self, after: int, span: int, where: str, values: Sequence[object]) -> int:
        """How many of the ``span`` inode numbers behind ``after`` a condition holds for."""
        query = f"SELECT count(*) FROM inode AS i WHERE {_RANGE} AND ({where})"  # noqa: S608
        return int(self._rows(query, after, after + span, *values)[0][0])

    def tagged(self, name: bytes, value: bytes, after: int, limit: int) -> list[int]:
        """The ``limit`` next inodes behind ``after`` that have an indexed attribute's value."""
        index = tag_index(name).replace('"', '""')
        query = (
            f'SELECT ino FROM xattr INDEXED BY "{index}" WHERE name = {literal(name)} '  # noqa: S608
            "AND value = ? AND ino > ? ORDER BY ino LIMIT ?"
        )
        return [ino for (ino,) in self._rows(query, value, after, limit)]

    def with_fact(self, key: str, value: float | str, after: int, limit: int) -> list[int]:
        """The same of a header fact that has a value, of its bytes as they are or as they were."""
        query = (
            "SELECT ino FROM fact INDEXED BY fact_value WHERE key = ? AND value = ? AND ino > ? "
            "ORDER BY ino LIMIT ?"
        )
        return [ino for (ino,) in self._rows(query, key, value, after, limit)]

    def fact_keys(self) -> list[str]:
        """Every fact that is known of a file."""
        found: list[str] = []
        next_key = "SELECT min(key) FROM fact WHERE key > ?"
        while (row := self._rows(next_key, found[-1] if found else "")[0])[0] is not None:
            found.append(row[0])
        return found

    def directory_in(self, parent: int, name: bytes) -> int | None:
        """The directory of a name in another one; None: there is none."""
        query = (
            "SELECT inode.ino FROM entry JOIN inode ON inode.ino = entry.ino "
            "WHERE entry.parent = ? AND name = ? AND mode & 0xF000 = 0x4000"
        )
        rows = self._rows(query, parent, name)
        return int(rows[0][0]) if rows else None

    def tags(self, inos: Sequence[int]) -> dict[int, dict[str, str]]:
        """The attributes ``user.`` of inodes."""
        found: dict[int, dict[str, str]] = {}
        for ino, name, value in self._rows(_TAGS, json.dumps(inos)):
            tags = found.get(ino)
            if tags is None:
                tags = found[ino] = {}
            tags[_name(name)] = value.decode("utf-8", "surrogateescape")
        return found

    def facts(self, inos: Sequence[int]) -> dict[int, dict[str, int | float | str]]:
        """The header facts of inodes, those that hold."""
        found: dict[int, dict[str, int | float | str]] = {}
        for ino, key, value in self._rows(_FACTS, json.dumps(inos)):
            found.setdefault(ino, {})[key] = value
        return found

    def _found(
        self,
        which: str,
        bounds: Sequence[object],
        columns: Sequence[str],
        where: str,
        values: Sequence[object],
        order: str = "i.ino",
    ) -> list[Found]:
        selected = ", ".join((_KNOWN, *columns))
        query = f"SELECT {selected} FROM inode AS i WHERE {which} AND ({where}) ORDER BY {order}"  # noqa: S608
        marks = sum(column.count("?") for column in columns)
        arguments = (*values[:marks], *bounds, *values[marks:])
        rows = self._rows(query, *arguments)
        for row in rows:
            try:
                _pack(*row[:KNOWN])
            except struct.error:
                detail = f"metadata index: the row of inode {row[0]!r} is damaged: see tierfs fsck"
                raise IndexFailed(errno.EIO, detail) from None
        return [_make(row) for row in rows]

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = super()._connect(path)
        connection.create_function("fits", 2, self._fitting, deterministic=True)
        connection.create_function("number", 1, _number, deterministic=True)
        return connection

    def _fitting(self, pattern: str, value: object) -> bool | None:
        if value is None:
            return None
        text = os.fsdecode(value) if isinstance(value, bytes) else str(value)
        return self._fits(pattern, text)


@lru_cache(maxsize=4096)
def _name(name: bytes) -> str:
    return os.fsdecode(name)


@lru_cache(maxsize=4096)
def _number(value: object) -> float | None:
    """The number that a text is; NULL: none."""
    if isinstance(value, int | float):
        return value
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    try:
        number = float(text) if len(text) <= _LONGEST_NUMBER and "_" not in text else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < float("inf") else None


_LONGEST_NUMBER: Final = 40
