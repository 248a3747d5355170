"""SQLite as an application that must not lose a commit.

``python -m tests.powercut.database FILE JOURNAL MODE``: commits without end, and notes each commit
that returned. MODE is ``WAL`` or ``DELETE``; both with the setting that survives a power cut
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import sys
import time
from pathlib import Path

from tests.powercut.journal import Cut
from tests.powercut.model import Failure

SYNCHRONOUS = {"WAL": "FULL", "DELETE": "EXTRA"}
MODES = tuple(SYNCHRONOUS)
TABLE = "CREATE TABLE IF NOT EXISTS log (number INTEGER PRIMARY KEY, body BLOB, sum TEXT)"
KEPT = 300
"""Rows; older ones are removed, so that pages are used again."""


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """The database, made if need be.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    there = sqlite3.connect(path, isolation_level=None, timeout=1)
    try:
        there.execute(f"PRAGMA journal_mode = {mode}")
        there.execute(f"PRAGMA synchronous = {SYNCHRONOUS[mode]}")
        there.execute("PRAGMA wal_autocheckpoint = 40")
        there.execute(TABLE)
    except sqlite3.Error:
        there.close()
        raise
    return there


def body(number: int) -> bytes:
    """What commit ``number`` stores: between 1 and 6,000 bytes."""
    seed = hashlib.sha256(b"%d" % number).digest()
    return (seed * 200)[: 1 + number * 7919 % 6000]


def commit(there: sqlite3.Connection, number: int) -> None:
    """Transaction ``number``: one row more, one less."""
    data = body(number)
    there.execute("BEGIN IMMEDIATE")
    there.execute(
        "INSERT INTO log VALUES (?, ?, ?)", (number, data, hashlib.sha256(data).hexdigest())
    )
    there.execute("DELETE FROM log WHERE number = ?", (number - KEPT,))
    there.execute("COMMIT")


def acknowledged(journal: Path, cut: Cut) -> int:
    """The last commit that returned."""
    lines = journal.read_bytes().splitlines() if journal.exists() else []
    told = [tuple(map(int, line.split())) for line in lines]
    return max((number for number, *when in told if not cut.overlaps(*when)), default=0)


def check(path: Path, mode: str, last: int) -> None:
    """Open it as the application would, which knows that commit ``last`` returned.

    Raises:
        Failure: it cannot be opened, is corrupt, or misses a commit.
    """
    try:
        with contextlib.closing(connect(path, mode)) as there:
            ((verdict,),) = there.execute("PRAGMA integrity_check").fetchall()
            rows = there.execute("SELECT number, body, sum FROM log ORDER BY number").fetchall()
    except sqlite3.Error as exc:
        raise Failure("database", path.name, f"{mode}: {exc}") from exc
    if verdict != "ok":
        raise Failure("database", path.name, f"{mode}: {verdict}")
    numbers = [number for number, _, _ in rows]
    newest = numbers[-1] if numbers else 0
    if newest < last:
        raise Failure("commit lost", path.name, f"{mode}: {last} commits, found {newest}")
    if numbers != list(range(max(1, newest - KEPT + 1), newest + 1)):
        raise Failure("database", path.name, f"{mode}: {len(numbers)} rows up to {newest}")
    if any(data != body(number) for number, data, _ in rows):
        raise Failure("database", path.name, f"{mode}: a row is not what was stored")


def main() -> None:
    """Commit until there is an error."""
    path, journal, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    descriptor = os.open(journal, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    with contextlib.closing(connect(path, mode)) as there:
        ((newest,),) = there.execute("SELECT coalesce(max(number), 0) FROM log").fetchall()
        with contextlib.suppress(sqlite3.Error):
            while True:
                newest += 1
                began = time.monotonic_ns()
                commit(there, newest)
                os.write(descriptor, b"%d %d %d\n" % (newest, began, time.monotonic_ns()))


if __name__ == "__main__":
    main()
