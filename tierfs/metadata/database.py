"""The connection that writes the index: statements, transactions, migrations of the schema.

A lock makes it safe for threads. What makes commits durable is in ``wal.py``.
"""

from __future__ import annotations

import errno
import logging
import secrets
import sqlite3
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING

from tierfs.common.errors import IndexDamaged, IndexFailed, VolumeRefused, errno_of
from tierfs.common.osio import Os
from tierfs.metadata.redo import SUFFIX, Record, RedoLog, Statement, remove_redo, unfinished
from tierfs.metadata.schema import MIGRATIONS, VERSION
from tierfs.metadata.sqlite import (
    PRAGMAS,
    SQLITE_ERRORS,
    Row,
    connect,
    failure_of,
    translating,
)
from tierfs.metadata.wal import MOST_UNIT, NO_LIMIT, Preallocation, Wal, create_missing_log

if TYPE_CHECKING:
    from tierfs.common.metrics import Metrics

log = logging.getLogger(__name__)

HOUSEKEEPING_INTERVAL = 16
"""Transactions between two looks at the log's length: each adds some pages to it."""

MOST_IN_GROUP = 128
"""Transactions that SQLite commits together, on a filesystem where plenty is preallocated."""

REDO_FRACTION = 256
MOST_REDO = 8 * 1024 * 1024
"""Bytes of each half of the redo log: this part of the filesystem, or this. SQLite's log gets more
from the same transactions between two checkpoints, and has a larger part."""

HOUSEKEEPING_INTERVAL_WHEN_FULL = 4
"""Where the filesystem is full the log lives on what was allocated for it."""

ROWS_AT_ONCE = 50
"""Rows that a statement inserts where there are many."""

FEW_PAGES = 4096
"""Bytes that a new name or attribute takes at most, beside a large value."""


