"""The inode table, with a bounded cache in front of it."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, Unpack

from tierfs.common.errors import FsError
from tierfs.common.times import LIMIT
from tierfs.metadata.cache_updater import CacheUpdater
from tierfs.metadata.database import Database
from tierfs.metadata.inodes import COLUMNS, Columns, Inode, inode_of, make_inode, row_of
from tierfs.metadata.usage import UsageCounts

MANY = 1 << 62


ADOPTED_COLUMNS = "ino, size, mode, uid, gid, atime, mtime, parent, sparse"
"""What tells one adopted file from another."""
ALL_ADOPTED = {"nlink": 1, "rdev": 0, "prefix": 0, "version": 1, "mirrored": 0, "adopted": 1}
"""What all of them have."""

_SELECT = f"SELECT {COLUMNS} FROM inode WHERE ino = ?"  # noqa: S608 - column names of our own
_INSERT = f"INSERT INTO inode ({COLUMNS}) VALUES ({', '.join('?' * len(Inode._fields))})"  # noqa: S608
_CHANGEABLE = tuple(
    name for name in Inode._fields if name not in {"ino", "rdev", "target", "btime"}
)
_changeable = attrgetter(*_CHANGEABLE)


_COUNTED = frozenset({"size", "prefix", "mirrored"})
"""What ``UsageCounts`` depends on and ``InodeTable.change`` may write."""


def _update_of(columns: Sequence[str]) -> str:
    return f"UPDATE inode SET {', '.join(f'{name} = ?' for name in columns)} WHERE ino = ?"  # noqa: S608 - column names of our own


_UPDATE = _update_of(_CHANGEABLE)
_TOLD = "UPDATE inode SET atime = atime, "
"""So that the change feed gets a row of the inode: a trigger fires by the columns."""


def _merger(columns: Sequence[str]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Replace columns of a row by the values that follow it."""
    return itemgetter(
        *(
            len(Inode._fields) + columns.index(name) if name in columns else at
            for at, name in enumerate(Inode._fields)
        )
    )


_DEFERRED = ("size", "mtime", "ctime", "version", "sparse")
_merge_deferred = _merger(_DEFERRED)
_deferred_of = attrgetter(*_DEFERRED)
_UPDATE_DEFERRED = _update_of(_DEFERRED)
"""Writes what a deferred row may have that the table has not."""
_UPDATE_SYNCED = _update_of((*_DEFERRED, "synced"))
"""The same, and how many bytes are synced."""


_merge_times = _merger(("mtime", "ctime"))

_TOUCHED = f"""
SELECT {COLUMNS}, made FROM inode JOIN (
    SELECT parent AS directory, max(btime) AS made FROM inode
    WHERE ino >= (SELECT dirty_from FROM volume) AND nlink > 0 GROUP BY parent
) ON ino = directory WHERE mode & 0xF000 = 0x4000 AND ctime < made
"""  # noqa: S608 - column names of our own


