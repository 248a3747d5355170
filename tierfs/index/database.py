"""The connection to SQLite: pragmas, transactions, migrations, durability.

One connection writes; a lock makes it safe for threads. In WAL mode a commit is a write to
the log without a sync: a killed process loses nothing, and ``sync`` is what makes it safe from
a power cut (https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tierfs.base.errors import IndexFailed, VolumeRefused, errno_of
from tierfs.base.group_sync import GroupSync
from tierfs.base.metrics import Metrics
from tierfs.base.osio import Os
from tierfs.index.schema import FAILURES, MIGRATIONS, VERSION

PRAGMAS = (
    # Of a new index: each page that a transaction touches is written to the log as a whole.
    "PRAGMA page_size = 1024",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 0",  # a checkpoint in the middle of a request would stall it
    "PRAGMA foreign_keys = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -65536",  # 64 MiB
    "PRAGMA mmap_size = 268435456",  # 256 MiB of address space: a page read costs no call
    "PRAGMA busy_timeout = 10000",
)
CHECKPOINT_PATIENCE_MS = 100
"""How long a checkpoint waits for others to let go of the log, with all writers behind it."""

NO_LIMIT = 2**63
AT_ONCE = 1024 * 1024
"""Bytes of the log that are read and written again by one call."""

LOOK_EVERY = 16
"""Transactions after which the log's length is looked at: each adds some pages to it."""

Row = tuple[Any, ...]
"""The columns of a row, in the order of the query."""


