"""The index as the core sees it: its tables, transactions, serials."""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from tierfs.base.beneath import make_private, open_file
from tierfs.base.errors import IndexFailed, VolumeRefused
from tierfs.base.metrics import Metrics
from tierfs.base.osio import Os
from tierfs.index.counts import Counts, IndexUsage
from tierfs.index.cuts import Cuts
from tierfs.index.database import Database
from tierfs.index.dirty import DirtyRows
from tierfs.index.entries import Entries
from tierfs.index.inodes import Inodes
from tierfs.index.publisher import Publisher
from tierfs.index.schema import APPLICATION_ID
from tierfs.index.view import View
from tierfs.index.wishes import Wishes
from tierfs.index.xattrs import Xattrs

SERIAL_BLOCK = 1 << 16
"""Serials reserved at a time, and skipped by a crash at most. The next block is reserved when half
of one is left: long before it is needed, a checkpoint has made that durable."""

DEFAULT_CACHE_ENTRIES = 65_536
"""Inodes kept in memory: about 40 MiB."""

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
NO_VOLUME = "metadata index: its row of the volume is missing or damaged: see tierfs fsck"

BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite may keep beside a database, https://www.sqlite.org/tempfiles.html."""

APPLICATION_ID_AT = slice(68, 72)
"""Of every SQLite database, https://www.sqlite.org/fileformat.html."""


def require_database(path: Path, *, writable: bool = True) -> None:
    """Check, before anything writes to it, that ``path`` is an index, and take it from others.

    SQLite follows symbolic links: there may be none, nor in the place of a file beside it.

    Raises:
        VolumeRefused: it is missing, cannot be opened, or is something else.
    """
    try:
        header = _header(path, writable=writable)
    except FileNotFoundError:
        raise VolumeRefused(
            f"{path}: the index is missing: is its filesystem mounted? "
            "Restore it, or correct 'index' in the volume file"
        ) from None
    except OSError as exc:
        raise VolumeRefused(f"{path}: the index cannot be opened: {exc.strerror}") from exc
    if not header.startswith(MAGIC) or header[APPLICATION_ID_AT] != APPLICATION_ID.to_bytes(4):
        raise VolumeRefused(
            f"{path}: is {'not an index' if header else 'an empty file'}: restore the index, "
            "or correct 'index' in the volume file"
        )


def _header(path: Path, *, writable: bool) -> bytes:
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for suffix in BESIDE:
            with suppress(FileNotFoundError):
                os.close(_private(f"{path.name}{suffix}", os.O_RDONLY, directory))
        file = _private(path.name, os.O_RDWR if writable else os.O_RDONLY, directory)
        try:
            return os.pread(file, HEADER_BYTES, 0)
        finally:
            os.close(file)
    finally:
        os.close(directory)


def _private(name: str, flags: int, directory: int) -> int:
    """Open a regular file, which nobody else may open from now on, were it only to lock it."""
    descriptor = open_file(name, flags, dir_fd=directory)
    make_private(descriptor)
    return descriptor


