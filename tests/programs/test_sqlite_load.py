"""Many processes on one SQLite database: locks, a shared log, a journal that comes and goes."""

from __future__ import annotations

import os
import sys

import pytest

from tests.programs import sqlite_load
from tests.support.places import Place
from tests.support.proc import Argument, run

pytestmark = pytest.mark.long

PROCESSES = 6
TRANSACTIONS = int(os.environ.get("TIERFS_SQLITE_LOAD", "15"))
"""Transactions of each process; in the long run 1,000."""

LIMIT = 100 + TRANSACTIONS
"""Seconds that the load may take."""


@pytest.mark.timeout(LIMIT + 20)
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_no_transaction_is_lost(place: Place, mode: str) -> None:
    database = place.path / "bank.db"
    numbers = [mode, str(PROCESSES), str(TRANSACTIONS)]
    load: list[Argument] = [sys.executable, sqlite_load.__file__, database, *numbers]
    assert run(load, timeout=LIMIT).stdout == f"ok {PROCESSES * TRANSACTIONS} 0\n"
    place.remount()
    assert run(["sqlite3", database], stdin="PRAGMA integrity_check;").stdout == "ok\n"
    count = run(["sqlite3", database], stdin=sqlite_load.WRONG + ";").stdout
    assert count == "0\n"
