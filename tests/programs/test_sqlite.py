"""SQLite: locks, a journal that comes and goes, a write-ahead log with shared memory."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from tests.support.places import Place
from tests.support.proc import run, start, stop, wait_until

TRANSACTIONS = int(os.environ.get("TIERFS_SQLITE_TRANSACTIONS", "1000"))

SETUP = """
PRAGMA journal_mode={mode};
PRAGMA synchronous=FULL;
CREATE TABLE image (id INTEGER PRIMARY KEY, label TEXT NOT NULL, pixels BLOB NOT NULL);
CREATE INDEX by_label ON image (label);
"""
INSERT = "BEGIN; INSERT INTO image VALUES ({n}, 'label {n}', zeroblob(500)); COMMIT;\n"
TOTAL = "SELECT count(*), sum(id), sum(length(pixels)) FROM image;"


# Who opens a write-ahead log at the moment in which another sets up its index is told that the
# database is locked, on native filesystems too (SQLITE_BUSY_RECOVERY): so everybody waits.
SQLITE = ("sqlite3", "-bail", "-cmd", ".timeout 5000")


def sqlite(database: Path, script: str) -> str:
    return run([*SQLITE, database], stdin=script, timeout=100).stdout.strip()


def has_rows(database: Path, count: int) -> bool:
    return sqlite(database, "SELECT count(*) FROM image;") == str(count)


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_database_survives_transactions(place: Place, mode: str) -> None:
    database = place.path / "images.db"
    inserts = "".join(INSERT.format(n=number) for number in range(TRANSACTIONS))
    assert sqlite(database, SETUP.format(mode=mode) + inserts) == mode.lower()
    for _ in range(2):
        place.remount()
        assert sqlite(database, "PRAGMA integrity_check;") == "ok"
        expected = (TRANSACTIONS, sum(range(TRANSACTIONS)), 500 * TRANSACTIONS)
        assert sqlite(database, TOTAL) == "|".join(map(str, expected))
        sqlite(database, "BEGIN; UPDATE image SET label = label || '!'; ROLLBACK; VACUUM;")


def test_reader_sees_what_a_writer_committed(place: Place) -> None:
    """Two processes share the write-ahead log's index through memory mapped from the mount."""
    database = place.path / "shared.db"
    sqlite(database, SETUP.format(mode="WAL"))
    writer = start([*SQLITE, database])
    try:
        assert writer.stdin
        for number in range(5):
            writer.stdin.write(INSERT.format(n=number))
            writer.stdin.flush()
            wait_until(partial(has_rows, database, number + 1), what=f"insert {number} is seen")
    finally:
        stop(writer)
