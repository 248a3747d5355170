from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

from tierfs.metadata.inodes import Inode
from tierfs.metadata.schema import MIGRATIONS, VERSION

FIRST_SERIAL = 16

OBJECT = re.compile(r"CREATE (?:TABLE|(?:UNIQUE )?INDEX) (\w+)", re.IGNORECASE)
COLUMN = re.compile(
    r"(?:    |ALTER TABLE \w+ ADD COLUMN )([a-z_]+) (?:INTEGER|TEXT|BLOB|REAL|ANY)\b"
)

EXPLAINED_TOGETHER = {"mtime": "atime", "ctime": "atime"}
"""Columns whose comment is the one above another; the line between says nothing else."""


def undocumented(migration: str) -> list[str]:
    """The tables and columns that no comment stands above."""
    missing = []
    comment = ""
    for line in migration.splitlines():
        column = COLUMN.match(line)
        table = re.match(r"CREATE TABLE (\w+)", line)
        if column and not comment and column[1] not in EXPLAINED_TOGETHER:
            missing.append(column[1])
        if table and not comment:
            missing.append(table[1])
        # A column uses its comment up, except for those explained together with it.
        comment = line.strip() if line.strip().startswith("--") else ""
    return missing


@pytest.mark.parametrize("migration", MIGRATIONS)
def test_every_table_and_column_has_a_comment(migration: str) -> None:
    assert undocumented(migration) == []
    columns, objects = COLUMN.findall(migration), OBJECT.findall(migration)
    assert columns or not (objects or "ALTER" in migration)
    assert len(columns) >= len(objects)


def test_the_check_notices_what_has_none() -> None:
    schema = "-- Explained.\nCREATE TABLE a (\n    -- explained\n    b INTEGER,\n    c BLOB\n);\n"
    assert undocumented(schema) == ["c"]
    assert undocumented(schema.replace("-- Explained.", "")) == ["a", "c"]


def fresh() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for migration in MIGRATIONS:
        connection.executescript(migration)
    return connection


def test_every_table_is_strict() -> None:
    with closing(fresh()) as connection:
        tables = connection.execute("PRAGMA table_list").fetchall()
    own = [(name, strict) for _, name, kind, _, _, strict in tables if "sqlite" not in name]
    assert own
    assert all(strict for _, strict in own)


def test_the_inode_record_has_the_columns_of_its_table() -> None:
    with closing(fresh()) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(inode)")]
    assert tuple(columns) == (*Inode._fields, "synced")


def test_a_fresh_index_begins_behind_the_numbers_kept_back() -> None:
    with closing(fresh()) as connection:
        assert connection.execute("SELECT * FROM volume").fetchall() == [
            (1, "", FIRST_SERIAL, FIRST_SERIAL)
        ]


def test_the_version_counts_the_migrations() -> None:
    assert len(MIGRATIONS) == VERSION


PLANS = {
    "a lookup": "SELECT ino FROM entry WHERE parent = 1 AND name = x'61'",
    "a page of a listing": (
        "SELECT name FROM entry WHERE parent = 1 AND cookie < 5 ORDER BY cookie DESC"
    ),
    "the orphans": "SELECT ino FROM inode WHERE nlink = 0",
    "the attributes of a file": "SELECT name FROM xattr WHERE ino = 1 ORDER BY name",
    "whether a directory is empty": "SELECT 1 FROM entry WHERE parent = 1 LIMIT 1",
}


@pytest.mark.parametrize("query", PLANS.values(), ids=PLANS.keys())
def test_no_query_of_a_request_scans_a_table_or_sorts(query: str) -> None:
    with closing(fresh()) as connection:
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert steps
    for step in steps:
        assert "USING" in step, step
        assert "TEMP B-TREE" not in step, step
