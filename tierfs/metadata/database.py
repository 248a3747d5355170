"""The connection to SQLite: pragmas, transactions, migrations, durability.

One connection writes; a lock makes it safe for threads. In WAL mode a commit is a write to
the log without a sync: a killed process loses nothing, and ``sync`` is what makes it safe from
a power cut (https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from threading import get_ident
from typing import Any
from urllib.parse import quote

from tierfs.common.errors import IndexDamaged, IndexFailed, VolumeRefused, errno_of
from tierfs.common.metrics import Metrics
from tierfs.common.osio import Os
from tierfs.common.sync import GroupSync, is_in_memory, sync_data
from tierfs.metadata.failures import failure, translated
from tierfs.metadata.folds import Folds
from tierfs.metadata.room import Room, make_log
from tierfs.metadata.schema import FAILURES, MIGRATIONS, VERSION

log = logging.getLogger(__name__)

PRAGMAS = (
    # Of a new index: each page that a transaction touches is written to the log as a whole.
    "PRAGMA page_size = 1024",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA wal_autocheckpoint = 0",  # a checkpoint in the middle of a request would stall it
    "PRAGMA foreign_keys = OFF",
    # Some builds have it on: to remove a large attribute would write each of its pages once more,
    # which a full filesystem has no room for.
    "PRAGMA secure_delete = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -65536",  # 64 MiB
    "PRAGMA mmap_size = 0",  # a device that cannot read a mapped page ends the process (SIGBUS)
    "PRAGMA busy_timeout = 10000",
)
CHECKPOINT_PATIENCE_MS = 100
"""How long a checkpoint waits for others to let go of the log, with all writers behind it."""

NO_LIMIT = 2**63
AT_ONCE = 1024 * 1024
"""Bytes of the log that are read and written again by one call."""

LOOK_EVERY = 16
"""Transactions after which the log's length is looked at: each adds some pages to it."""

FEW_PAGES = 4096
"""Bytes that a new name or attribute takes at most, beside a large value."""

LOOK_EVERY_WHEN_TIGHT = 4
"""Where the filesystem is full the log lives on what was allocated for it."""

TO_WRITE = frozenset({"PRAGMA page_size = 1024", "PRAGMA journal_mode = WAL"})
"""Those of ``PRAGMAS`` that may change the file."""

ALONE = "PRAGMA locking_mode = EXCLUSIVE"
"""Before its first query a connection that makes no file keeps the log's index in memory."""

Row = tuple[Any, ...]
"""The columns of a row, in the order of the query."""