class InodeTable:
    """Inodes by number. What is written is cached only until the transaction rolls back."""

    def __init__(
        self, database: Database, cache_entries: int, updater: CacheUpdater, counts: UsageCounts
    ) -> None:
        self._database = database
        self._counts = counts
        self._pending_counts = counts.pending
        self._updater = updater
        self._limit = cache_entries
        self._cache: OrderedDict[int, Inode] = OrderedDict()
        self._changers: dict[tuple[str, ...], Callable[..., Inode]] = {}
        self._deferred: dict[int, Inode] = {}
        """Rows that are newer than the table's: see ``defer``."""
        self._storing: dict[int, Inode] = {}
        """Those of them that the present transaction has written, or deleted."""
        self._deferring_times: dict[int, Inode] = {}
        """Directories that the present transaction makes something in: see ``defer_times``."""
        self._deferred_times: set[int] = set()
        """Those of ``_deferred`` whose times new inodes tell after a crash."""
        self.linkable: set[int] = set()
        """Inodes without a name that may be given one."""
        self.unreconciled: dict[int, int] = updater.withheld
        """Dirty inodes of an unclean end, whose size is not known yet, with their synced sizes."""
        self.sizes: dict[int, int] = {}
        """Sizes that were found in the objects of dirty files and cannot be stored: read-only."""
        self.reconcile: Callable[[int], object] = self.unreconciled.pop
        """Called before the row of one of these is returned; takes it out."""

    def find(self, ino: int) -> Inode | None:
        """The inode, or None."""
        if self.unreconciled:
            self.reconcile_all([ino])
        return self.known(ino)

    def reconcile_all(self, inos: Sequence[int]) -> None:
        """Reconcile those of the inodes that need it; a transaction must not wait for that.

        Raises:
            What ``reconcile`` raises.
        """
        for ino in inos:
            if ino in self.unreconciled:
                with self._database.lock:
                    inside = self._database.in_transaction
                if not inside:
                    self.reconcile(ino)

    def latest(self, inode: Inode) -> Inode:
        """A row of the table as it is by now: deferred, or with the size that its objects gave."""
        if self._deferred and (newer := self._deferred.get(inode.ino)):
            return newer
        size = self.sizes.get(inode.ino) if self.sizes else None
        return inode if size is None else inode._replace(size=size, mirrored=0)

    def known(self, ino: int) -> Inode | None:
        """The inode, or None; its size is not reconciled after an unclean end."""
        with self._database.lock:  # neither an uncommitted row nor one that just became old
            inode = self._cache.get(ino)
            if inode is None:
                row = self._database.row(_SELECT, ino)
                inode = None if row is None else self.remember(self.latest(inode_of(row)))
            if inode is not None and self._updater.enabled and not self._database.in_transaction:
                self._updater.fill_inode(inode)
            return inode

    def get(self, ino: int) -> Inode:
        """The inode.

        Raises:
            FsError: ESTALE, there is none: the caller holds a number from another time.
        """
        inode = self.find(ino)
        if inode is None:
            raise FsError(errno.ESTALE)
        return inode

    def get_quietly(self, ino: int) -> Inode:
        """As ``get``, for the daemon itself: the metadata cache learns nothing."""
        with self._database.lock:
            inode = None if ino in self.unreconciled else self._cache.get(ino)
        return inode or self.get(ino)

    def find_within(self, ino: int) -> Inode:
        """The inode inside a transaction, as that has made it.

        Raises:
            FsError: ESTALE, there is none.
        """
        inode = self._cache.get(ino) or self.known(ino)
        if inode is None:
            raise FsError(errno.ESTALE)
        return inode

    def remember(self, inode: Inode) -> Inode:
        """Keep a row, under the database's lock; beyond the limit the oldest goes."""
        self._cache[inode.ino] = inode
        if len(self._cache) > self._limit:
            self._cache.popitem(last=False)
        return inode

    def insert(self, inode: Inode) -> None:
        """Add a row; inside a transaction."""
        self._database.execute(_INSERT, *row_of(inode))
        self._pending_counts.append((inode, 1))
        self.remember(inode)
        self._updater.made(inode)

    def insert_all(self, inodes: Sequence[Inode]) -> None:
        """Add many rows, which no cache keeps: nobody has asked for one; inside a transaction."""
        self._database.insert_many(f"inode ({COLUMNS})", [row_of(inode) for inode in inodes])
        self._pending_counts += [(inode, 1) for inode in inodes]

    def insert_adopted(self, rows: Sequence[tuple[int, ...]], now: int) -> None:
        """Add regular files as `insert_all` does, with one name, all of their bytes on disk.

        A row has the columns of `ADOPTED_COLUMNS`. Half the work of ``insert_all``.
        """
        self._database.insert_many(
            f"inode ({ADOPTED_COLUMNS}, {', '.join(ALL_ADOPTED)}, ctime, btime)",
            rows,
            f", {', '.join(map(str, ALL_ADOPTED.values()))}, {now}, {now}",
        )
        self._counts.pending_on_disk.append([(row[0], row[1]) for row in rows])

    def update(self, inode: Inode) -> None:
        """Write back a changed row; inside a transaction."""
        self._uncount(inode.ino)
        self._pending_counts.append((inode, 1))
        self._write(inode)
        self.remember(inode)
        self._updater.inodes[inode.ino] = inode

    def changer(self, *columns: str, with_a_name: bool = False) -> Callable[..., Inode]:
        """A function that writes these columns: it takes a row, and their values in this order.

        The row was read in the same transaction, and the times are those of a clock: none needs
        more than 64 bits. It returns the row as it is then. A third of the work of ``update``.

        ``with_a_name``: always in a transaction that changes a name of the inode, a name in it, or
        an extended attribute of it, with whose row the change feed tells of the inode.
        """
        counts = not _COUNTED.isdisjoint(columns)
        with_deferred = tuple(dict.fromkeys((*columns, *_DEFERRED)))
        values_with_deferred = attrgetter(*with_deferred)
        update, update_with_deferred = (
            text if with_a_name else text.replace("UPDATE inode SET ", _TOLD)
            for text in (_update_of(columns), _update_of(with_deferred))
        )
        merge, told = _merger(columns), self._updater.inodes
        execute = self._database.execute

        def change(inode: Inode, *values: int) -> Inode:
            changed = make_inode(merge(inode + values))
            ino = inode.ino
            if ino in self._deferred or ino in self._deferring_times:
                self._forget_deferred(ino)
                execute(update_with_deferred, *values_with_deferred(changed), ino)
            else:
                execute(update, *values, ino)
            self.remember(changed)
            if counts:
                self._pending_counts += ((inode, -1), (changed, 1))
            told[ino] = changed
            return changed

        return change

    def change(self, inode: Inode, **columns: Unpack[Columns]) -> Inode:
        """The same at once, of columns that differ from call to call, and of any times."""
        names = tuple(columns)
        values: tuple[int, ...] = tuple(columns.values())  # type: ignore[arg-type]
        if max(values) >= LIMIT:
            inode = inode._replace(**columns)
            self.update(inode)
            return inode
        change = self._changers.get(names)
        if change is None:
            change = self._changers[names] = self.changer(*names)
        return change(inode, *values)

    def delete(self, *inos: int) -> None:
        """Remove rows; inside a transaction."""
        for ino in inos:
            self._uncount(ino)
            self._forget_deferred(ino)
            self._cache.pop(ino, None)
            self.linkable.discard(ino)
            self._updater.removed(ino)
        self._database.execute_for("DELETE FROM inode WHERE ino = ?", inos)

    def _write(self, inode: Inode) -> None:
        self._forget_deferred(inode.ino)
        self._database.execute(_UPDATE, *_changeable(row_of(inode)), inode.ino)

    def _uncount(self, ino: int) -> None:
        """Take the row, as the present transaction sees it, out of the counts."""
        row = self._cache.get(ino)
        if row is None:
            found = self._database.row(_SELECT, ino)
            row = None if found is None else self.latest(inode_of(found))
        if row is not None:
            self._pending_counts.append((row, -1))

    # ---------------------------------------------------------------- rows deferred in memory

    def cached(self, ino: int) -> Inode | None:
        """The inode, if it is in memory, without a lock: for what changes under the inode's own.

        None as well where its size is still to be found after an unclean end.
        """
        return None if ino in self.unreconciled else self._cache.get(ino)

    def defer(self, ino: int, end: int, now: int, *, hole: bool) -> int:
        """Bytes were written up to ``end``: keep size and times in memory alone.

        Only of a file in the dirty set, whose size the lengths of its objects tell after a crash.
        Its row is written by the next transaction that changes it, or by ``store``.

        Returns the new data version.

        Raises:
            FsError: ESTALE, there is no such inode.
        """
        with self._database.lock:
            before = self._cache.get(ino) or self.get(ino)
            size = before.size
            version, sparse = before.version + 1, int(hole or before.sparse)
            # As ``_replace`` would, in a third of the time.
            changed = (*before, max(size, end), now, now, version, sparse)
            after = make_inode(_merge_deferred(changed))
            self._deferred[ino] = self._cache[ino] = after
            if end > size:
                self._counts.change(before, after)
            self._updater.deferred(after)
            return version

    def defer_times(self, directory: Inode, now: int) -> None:
        """An inode is made in a directory ``now``, which is its btime; inside a transaction.

        Of the directory, whose row was read in the same transaction, the times are kept in memory:
        after a crash those of the new inodes tell them, see ``recover_times``.
        """
        touched = self._deferring_times[directory.ino] = make_inode(
            _merge_times((*directory, now, now))
        )
        self.remember(touched)
        self._updater.inodes[directory.ino] = touched

    def store_deferred_times(self, limit: int = MANY) -> bool:
        """Write the rows of ``limit`` such directories; inside a transaction.

        Returns whether there are more. It is to be done for all of them before new inodes cannot
        tell any more, since ``dirty_from`` was raised.
        """
        self.store(list(islice(self._deferred_times, limit)))
        return len(self._deferred_times) > limit

    @property
    def has_deferred_times(self) -> bool:
        """Whether there are such directories."""
        return bool(self._deferred_times)

    def recover_times(self) -> None:
        """Derive the times of directories in which inodes were made just before an unclean end."""
        with self._database.lock:
            for *fields, made in self._database.rows(_TOUCHED):
                found = inode_of(fields)
                self._deferred[found.ino] = touched = make_inode(_merge_times((*found, made, made)))
                self._deferred_times.add(found.ino)
                self.remember(touched)
                self._updater.deferred(touched)

    def store(self, inos: Sequence[int]) -> None:
        """Write the deferred rows of these; inside a transaction."""
        for ino in inos:
            self._store(ino)

    def store_synced(self, ino: int, size: int) -> None:
        """Write the row, if it is deferred, and that ``size`` bytes are synced; in a transaction.

        Of a file that is in the dirty set without a row there: see ``DirtyRows``.
        """
        if (inode := self._deferred.get(ino)) is None:
            self._database.execute("UPDATE inode SET synced = ? WHERE ino = ?", size, ino)
        else:
            self._forget_deferred(ino)
            self._database.execute(_UPDATE_SYNCED, *_deferred_of(inode), size, ino)

    def store_some(self, limit: int) -> bool:
        """The same of ``limit`` inodes; returns whether there are more."""
        self.store(list(islice(self._deferred, limit)))
        return bool(self._deferred)

    @property
    def has_deferred(self) -> bool:
        """Whether there is a deferred row."""
        return bool(self._deferred)

    def _store(self, ino: int) -> None:
        if (inode := self._deferred.get(ino)) is not None:
            self._forget_deferred(ino)
            self._database.execute(_UPDATE_DEFERRED, *_deferred_of(inode), ino)

    def _forget_deferred(self, ino: int) -> None:
        """The present transaction writes or deletes the row; a rollback brings it back."""
        self._deferring_times.pop(ino, None)
        if self._deferred and (inode := self._deferred.pop(ino, None)):
            self._storing.setdefault(ino, inode)

    def committed(self) -> None:
        """What the transaction has written is in the table."""
        if self._storing:
            self._deferred_times.difference_update(self._storing)
            self._storing.clear()
        if self._deferring_times:
            self._deferred.update(self._deferring_times)
            self._deferred_times.update(self._deferring_times)
            self._deferring_times.clear()

    def orphans(self) -> list[int]:
        """The numbers of all unlinked inodes."""
        return [ino for (ino,) in self._database.rows("SELECT ino FROM inode WHERE nlink = 0")]

    def roll_back(self, inos: Iterable[int]) -> None:
        """Forget what a rolled-back transaction made of these; deferred rows are valid again."""
        for ino in inos:
            self._cache.pop(ino, None)
        self._deferred.update(self._storing)
        self._storing.clear()
        self._deferring_times.clear()

    def forget_cached(self) -> None:
        """Drop the cache."""
        self._cache.clear()
