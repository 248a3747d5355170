"""A synthetic index: rows made by SQL, for files that have no objects."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.metadata.rows import INSERT_INODES
from tierfs.metadata.schema import COUNTS

FIRST = 1000
"""The first inode number; what is before is the root and its directories."""

IN_DIRECTORY = 1000
DAY_AGO = 86_400

_DIRECTORIES = f"""
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :directories)
{INSERT_INODES}
SELECT :base + i, 0x41ED, 0, 0, 2, 4096, 0, :then, :then, :then, 0, 0, 1, NULL, 0, 0, 0 FROM n
"""  # noqa: S608 - SQL of our own
_FILES = f"""
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :files)
{INSERT_INODES}
SELECT :first + i, 0x81A4, 1000, 1000, 1, 1000 + i * 7919 % 100000, 0, :then, :then, :then,
       65536, 1, :base + i / :width, NULL, 0, 1, 0 FROM n
"""  # noqa: S608 - SQL of our own
_DIRECTORY_NAMES = """
INSERT INTO entry SELECT 1, CAST('d' || ino AS BLOB), ino, ino FROM inode WHERE ino >= :base
"""
_NAMES = """
INSERT INTO entry SELECT parent, CAST('f' || ino AS BLOB), ino, ino FROM inode
WHERE ino >= :first AND ino < :base
"""


def fill_index(path: Path, files: int, now: int) -> None:
    """Add ``files`` files, all mirrored, with their heads on flash, a thousand in a directory."""
    base = FIRST + files
    values = {
        "files": files,
        "first": FIRST,
        "base": base,
        "width": IN_DIRECTORY,
        "directories": files // IN_DIRECTORY + 1,
        "then": now - DAY_AGO * 10**9,
    }
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for statement in (_FILES, _DIRECTORIES, _DIRECTORY_NAMES, _NAMES):
            connection.execute(statement, values)
        connection.execute("UPDATE volume SET dirty_from = 1 + (SELECT max(ino) FROM inode)")
        connection.execute("DELETE FROM usage")
        connection.execute(f"INSERT INTO usage SELECT 1, 1, {COUNTS} FROM inode")  # noqa: S608
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
