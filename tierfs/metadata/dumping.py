"""An index as lines of JSON, and back: for migrations, and for programs without SQLite.

The lines are the records of the change feed that would make the index of nothing, between a header
and an end: docs/reference/dump.md.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from tierfs.common.errors import DamageFound, VolumeRefused
from tierfs.metadata.changes import put_record
from tierfs.metadata.copying import TABLES
from tierfs.metadata.inodes import Inode, row_of
from tierfs.metadata.recovery import IN_SET
from tierfs.metadata.schema import VERSION as SCHEMA
from tierfs.metadata.sqlite import connect, translating

VERSION: Final = 1
"""Of the form: another one where a reader of the old one would be wrong."""

AT_A_TIME: Final = 10_000
"""Rows that one statement inserts."""

_OF: Final = {"inode": "inode", "entry": "name", "xattr": "xattr", "pin": "pin"}
"""What the records of a table are of."""


def dump_lines(index: Path) -> Iterator[str]:
    """The lines of an index that nobody changes, without their ends.

    Raises:
        IndexFailed: it cannot be read.
    """
    with (
        translating(index),
        closing(connect(index, ("PRAGMA cache_size = -16384",), read_only=True)) as connection,
    ):
        (volume,) = connection.execute("SELECT uuid, next_serial FROM volume")
        yield json.dumps(
            {
                "tierfs": "dump",
                "version": VERSION,
                "schema": SCHEMA,
                "volume": volume[0],
                "next_serial": volume[1],
                "time": time.time_ns(),
            }
        )
        records = 0
        for record in _records(connection):
            records += 1
            yield json.dumps(record)
        yield json.dumps({"end": True, "records": records})


def _records(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    for _, table, key, columns, named in TABLES:
        if table not in _OF:
            continue
        names = named.split(", ")
        for row in connection.execute(f"SELECT {columns} FROM {table} ORDER BY {key}"):  # noqa: S608 - names of our own
            yield put_record(_OF[table], dict(zip(names, row, strict=True)))
    for ino, size, _, exact in connection.execute(IN_SET):
        yield {"change": "dirtied", "ino": ino, "synced": size, "exact": bool(exact)}


def load_lines(connection: sqlite3.Connection, lines: Iterable[str]) -> int:
    """Fill an empty index; returns when it was dumped, in nanoseconds since the epoch.

    Raises:
        VolumeRefused: the dump is of a newer form.
        DamageFound: a line is wrong, or the end is missing.
        sqlite3.Error: SQLite failed.
    """
    number, batches, at_end = 0, _Batches(connection), False
    header: dict[str, Any] = {}
    for number, line in enumerate(lines):
        try:
            record = json.loads(line)
            if number == 0:
                header = _header(record)
            elif record.get("end"):
                at_end = record["records"] == number - 1
                break
            else:
                batches.add(*_row(record))
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise DamageFound(f"line {number + 1} of the dump is wrong: {error}") from error
    if not at_end:
        raise DamageFound(f"the dump ends too early, in line {number + 1}")
    batches.flush()
    connection.execute(
        "UPDATE volume SET uuid = ?, next_serial = max(?, next_serial), dirty_from = ?",
        (header["volume"], header["next_serial"], header["next_serial"]),
    )
    return int(header["time"])


def _header(record: dict[str, Any]) -> dict[str, Any]:
    if record["tierfs"] != "dump" or record["version"] > VERSION:
        raise VolumeRefused(
            f"the dump has the form {record['version']}, this tierfs knows {VERSION}: "
            "use the newer tierfs that wrote it"
        )
    return {
        "volume": str(record["volume"]),
        "next_serial": int(record["next_serial"]),
        "time": int(record["time"]),
    }


def _row(record: dict[str, Any]) -> tuple[str, tuple[object, ...]]:
    """The table of a record, and its row."""
    if record["change"] == "dirtied":
        return "dirty", (record["ino"], record["synced"], 0, int(record["exact"]))
    if record["change"] != "put":
        raise ValueError(f"change {record['change']}")
    match record["of"]:
        case "inode":
            target = record.get("target")
            fields = {name: record[name] for name in Inode._fields if name != "target"}
            target = None if target is None else os.fsencode(target)
            synced = 0  # what is, of the dirty set, has a row there
            return "inode", (*row_of(Inode(**fields, target=target)), synced)
        case "name":
            name = os.fsencode(record["name"])
            return "entry", (record["parent"], name, record["ino"], record["cookie"])
        case "xattr":
            value = base64.b64decode(record["value"], validate=True)
            return "xattr", (record["ino"], os.fsencode(record["name"]), value)
        case "pin":
            return "pin", (record["ino"], record["until"], int(record["below"]))
        case other:
            raise ValueError(f"of {other}")


class _Batches:
    """Inserts rows of each table many at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._statements = {
            table: f"INSERT INTO {table} ({columns}) VALUES ({_marks(columns)})"  # noqa: S608 - names of our own
            for _, table, _, columns, _ in TABLES
        }
        self._rows: dict[str, list[tuple[object, ...]]] = {table: [] for table in self._statements}

    def add(self, table: str, row: tuple[object, ...]) -> None:
        rows = self._rows[table]
        rows.append(row)
        if len(rows) >= AT_A_TIME:
            self._insert(table)

    def flush(self) -> None:
        for table in self._rows:
            self._insert(table)

    def _insert(self, table: str) -> None:
        self._connection.executemany(self._statements[table], self._rows[table])
        self._rows[table].clear()


def _marks(columns: str) -> str:
    return ", ".join("?" * len(columns.split(", ")))