class Database:
    """SQLite behind a lock. Every method may be called from any thread.

    As a block it is a transaction, all or nothing: its end commits, any exception rolls back. It
    may be nested.

    ``on_commit`` and ``on_rollback`` are called at a transaction's end, still under the lock.

    Raises from every method:
        IndexFailed: SQLite failed; its errno is ENOSPC when there was no room, else EIO.
    """

    def __init__(
        self,
        path: Path,
        os_: Os,
        metrics: Metrics,
        *,
        on_commit: Callable[[], None],
        on_rollback: Callable[[], None],
    ) -> None:
        self.path = path
        self._os = os_
        self._metrics = metrics
        self._on_commit = on_commit
        self._on_rollback = on_rollback
        self.lock = threading.RLock()
        self._depth = 0
        self.commits = 0
        self._log_limit = NO_LIMIT
        self._unlooked = 0
        self._sync_failed = False
        self._group_sync = GroupSync(self._sync_log)
        self._make_commit = os_.bound("index.commit", self.execute)
        self._commits = metrics.index_transactions.labels("commit")
        self._rollbacks = metrics.index_transactions.labels("rollback")
        with _translated():
            self._connection = connect(path, PRAGMAS)
        self._writing = self._connection.cursor()
        try:
            with _translated():
                _migrate(self._connection, path)
            self._wal = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except BaseException:
            self._connection.close()
            raise
        try:
            with self.lock:
                self._write_log_again()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Fold the log into the database and close it."""
        with self.lock, _translated():
            os.close(self._wal)
            self._writing.close()  # a statement that failed would keep the files open
            self._connection.close()

    def rows(self, statement: str, *args: object) -> list[Row]:
        """Every row of a query."""
        try:
            with self.lock:
                return self._connection.execute(statement, args).fetchall()
        except FAILURES as exc:
            raise _failure(exc) from exc

    def row(self, statement: str, *args: object) -> Row | None:
        """The first row of a query, or None."""
        try:
            with self.lock:
                row: Row | None = self._connection.execute(statement, args).fetchone()
                return row
        except FAILURES as exc:
            raise _failure(exc) from exc

    def execute(self, statement: str, *args: object) -> int:
        """Run a statement inside a transaction; returns the number of rows it changed."""
        try:
            return self._writing.execute(statement, args).rowcount
        except FAILURES as exc:
            raise _failure(exc) from exc

    def __enter__(self) -> None:
        """Begin a transaction, or go on with the one that this thread is in."""
        self.lock.acquire()
        try:
            if not self._depth:
                self._begin()
        except BaseException:
            self.lock.release()
            raise
        self._depth += 1

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if self._depth > 1:
                self._depth -= 1
            elif kind is None:
                self._commit()
            else:
                self._roll_back()
        finally:
            self.lock.release()

    def _begin(self) -> None:
        self._unlooked -= 1
        if self._unlooked < 0:
            self._unlooked = LOOK_EVERY
            if self.wal_size() > self._log_limit:
                self.checkpoint(0)
        self.execute("BEGIN IMMEDIATE")

    def limit_log(self, limit: int) -> None:
        """Let a transaction that finds the log longer than ``limit`` bytes empty it first."""
        self._log_limit, self._unlooked = limit, 0

    def _commit(self) -> None:
        try:
            self._make_commit("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._depth = 0
        self._on_commit()
        self._commits.inc()
        self.commits += 1

    def is_free(self) -> bool:
        """Whether a call would not wait for another thread's transaction, if it came now."""
        free = self.lock.acquire(blocking=False)
        if free:
            self.lock.release()
        return free

    @property
    def in_transaction(self) -> bool:
        """Whether the thread that holds the lock is in a transaction."""
        return self._depth > 0

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
        finally:
            self._depth = 0
            self._on_rollback()
            self._rollbacks.inc()

    def sync(self) -> None:
        """Make every commit so far survive a power cut; threads that wait share one sync.

        The log alone is synced: SQLite reads committed frames back from it. After a failure no
        later sync succeeds: the kernel drops what it could not write and reports that once only.

        Raises:
            IndexFailed: the sync failed, now or earlier.
        """
        try:
            self._group_sync()
        except OSError as exc:
            raise IndexFailed(errno_of(exc), f"metadata index: {exc.strerror}") from exc

    def _sync_log(self) -> None:
        """Sync the log, or fail as it once did; called by one thread at a time."""
        if self._sync_failed:
            raise OSError(
                errno.EIO, "an earlier sync of the index's log failed; mount the volume again"
            )
        try:
            self._os.call("index.sync", os.fdatasync, self._wal)
        except OSError:
            self._sync_failed = True
            raise

    def _write_log_again(self) -> None:
        """Hand the kernel every byte of the log that an unclean end left.

        Where the device refused a page, the page cache shows it as if it had been written, and no
        sync would write it: what is read from the log now would be gone after a power cut.
        """
        if not self.wal_size():
            return
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        target, offset = os.open(f"{self.path}-wal", flags), 0
        try:
            while data := self._os.call("index.pread", os.pread, self._wal, AT_ONCE, offset):
                offset += self._os.call("index.pwrite", os.pwrite, target, data, offset)
        finally:
            os.close(target)

    def checkpoint(self, log_limit: int) -> None:
        """Copy the log into the database, on a connection of its own, beside the writer.

        Only if the log is longer than ``log_limit`` bytes even so, writers wait until it is empty.
        While somebody reads from the log for long it cannot be emptied, and stays as it is.

        Raises:
            IndexFailed: it could not be made, or the log could not be synced, now or earlier:
                what is read back from it then may be older than what was committed.
        """
        with _translated(), closing(connect(self.path, PRAGMAS)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_PATIENCE_MS}")
            # SQLite opened the log for this connection before our own sync. So a failure to write
            # it is reported to one of the two, whenever it happens.
            self.sync()
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                if self.wal_size() > log_limit:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error:
                self.sync()  # it may have been the log: then no later sync succeeds
                raise
        self._metrics.index_wal_bytes.set(self.wal_size())

    def wal_size(self) -> int:
        """Bytes of the write-ahead log."""
        return os.fstat(self._wal).st_size


def connect(path: Path, pragmas: Sequence[str]) -> sqlite3.Connection:
    """Connect as the process that alone has the volume open: its locks cost no system call.

    Other processes are kept out; what connections must know of each other is in memory
    (``unix-excl``, https://www.sqlite.org/vfs.html#standard_unix_vfses).
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?vfs=unix-excl",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        for pragma in pragmas:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise VolumeRefused(
            f"{path}: the index has schema {version}, this tierfs knows {VERSION}: "
            "use the newer tierfs that wrote it"
        )
    for number in range(version, VERSION):
        connection.executescript(
            f"BEGIN;\n{MIGRATIONS[number]}\nPRAGMA user_version = {number + 1};\nCOMMIT;"
        )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FAILURES as exc:
        raise _failure(exc) from exc


def _failure(exc: Exception) -> IndexFailed:
    code = getattr(exc, "sqlite_errorcode", 0)
    number = errno.ENOSPC if code == sqlite3.SQLITE_FULL else errno.EIO
    hint = "; another program, such as sqlite3, has it open" if code == sqlite3.SQLITE_BUSY else ""
    return IndexFailed(number, f"metadata index: {exc}{hint}")