class Database:
    """SQLite behind a lock. Every method may be called from any thread.

    As a block it is a transaction, all or nothing: its end commits, any exception rolls back. It
    may be nested.

    ``on_commit`` and ``on_rollback`` are called at a transaction's end, still under the lock;
    ``on_look`` before one begins, every ``LOOK_EVERY`` transactions.

    With ``read_only`` no file is made or changed, and a transaction raises EROFS.

    Raises from every method:
        IndexFailed: SQLite failed; its errno is that of ``failure``.
    """

    def __init__(
        self,
        path: Path,
        os_: Os,
        metrics: Metrics,
        *,
        on_commit: Callable[[], None],
        on_rollback: Callable[[], None],
        on_look: Callable[[], None],
        read_only: bool = False,
    ) -> None:
        self.path = path
        self.read_only = read_only
        self._os = os_
        self._metrics = metrics
        self._on_commit = on_commit
        self._on_rollback = on_rollback
        self._on_look = on_look
        self.lock = threading.RLock()
        self._acquire = self.lock.acquire
        self._executing = 0
        """The thread that runs a statement of a transaction; 0: none does."""
        self._depth = 0
        self.commits = 0
        self._log_limit = NO_LIMIT
        self._unlooked = 0
        self._weight = 0
        self._sync_failed = False
        self._group_sync = GroupSync(self._sync_log)
        self._damaged = False
        self._make_commit = os_.bound("index.commit", self.execute)
        self._commits = metrics.index_transactions.labels("commit")
        self._rollbacks = metrics.index_transactions.labels("rollback")
        if not read_only:
            _make_log(path)
        with translated(path):
            self._connection = connect(path, PRAGMAS, read_only=read_only)
        self._writing = self._connection.cursor()
        self.folds = Folds()
        self._room: Room | None = None
        self._wal = -1
        try:
            with translated(path):
                if not read_only:
                    # Makes the log, for which room is kept before anything is written to it.
                    self._connection.execute("PRAGMA user_version").fetchone()
                    self._room = Room(path, os_)
                    self._wal = self._room.log
                    self._room.prepare()
                _migrate(self._connection, path, read_only=read_only)
            if not read_only:
                with self.lock:
                    self._write_log_again()
        except BaseException:
            self._close()
            raise

    def close(self) -> None:
        """Fold the log into the database and close it."""
        with self.lock, translated(self.path):
            self._close()

    def _close(self) -> None:
        try:
            self._writing.close()  # a statement that failed would keep the files open
            with self.folds:
                self._connection.close()
        finally:
            self.folds.close()
            if self._room is not None:
                self._room.close()

    def rows(self, statement: str, *args: object) -> list[Row]:
        """Every row of a query."""
        try:
            with self.lock:
                return self._connection.execute(statement, args).fetchall()
        except FAILURES as exc:
            raise self._failure(exc) from exc

    def row(self, statement: str, *args: object) -> Row | None:
        """The first row of a query, or None."""
        try:
            with self.lock:
                row: Row | None = self._connection.execute(statement, args).fetchone()
                return row
        except FAILURES as exc:
            raise self._failure(exc) from exc

    def row_within(self, statement: str, *args: object) -> Row | None:
        """The first row of a query inside a transaction, or None."""
        cursor = self._begin_statement(statement)
        try:
            row: Row | None = cursor.execute(statement, args).fetchone()
        except FAILURES as exc:
            raise self._failure(exc) from exc
        finally:
            self._executing = 0
        return row

    def rows_within(self, statement: str, *args: object) -> list[Row]:
        """Every row of a query inside a transaction."""
        cursor = self._begin_statement(statement)
        try:
            return cursor.execute(statement, args).fetchall()
        except FAILURES as exc:
            raise self._failure(exc) from exc
        finally:
            self._executing = 0

    def execute(self, statement: str, *args: object) -> int:
        """Run a statement inside a transaction; returns the number of rows it changed."""
        if self._executing:
            cursor = self._begin_statement(statement)
        else:  # written out: this is done five times for each file that is made
            cursor = self._writing
            self._executing = get_ident()
        try:
            return cursor.execute(statement, args).rowcount
        except FAILURES as exc:
            raise self._failure(exc) from exc
        finally:
            self._executing = 0

    def execute_for(self, statement: str, numbers: Iterable[int]) -> None:
        """Run a statement of one number inside a transaction, once for each."""
        cursor = self._begin_statement(statement)
        try:
            cursor.executemany(statement, [(number,) for number in numbers])
        except FAILURES as exc:
            raise self._failure(exc) from exc
        finally:
            self._executing = 0

    def _begin_statement(self, statement: str) -> sqlite3.Cursor:
        """A cursor for one statement, which no other thread is using.

        A cursor that is used by two threads at a time ends the process: the second is refused, and
        takes the statement away from the first (``_pysqlite_query_execute`` of CPython 3.11). The
        lock keeps the others out; should one get past it, that is told, and harms nobody.
        """
        me = get_ident()
        other, self._executing = self._executing, me
        if not other:
            return self._writing
        log.error(
            "metadata index: thread %d runs %r beside thread %d, in transaction: %s; at\n%s",
            me,
            statement,
            other,
            self._depth,
            "".join(traceback.format_stack()),
        )
        return self._connection.cursor()

    def __enter__(self) -> None:
        """Begin a transaction, or go on with the one that this thread is in."""
        self._acquire()
        if not self._depth:
            try:
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
        if self._room is None:
            raise IndexFailed(errno.EROFS, f"metadata index: {self.path}: is open to be read only")
        self._unlooked -= 1
        if self._unlooked < 0:
            self._unlooked = LOOK_EVERY
            self._look(self._room)
        self.execute("BEGIN IMMEDIATE")

    def _look(self, room: Room) -> None:
        """Keep the log short, and room for it and the database; before a transaction."""
        if self.wal_size() > self._log_limit:
            self.checkpoint(0)
        room.look_at_log()
        if room.tight:
            # Where the log is folded in, the next transaction writes over its beginning.
            self._unlooked = LOOK_EVERY_WHEN_TIGHT
            with suppress(IndexFailed):
                self.checkpoint(NO_LIMIT)
        self._on_look()

    def require_growth(self, weight: int = 0) -> None:
        """Check that the database may become larger, by ``weight`` bytes and a few pages.

        Inside a transaction.

        Raises:
            IndexFailed: ENOSPC; what is left is for removals.
        """
        room = self._room
        if room is None:
            return
        self._weight += weight + FEW_PAGES
        if room.may_grow and self._weight <= room.unit // 2:
            return
        self._weight = 0
        ((pages,),) = self.rows("PRAGMA page_count")
        ((free,),) = self.rows("PRAGMA freelist_count")
        ((size,),) = self.rows("PRAGMA page_size")
        room.look_at_database((pages - free) * size)
        room.look_at_log()
        if room.tight:
            self.look_soon()  # the next transaction folds the log in before it begins
        if not room.may_grow:
            raise IndexFailed(
                errno.ENOSPC,
                f"metadata index: {self.path}: no room is left on its filesystem for anything new",
            )

    def limit_log(self, limit: int) -> None:
        """Let a transaction that finds the log longer than ``limit`` bytes empty it first."""
        self._log_limit = limit if self._room is None else min(limit, self._room.log_limit)
        self.look_soon()

    def look_soon(self) -> None:
        """Call ``on_look`` before the next transaction."""
        self._unlooked = 0

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

    @property
    def in_memory(self) -> bool:
        """Whether a sync never waits for a device."""
        return self._wal >= 0 and is_in_memory(self._wal)

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
        if self.read_only:
            return
        if self._sync_failed:
            raise OSError(
                errno.EIO, "an earlier sync of the index's log failed; mount the volume again"
            )
        try:
            self._os.call("index.sync", sync_data, self._wal)
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
        offset = 0
        while data := self._os.call("index.pread", os.pread, self._wal, AT_ONCE, offset):
            offset += self._os.call("index.pwrite", os.pwrite, self._wal, data, offset)

    def checkpoint(self, log_limit: int) -> bool:
        """Copy the log into the database, on a connection of its own, beside the writer.

        Only if the log is longer than ``log_limit`` bytes even so, writers wait until it is empty.
        While somebody reads from the log for long it cannot be emptied, and stays as it is.

        Returns whether every commit before it is in the database now, and survives a power cut.

        Raises:
            IndexFailed: it could not be made, or the log could not be synced, now or earlier:
                what is read back from it then may be older than what was committed.
        """
        room = self._room
        if room is None:
            return True
        with (
            translated(self.path),
            self.folds,
            closing(connect(self.path, PRAGMAS)) as connection,
        ):
            connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_PATIENCE_MS}")
            # SQLite opened the log for this connection before our own sync. So a failure to write
            # it is reported to one of the two, whenever it happens.
            self.sync()
            try:
                fold = connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                _, logged, folded = fold.fetchone()
                if self.wal_size() > log_limit and room.may_cut_log():
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error:
                self.sync()  # it may have been the log: then no later sync succeeds
                raise
        room.folded()
        self._metrics.index_wal_bytes.set(self.wal_size())
        return bool(logged == folded)

    def wal_size(self) -> int:
        """Bytes of the write-ahead log."""
        if self.read_only:
            return log_size(self.path)
        return os.fstat(self._wal).st_size

    def _failure(self, exc: Exception) -> IndexFailed:
        """Whether it is damage is found out once: the whole index is read for it."""
        if self._damaged:
            return IndexDamaged(errno.EIO, f"metadata index: {exc}")
        failed = failure(exc, self.path, device_failed=self._sync_failed)
        self._damaged = isinstance(failed, IndexDamaged)
        return failed