class Index:
    """Names, attributes and xattrs of one volume.

    Raises from every method:
        IndexFailed: SQLite failed.
    """

    def __init__(
        self, path: Path, os_: Os, metrics: Metrics, cache_entries: int = DEFAULT_CACHE_ENTRIES
    ) -> None:
        self._publisher = Publisher()
        self._database = Database(
            path, os_, metrics, on_commit=self._committed, on_rollback=self._rolled_back
        )
        try:
            self.is_free = self._database.is_free
            self._counts = Counts(self._database)
            self.inodes = Inodes(self._database, cache_entries, self._publisher, self._counts)
            self.xattrs = Xattrs(self._database, self.inodes, self._publisher)
            self.entries = Entries(self._database, self.inodes, self.xattrs, self._publisher)
            self.cuts = Cuts(self._database)
            self.dirty = DirtyRows(self._database)
            self.wishes = Wishes(self._database)
            self._next = self._limit = self._uncounted = 0
            self._reserve_serials()
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The database file."""
        return self._database.path

    def transaction(self) -> AbstractContextManager[None]:
        """All changes inside are committed together, or none; other threads wait."""
        return self._database

    def publish_to(self, view: View) -> None:
        """Tell ``view``, which holds nothing yet, what is read and changed from now on."""
        self._publisher.publish_to(view)

    def new_serial(self) -> int:
        """A number never handed out before, larger than all; inside a transaction."""
        if self._limit - self._next < SERIAL_BLOCK // 2:
            self._limit += SERIAL_BLOCK
            self._store_next_serial(self._limit)
        self._next += 1
        return self._next - 1

    def bind(self, volume: uuid.UUID) -> None:
        """Make a new index belong to a volume."""
        with self.transaction():
            self._database.execute("UPDATE volume SET uuid = ?", str(volume))

    def require(self, volume: uuid.UUID) -> None:
        """Check that the index belongs to a volume.

        A new one does not: over its numbers, which begin again, files would be written into the
        objects of those that the lost index knew.

        Raises:
            VolumeRefused: it is new, or belongs to another.
        """
        owner = self._of_volume("uuid")
        if not owner:
            raise VolumeRefused(
                f"{self.path}: this index is empty and belongs to no volume: restore the index "
                "of this one, or correct 'index' in the volume file"
            )
        if owner != str(volume):
            raise VolumeRefused(
                f"{self.path}: this index belongs to volume {owner}, not to {volume}: "
                "check 'index' in the volume file"
            )

    def sync(self) -> None:
        """Make every commit so far survive a power cut."""
        self._database.sync()

    @property
    def commits(self) -> int:
        """Transactions committed since the index was opened, but for those of checkpoints."""
        return self._database.commits - self._uncounted

    def log_size(self) -> int:
        """Bytes of the write-ahead log."""
        return self._database.wal_size()

    def limit_log(self, limit: int) -> None:
        """A transaction that finds the log longer than ``limit`` bytes empties it first."""
        self._database.limit_log(limit)

    def checkpoint(self, log_limit: int) -> None:
        """Fold the write-ahead log into the database; may take seconds, holds nobody up.

        Only a log that stays longer than ``log_limit`` bytes is emptied at the writers' cost.
        """
        if self._counts.unwritten:
            with self.transaction():
                self._counts.store(closed=False)
                self._uncounted += 1
        self._database.checkpoint(log_limit)

    def usage(self) -> IndexUsage:
        """What all inodes come to, without a look at them.

        After an unclean end as it was at a checkpoint before, until ``recount`` is through.
        """
        with self._database.lock:
            return self._counts.usage()

    def recount(self) -> bool:
        """Count some inodes anew after an unclean end, within a millisecond.

        Returns whether there are more.
        """
        with self._database.lock:
            return self._counts.recount()

    def size(self) -> int:
        """Bytes of the database and its log."""
        return self.path.stat().st_size + self.log_size()

    def give_serials_back(self) -> None:
        """Give back the serials reserved and not used: the index is about to be closed in peace."""
        with self.transaction():
            self._limit = self._next
            self._store_next_serial(self._limit)
            self._counts.store(closed=True)

    def close(self) -> None:
        """Close; nothing may be called afterwards."""
        self._database.close()

    def _reserve_serials(self) -> None:
        """Reserve the first block durably: a power cut must not make numbers come twice."""
        self._next = self._stored_next_serial()
        self._limit = self._next + SERIAL_BLOCK
        with self.transaction():
            self._store_next_serial(self._limit)
            self._counts.store(closed=False)
        self.sync()

    def _stored_next_serial(self) -> int:
        serial = self._of_volume("next_serial")
        if not isinstance(serial, int):
            raise IndexFailed(errno.EIO, NO_VOLUME)
        return serial

    def _of_volume(self, column: str) -> object:
        row = self._database.row(f"SELECT {column} FROM volume")  # noqa: S608 - a name of our own
        if row is None:
            raise IndexFailed(errno.EIO, NO_VOLUME)
        return row[0]

    def _store_next_serial(self, serial: int) -> None:
        self._database.execute("UPDATE volume SET next_serial = ?", serial)

    def _committed(self) -> None:
        if self._counts.noted:
            self._counts.commit()
        self._publisher.commit()

    def _rolled_back(self) -> None:
        self._counts.roll_back()
        self._publisher.roll_back()
        self.inodes.forget_cached()
        self.xattrs.forget_absent()
        # A reservation made in the transaction is undone, and the inodes numbered from it.
        self._limit = self._stored_next_serial()
        self._next = min(self._next, self._limit)
