"""A program in which many processes work on one SQLite database, as its own `mptest` does.

`sqlite_load.py DATABASE MODE PROCESSES TRANSACTIONS` makes a bank of accounts in this journal mode.
Each process moves money between accounts, one transaction after the other, with rollbacks and
checkpoints in between, and looks whether money was lost or made. Prints what the bank holds at
the end: the number of transfers, and of accounts whose balance is not the sum of their transfers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import sqlite3
import sys

ACCOUNTS = 40
BALANCE = 1000
PATIENCE = 60.0
"""Seconds that a process waits for a lock."""

SCHEMA = """
CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note TEXT NOT NULL);
CREATE TABLE transfer (id INTEGER PRIMARY KEY, worker INT, number INT, source INT, target INT,
                       amount INT, UNIQUE (worker, number));
"""
WRONG = f"""
SELECT count(*) FROM account WHERE balance != {BALANCE}
    + (SELECT coalesce(sum(amount), 0) FROM transfer WHERE target = account.id)
    - (SELECT coalesce(sum(amount), 0) FROM transfer WHERE source = account.id)
"""  # noqa: S608


def connect(database: str) -> sqlite3.Connection:
    """A connection that begins and ends transactions only when it is told to."""
    connection = sqlite3.connect(database, timeout=PATIENCE, isolation_level=None)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA cache_size=5")  # pages; small, so that they spill into the file
    return connection


def found(bank: sqlite3.Connection) -> None:
    """Make the accounts, each with a note that fills some pages."""
    bank.executescript(SCHEMA)
    rows = [(number, BALANCE, "x" * 3000) for number in range(ACCOUNTS)]
    bank.executemany("INSERT INTO account VALUES (?, ?, ?)", rows)


def check_total(bank: sqlite3.Connection) -> None:
    """Read within one snapshot, whoever else writes; ValueError if the sum is another."""
    (total,) = bank.execute("SELECT sum(balance) FROM account").fetchone()
    if total != ACCOUNTS * BALANCE:
        message = f"the accounts hold {total}, not {ACCOUNTS * BALANCE}"
        raise ValueError(message)


def transfer(bank: sqlite3.Connection, worker: int, number: int, chance: random.Random) -> None:
    """Move money; one transaction in four is rolled back and made again."""
    source, target = chance.sample(range(ACCOUNTS), 2)
    amount = chance.randrange(100)
    for ending in ["ROLLBACK", "COMMIT"] if chance.random() < 0.25 else ["COMMIT"]:
        bank.execute("BEGIN IMMEDIATE")
        for sign, account in ((-1, source), (1, target)):
            change = (sign * amount, "y" * chance.randrange(6000), account)
            bank.execute("UPDATE account SET balance = balance + ?, note = ? WHERE id = ?", change)
        row = (worker, number, source, target, amount)
        bank.execute("INSERT INTO transfer VALUES (NULL, ?, ?, ?, ?, ?)", row)
        bank.execute(ending)


def work(database: str, worker: int, transactions: int) -> None:
    """What one process does."""
    chance = random.Random(worker)
    with contextlib.closing(connect(database)) as bank:
        for number in range(transactions):
            transfer(bank, worker, number, chance)
            check_total(bank)
            if number % 10 == worker % 10:
                bank.execute("PRAGMA wal_checkpoint")


def main() -> None:
    """Let the processes work, then print what is there."""
    database, mode, processes, transactions = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5])
    with contextlib.closing(connect(database)) as bank:
        bank.execute(f"PRAGMA journal_mode={mode}")
        found(bank)
    tasks = [(database, worker, transactions) for worker in range(processes)]
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        pool.starmap(work, tasks, chunksize=1)
    with contextlib.closing(connect(database)) as bank:
        check_total(bank)
        (integrity,) = bank.execute("PRAGMA integrity_check").fetchone()
        (transfers,) = bank.execute("SELECT count(*) FROM transfer").fetchone()
        (wrong,) = bank.execute(WRONG).fetchone()
    sys.stdout.write(f"{integrity} {transfers} {wrong}\n")


if __name__ == "__main__":
    main()