class Database:
    """SQLite behind a lock. Every method may be called from any thread.

    As a block it is a transaction, all or nothing: its end commits, any exception rolls back. It
    may be nested.

    After `group_commits` a transaction is in the redo log first, and SQLite commits it with others:
    other connections see it then. `flush` lets it do that now.

    ``on_commit`` and ``on_rollback`` are called at a transaction's end, still under the lock;
    ``on_housekeeping`` before one begins, every `HOUSEKEEPING_INTERVAL` transactions.

    With ``read_only`` no file is made or changed, and a transaction raises EROFS.

    Raises from every method:
        IndexFailed: SQLite failed; its errno is that of `failure_of`.
    """

    def __init__(
        self,
        path: Path,
        os_: Os,
        metrics: Metrics,
        *,
        on_commit: Callable[[], None],
        on_rollback: Callable[[], None],
        on_housekeeping: Callable[[], None],
        read_only: bool = False,
    ) -> None:
        self.path = path
        self.read_only = read_only
        self._on_commit = on_commit
        self._on_rollback = on_rollback
        self._on_housekeeping = on_housekeeping
        self.lock = threading.RLock()
        self._acquire = self.lock.acquire
        self._executing = 0
        """The thread that runs a statement of a transaction; 0: none does."""
        self._depth = 0
        self._statements: list[Statement] = []
        """Those of the present transaction, while there is a redo log."""
        self._is_whole = False
        """Whether SQLite must commit it itself: other statements belong to it."""
        self._redo: RedoLog | None = None
        self._group: list[list[Statement]] = []
        """Transactions in the redo log; while there are any, SQLite is in one of its own."""
        self._group_limit = 0
        self._is_torn = False
        """Whether SQLite took back more than it was asked to: the group is to be repeated."""
        self._is_replayed = False
        """Whether the tables have what the redo log of an earlier mount had."""
        self._is_in_doubt = False
        """Whether the last COMMIT failed: SQLite's log may have it all the same, after a kill."""
        self.commits = 0
        self._rolled_back = 0
        """Transactions that were rolled back: a COMMIT that failed may have taken effect."""
        self._copied = -1
        """Transactions, of both kinds, that the database file is known to have."""
        self._log_limit = NO_LIMIT
        self._until_housekeeping = 0
        self._weight = 0
        self._damaged = False
        self._make_commit = os_.bound("index.commit", self._control)
        metrics.index_transactions.labels("commit").follow(lambda: self.commits)
        metrics.index_transactions.labels("rollback").follow(lambda: self._rolled_back)
        if not read_only:
            create_missing_log(path)
        with translating(path):
            self._connection = connect(path, PRAGMAS, read_only=read_only)
        self._writing = self._connection.cursor()
        self._os = os_
        self.wal = Wal(path, os_, metrics, self._connected, self._alone)
        try:
            with translating(path):
                if not read_only:
                    # Makes the log, for which room is kept before anything is written to it.
                    self._connection.execute("PRAGMA user_version").fetchone()
                    self.wal.open()
                _migrate(self._connection, path, read_only=read_only)
            if not read_only:
                with self.lock:
                    self.wal.rewrite()
        except BaseException:
            self._close()
            raise

    def close(self) -> None:
        """Make a last checkpoint and close it."""
        with self.lock:
            self._make_commit = self._control  # not through the seam: a killed process closes too
            if not self._is_torn:  # else the next mount repeats it
                try:
                    self.flush()
                    if self._redo is not None:
                        self.wal.sync_at_end()
                except IndexFailed:
                    self._is_replayed = False
                    log.exception("metadata index: the last changes are left in the redo log")
            if self._redo is not None:
                self._redo.close()
                self._redo = None
            with translating(self.path):
                self._close()
            if self._is_replayed and not self._group:
                remove_redo(self.path)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A second connection, for the log's checkpoints."""
        with translating(self.path), closing(connect(self.path, PRAGMAS)) as connection:
            yield connection

    def _close(self) -> None:
        try:
            self._writing.close()  # a statement that failed would keep the files open
            self.wal.seqlock.begin()
            self._connection.close()  # which makes a last checkpoint
            self.wal.seqlock.settle()
        finally:
            self.wal.close()

    def rows(self, statement: str, *args: object) -> list[Row]:
        """Every row of a query."""
        with self.lock:
            if self._is_torn:
                self._mend()
            try:
                return self._connection.execute(statement, args).fetchall()
            except SQLITE_ERRORS as exc:
                raise self._failure(exc) from exc

    def row(self, statement: str, *args: object) -> Row | None:
        """The first row of a query, or None."""
        with self.lock:
            if self._is_torn:
                self._mend()
            try:
                row: Row | None = self._connection.execute(statement, args).fetchone()
            except SQLITE_ERRORS as exc:
                raise self._failure(exc) from exc
            return row

    def row_within(self, statement: str, *args: object) -> Row | None:
        """The first row of a query inside a transaction, or None."""
        cursor = self._begin_statement(statement)
        try:
            row: Row | None = cursor.execute(statement, args).fetchone()
        except SQLITE_ERRORS as exc:
            raise self._failure(exc) from exc
        finally:
            self._executing = 0
        return row

    def rows_within(self, statement: str, *args: object) -> list[Row]:
        """Every row of a query inside a transaction."""
        cursor = self._begin_statement(statement)
        try:
            return cursor.execute(statement, args).fetchall()
        except SQLITE_ERRORS as exc:
            raise self._failure(exc) from exc
        finally:
            self._executing = 0

    def execute(self, statement: str, *args: object) -> int:
        """Run a statement inside a transaction; returns the number of rows it changed."""
        if self._executing or self._is_torn:
            cursor = self._begin_statement(statement)
        else:  # inlined: this runs five times for each new file
            cursor = self._writing
            self._executing = get_ident()
        try:
            rows = cursor.execute(statement, args).rowcount
        except SQLITE_ERRORS as exc:
            raise self._failure(exc) from exc
        finally:
            self._executing = 0
        if self._redo is not None:
            self._statements.append((statement, args))
        return rows

    def execute_for(self, statement: str, numbers: Iterable[int]) -> None:
        """Run a statement of one number inside a transaction, once for each."""
        self._is_whole = True
        cursor = self._begin_statement(statement)
        try:
            cursor.executemany(statement, [(number,) for number in numbers])
        except SQLITE_ERRORS as exc:
            raise self._failure(exc) from exc
        finally:
            self._executing = 0

    def delete_for(self, table: str, inos: Iterable[int]) -> None:
        """Delete the rows of many inodes from a table that mostly is empty; in a transaction."""
        if self.row_within(f"SELECT 1 FROM {table} LIMIT 1") is not None:  # noqa: S608 - our own
            self.execute_for(f"DELETE FROM {table} WHERE ino = ?", inos)  # noqa: S608

    def insert_many(self, into: str, rows: Sequence[Sequence[object]], rest: str = "") -> None:
        """Insert many rows inside a transaction; ``into``: the table and its columns.

        ``rest``: the values of the last columns, in SQL, with a comma before each.

        Many in one statement, which takes a third less time than one statement for each.
        """
        if not rows:
            return
        row = f"({', '.join('?' * len(rows[0]))}{rest})"
        single = f"INSERT INTO {into} VALUES {row}"  # noqa: S608 - names of our own
        whole = len(rows) - len(rows) % ROWS_AT_ONCE
        parts = range(0, whole, ROWS_AT_ONCE)
        self._is_whole = True
        cursor = self._begin_statement(single)
        try:
            cursor.executemany(
                f"{single}{f', {row}' * (ROWS_AT_ONCE - 1)}",
                (tuple(chain.from_iterable(rows[at : at + ROWS_AT_ONCE])) for at in parts),
            )
            cursor.executemany(single, rows[whole:])
        except SQLITE_ERRORS as exc:
            raise self._failure(exc) from exc
        finally:
            self._executing = 0

    def _begin_statement(self, statement: str) -> sqlite3.Cursor:
        """A cursor for one statement, which no other thread is using.

        A cursor that is used by two threads at a time ends the process: the second is refused, and
        takes the statement away from the first (``_pysqlite_query_execute`` of CPython 3.11). The
        lock keeps the others out; if one gets past it, that is logged and breaks nothing.

        Raises:
            IndexFailed: EIO, SQLite has rolled the transaction back that it is of.
        """
        if self._is_torn:
            self._require_transaction()
        return self._cursor_for(statement)

    def _cursor_for(self, statement: str) -> sqlite3.Cursor:
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
        """Begin a transaction, or continue the one that this thread is in."""
        self._acquire()
        if not self._depth:
            try:
                self._until_housekeeping -= 1
                if self._until_housekeeping < 0:
                    self._prepare()
                if not self._group:
                    self._control("BEGIN IMMEDIATE")
                elif self._is_torn or not self._connection.in_transaction:
                    self._repeat_group()
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

    def _prepare(self) -> None:
        """Keep the log short, and blocks for it and the database; before a transaction.

        Raises:
            IndexFailed: EROFS, it is open to be read only.
        """
        preallocation = self.wal.preallocation
        if preallocation is None:
            raise IndexFailed(errno.EROFS, f"metadata index: {self.path}: is open to be read only")
        self.flush()
        self._until_housekeeping = self._group_limit or HOUSEKEEPING_INTERVAL
        if self.wal.size() > self._log_limit:
            try:
                self._checkpoint_with(preallocation, 0)
            except IndexFailed as exc:
                if exc.errno != errno.ENOSPC:
                    raise
        preallocation.ensure_log()
        if preallocation.exhausted:
            # After a checkpoint the next transaction writes over the beginning of the log.
            self._until_housekeeping = HOUSEKEEPING_INTERVAL_WHEN_FULL
            with suppress(IndexFailed):
                self._checkpoint_with(preallocation, NO_LIMIT)
        self._on_housekeeping()

    def _checkpoint_with(self, preallocation: Preallocation, log_limit: int) -> None:
        try:
            self.wal.checkpoint(log_limit, patient=False)
        except IndexFailed as exc:
            if exc.errno != errno.ENOSPC:
                raise
            # Others took the blocks behind the database while they were free.
            preallocation.lend_to_database()
            self.wal.checkpoint(log_limit, patient=False)

    def checkpoint(self, log_limit: int) -> bool:
        """As `Wal.checkpoint`; one of nothing leaves the view of other processes as it is.

        Raises:
            IndexFailed: as `Wal.checkpoint`.
        """
        with self.lock:
            self.flush()
            written = self.commits + self._rolled_back
            committed = 0 if self._redo is None else self._redo.committed
        unchanged = written == self._copied and self.wal.seqlock.is_settled
        if unchanged and self.wal.size() <= log_limit:
            self.wal.sync()
            return True
        complete = self.wal.checkpoint(log_limit)
        self._synced(committed)  # it syncs the log first
        if complete:
            self._copied = written
        return complete

    def require_growth(self, weight: int = 0) -> None:
        """Check that the database may become larger, by ``weight`` bytes and a few pages.

        Inside a transaction.

        Raises:
            IndexFailed: ENOSPC; what is left is for removals.
        """
        preallocation = self.wal.preallocation
        if preallocation is None:
            return
        self._weight += weight + FEW_PAGES
        if preallocation.may_grow and self._weight <= preallocation.unit // 2:
            return
        self._weight = 0
        ((pages,),) = self.rows("PRAGMA page_count")
        ((free,),) = self.rows("PRAGMA freelist_count")
        ((size,),) = self.rows("PRAGMA page_size")
        preallocation.ensure_database((pages - free) * size)
        preallocation.ensure_log()
        if preallocation.exhausted:
            self.housekeep_soon()  # a checkpoint before the next transaction
        if not preallocation.may_grow:
            raise IndexFailed(
                errno.ENOSPC,
                f"metadata index: {self.path}: no room is left on its filesystem for anything new",
            )

    def limit_log(self, limit: int) -> None:
        """Let a transaction that finds the log longer than ``limit`` bytes empty it first."""
        preallocation = self.wal.preallocation
        self._log_limit = limit if preallocation is None else min(limit, preallocation.log_limit)
        self.housekeep_soon()

    def housekeep_soon(self) -> None:
        """Call ``on_housekeeping`` before the next transaction."""
        self._until_housekeeping = 0

    def _commit(self) -> None:
        try:
            self._require_transaction()
            if not self._log():
                self._commit_group()
        except BaseException:
            self._is_whole = True
            self._roll_back()
            raise
        self._depth = 0
        self._statements = []
        self._is_whole = False
        self._on_commit()
        self.commits += 1

    # ---------------------------------------------------------------- commits in groups

    def group_commits(self) -> None:
        """From now on let SQLite commit small transactions in groups, if there is room for a log.

        Only where every reader with a connection of its own calls `flush` first.
        """
        preallocation = self.wal.preallocation
        if preallocation is None:
            return
        self.wal.sync()  # what an earlier redo log has is needed until then
        salt = secrets.randbits(62) + 1
        try:
            half = min(preallocation.capacity // REDO_FRACTION, MOST_REDO)
            redo = RedoLog(self.path, salt, half, self._os)
        except OSError as exc:
            log.warning(
                "metadata index: each change is committed alone: %s-redo: %s",
                self.path,
                exc.strerror,
            )
            return
        try:
            with self:
                self.execute("UPDATE redo SET salt = ?, groups = 0", salt)
        except BaseException:
            redo.close()
            raise
        self._redo = redo
        # As much of the log is preallocated as without groups for each of its transactions.
        share = MOST_IN_GROUP * preallocation.unit // MOST_UNIT
        self._group_limit = max(share, HOUSEKEEPING_INTERVAL)

    def commit_alone(self) -> None:
        """SQLite is to commit the present transaction itself: repeated, it would differ."""
        self._is_whole = True

    def execute_alone(self, statement: str) -> None:
        """Run a statement outside of a transaction, which no rollback undoes."""
        with self.lock:
            self.flush()
            self._control(statement)

    def flush(self) -> None:
        """Let SQLite commit what is in the redo log; outside of a transaction.

        Raises:
            IndexFailed: it could not, and what the redo log holds is kept.
        """
        if not self._group:
            return
        with self.lock:
            if self._depth:
                raise IndexFailed(errno.EDEADLK, "metadata index: flushed inside a transaction")
            if not self._group:
                return
            try:
                self._try_flush()
            except IndexFailed as exc:
                preallocation = self.wal.preallocation
                if exc.errno != errno.ENOSPC or preallocation is None:
                    raise
                # After a checkpoint the group is written over the beginning of the log.
                self._is_torn = True
                if self._connection.in_transaction:
                    self._control("ROLLBACK")
                self._checkpoint_with(preallocation, NO_LIMIT)
                self._try_flush()

    def _try_flush(self) -> None:
        if self._is_torn:
            self._repeat_group()
        try:
            self._commit_group()
        except BaseException as exc:
            self._undo()
            if isinstance(exc, OSError):
                raise IndexFailed(errno_of(exc), f"metadata index: {exc.strerror}") from exc
            raise

    def sync(self) -> None:
        """Make every change so far survive a power cut, as `Wal.sync`."""
        with self.lock:
            self.flush()
            committed = 0 if self._redo is None else self._redo.committed
        self.wal.sync()
        self._synced(committed)

    def _synced(self, group: int) -> None:
        if (redo := self._redo) is not None:
            redo.synced = max(redo.synced, group)

    @property
    def needs_replay(self) -> bool:
        """Whether `replay` has something to do."""
        return bool(self._unfinished())

    def _unfinished(self) -> list[Record]:
        ((salt, groups),) = self.rows("SELECT salt, groups FROM redo")
        try:
            return unfinished(self.path, salt, groups)
        except OSError as exc:
            what = f"metadata index: {self.path}{SUFFIX}: cannot be read: {exc.strerror}"
            raise IndexFailed(errno_of(exc), what) from exc

    def replay(self) -> None:
        """Carry out what the redo log of an earlier mount has and the tables have not.

        Before any other change, and with the triggers that were there.

        Raises:
            IndexFailed: it cannot be read, or does not fit the tables.
        """
        with self.lock:
            records = self._unfinished()
            if not records:
                self._is_replayed = True
                return
            log.info("metadata index: %d transactions are in the redo log", len(records))
            try:
                self._group = [record.statements for record in records]
                self._repeat_group()
                self._is_torn = True  # until that is done: what fails is left to the next mount
                # Where it had to stop, what comes behind it must never follow.
                self._control("UPDATE redo SET salt = 0, groups = 0")
                self._make_commit("COMMIT")
            except (IndexFailed, ValueError, TypeError, EOFError) as exc:
                what = f"metadata index: {self.path}{SUFFIX}: cannot be carried out: {exc}"
                if isinstance(exc, IndexDamaged) or errno_of(exc) == errno.ENOSPC:
                    raise type(exc)(errno_of(exc), what) from exc
                hint = "; to go on without the last changes, move it away"
                raise IndexFailed(errno.EIO, f"{what}{hint}") from exc
            self._group, self._is_torn, self._is_replayed = [], False, True

    def _log(self) -> bool:
        """Write the present transaction to the redo log; False: SQLite has to commit it."""
        if self._redo is None:
            return False
        group = self._group
        if not (self._is_whole or self._is_in_doubt) and len(group) < self._group_limit:
            if not self._statements:
                return bool(group)
            if self._redo.append(self._statements):
                group.append(self._statements)
                return True
        self._until_housekeeping -= self._group_limit // HOUSEKEEPING_INTERVAL
        return False

    def _commit_group(self) -> None:
        """Let SQLite commit the group, and the present transaction if there is one."""
        redo = self._redo
        if redo is None:
            self._make_commit("COMMIT")
            return
        self._require_transaction()
        if self._is_in_doubt:
            redo.skips()
        self._is_in_doubt = True
        self._control("UPDATE redo SET groups = ?", redo.committed + 1)
        self._make_commit("COMMIT")
        self._is_in_doubt = False
        redo.commits(whole=self._depth > 0)
        self._group = []

    def _undo(self) -> None:
        """Take back what SQLite has not committed, but for the group."""
        self._is_torn = bool(self._group)
        if self._connection.in_transaction:
            self._control("ROLLBACK")
        if self._is_torn:
            with suppress(IndexFailed):  # it is tried again before the next statement
                self._repeat_group()

    def _repeat_group(self) -> None:
        """Carry out the group in a new transaction of SQLite, which has none of it."""
        self._is_torn = True
        if self._connection.in_transaction:
            self._control("ROLLBACK")
        self._control("BEGIN IMMEDIATE")
        for statements in self._group:
            for statement, args in statements:
                self._control(statement, *args)
        self._is_torn = False

    def _mend(self) -> None:
        """Before something is read.

        Raises:
            IndexFailed: in a transaction, of which SQLite has nothing any more.
        """
        if self._depth:
            self._require_transaction()
        self._repeat_group()

    def _require_transaction(self) -> None:
        """Check that SQLite has not rolled all back by itself (lang_transaction.html), as it may.

        Raises:
            IndexFailed: EIO, it has.
        """
        if self._is_torn or not self._connection.in_transaction:
            what = f"metadata index: {self.path}: SQLite has rolled a transaction back"
            raise IndexFailed(errno.EIO, what)

    def _control(self, statement: str, *args: object) -> None:
        """Run a statement that the redo log does not get."""
        cursor = self._cursor_for(statement)
        try:
            cursor.execute(statement, args)
        except SQLITE_ERRORS as exc:
            raise self._failure(exc) from exc
        finally:
            self._executing = 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A block in which no connection of ours is in a transaction."""
        with self.lock:
            self.flush()
            yield

    def is_free(self) -> bool:
        """Whether a call would not wait for another thread's transaction, if it came now."""
        free = self.lock.acquire(blocking=False)
        if free:
            self.lock.release()
        return free

    @property
    def is_full(self) -> bool:
        """Whether what room is left is for removals."""
        preallocation = self.wal.preallocation
        return preallocation is not None and (
            preallocation.exhausted or not preallocation.may_truncate_log()
        )

    @property
    def in_transaction(self) -> bool:
        """Whether the thread that holds the lock is in a transaction."""
        return self._depth > 0

    def _roll_back(self) -> None:
        try:
            if self._statements or self._is_whole or self._is_torn or not self._group:
                self._undo()
        finally:
            self._depth = 0
            self._statements = []
            self._is_whole = False
            self._rolled_back += 1
            self._on_rollback()

    def _failure(self, exc: Exception) -> IndexFailed:
        """Whether it is damage is determined once, since that reads the whole index.

        With some errors SQLite has rolled its transaction back, and the group with it.
        """
        if (self._group or self._depth) and not self._connection.in_transaction:
            self._is_torn = True
        if self._damaged:
            return IndexDamaged(errno.EIO, f"metadata index: {exc}")
        failed = failure_of(exc, self.path, device_failed=self.wal.sync_failed)
        self._damaged = isinstance(failed, IndexDamaged)
        return failed


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