def connect(path: Path, pragmas: Sequence[str], *, read_only: bool = False) -> sqlite3.Connection:
    """Connect as the process that alone has the volume open: its locks cost no system call.

    Other processes are kept out; what connections must know of each other is in memory
    (``unix-excl``, https://www.sqlite.org/vfs.html#standard_unix_vfses).

    With ``read_only`` no file is made or changed, so that it works on what cannot be written or is
    full: the volume's own lock keeps everybody out, and a log is indexed in memory. Without a log
    the database is immutable, or SQLite would make one
    (https://www.sqlite.org/uri.html#uriimmutable).
    """
    if read_only:
        way = "mode=ro&vfs=unix-none" if log_size(path) else "immutable=1"
        pragmas = (ALONE, *(pragma for pragma in pragmas if pragma not in TO_WRITE))
    else:
        way = "vfs=unix-excl"
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{way}",
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


def log_size(path: Path) -> int:
    """Bytes of the log of the database at ``path``; 0: there is none."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _make_log(path: Path) -> None:
    try:
        make_log(path)
    except OSError as exc:
        raise IndexFailed(errno_of(exc), f"metadata index: {path}-wal: {exc.strerror}") from exc


def _migrate(connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise VolumeRefused(
            f"{path}: the index has schema {version}, this tierfs knows {VERSION}: "
            "use the newer tierfs that wrote it"
        )
    if version < VERSION and read_only:
        raise VolumeRefused(
            f"{path}: the index has schema {version}, this tierfs makes {VERSION} of it: "
            "mount the volume once where it can be written"
        )
    for number in range(version, VERSION):
        connection.executescript(
            f"BEGIN;\n{MIGRATIONS[number]}\nPRAGMA user_version = {number + 1};\nCOMMIT;"
        )
