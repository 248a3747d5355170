"""The index as `tierfs.fs` uses it: its tables, transactions, serials."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tierfs.common.beneath import make_private, open_file
from tierfs.common.errors import IndexDamaged, IndexFailed, VolumeRefused
from tierfs.common.osio import Os
from tierfs.metadata.adopted import Originals
from tierfs.metadata.cache_updater import CacheUpdater, MetadataCache
from tierfs.metadata.checksums import Checksums
from tierfs.metadata.database import Database
from tierfs.metadata.dentries import Dentries
from tierfs.metadata.feed import NEW_GENERATION, Feed
from tierfs.metadata.header_facts import HeaderFacts
from tierfs.metadata.inode_table import InodeTable
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.metadata.pins_and_requests import Pin, PinsAndRequests, Request
from tierfs.metadata.reader import IndexReader
from tierfs.metadata.recovery import AnsweredRequests, DirtyRows, Generations, PendingTruncations
from tierfs.metadata.redo import SUFFIX as REDO
from tierfs.metadata.schema import APPLICATION_ID, VERSION
from tierfs.metadata.tag_indexes import PREFIX as TAG_INDEX
from tierfs.metadata.tag_indexes import create_tag_index, drop_tag_index, tag_index
from tierfs.metadata.usage import (
    COUNT_NEXT,
    READ_COUNTS,
    WRITE_COUNTS,
    IndexUsage,
    UsageCounts,
)
from tierfs.metadata.wal import NO_LIMIT
from tierfs.metadata.xattrs import Xattrs

if TYPE_CHECKING:
    from tierfs.common.metrics import Metrics

log = logging.getLogger(__name__)

FIRST_BLOCK = 1 << 12
SERIAL_BLOCK = 1 << 16
"""Serials reserved at a time: few at first, then twice as many each time, up to this. What is left
of them at the end of a mount is skipped. The next block is reserved when half of one is left, and
used when that is durable: after anybody's sync."""

SERIALS_AHEAD = 1 << 10
"""With so few left the reservation is synced: more than is taken between two looks at them."""

BYTES_OF_A_FILE = 512
"""What the rows of a new file take in the database, about."""

DEFAULT_CACHE_ENTRIES = 65_536
"""Inodes kept in memory: about 40 MiB."""

STORED_AT_A_TIME = 500
"""Deferred rows that one transaction writes: other requests wait that long at most."""

MAGIC = b"SQLite format 3\0"
HEADER_BYTES = 100
NO_VOLUME = "metadata index: its row of the volume is missing or damaged: see tierfs fsck"

UNLINKED = "(unlinked)"
"""The path of an inode of which no name is known."""

BESIDE = ("-wal", "-shm", "-journal", REDO)
"""What may be beside a database: the redo log, and what SQLite keeps
(https://www.sqlite.org/tempfiles.html)."""

APPLICATION_ID_AT = slice(68, 72)
USER_VERSION_AT = slice(60, 64)
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
            "If it is lost: 'tierfs restore VOLUME.yaml'; else correct 'index' in the volume file"
        ) from None
    except OSError as exc:
        raise VolumeRefused(f"{path}: the index cannot be opened: {exc.strerror}") from exc
    if not header.startswith(MAGIC) or header[APPLICATION_ID_AT] != APPLICATION_ID.to_bytes(4):
        raise VolumeRefused(
            f"{path}: is {'not an index' if header else 'an empty file'}: restore the index "
            "(move it away, then 'tierfs restore VOLUME.yaml'), or correct 'index' in the volume "
            "file"
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
    """Open a regular file, and deny it to all others: opening it is enough to lock it."""
    descriptor = open_file(name, flags, dir_fd=directory)
    make_private(descriptor)
    return descriptor


def migrate(path: Path, os_: Os, metrics: Metrics) -> None:
    """Prepare an index that is to be read only, and can be written.

    It is brought to the present schema, and gets what is in its redo log.

    Raises:
        VolumeRefused: it is of a newer one.
        IndexFailed: SQLite failed.
    """
    header = _header(path, writable=True)
    is_older = int.from_bytes(header[USER_VERSION_AT]) < VERSION
    if is_older or has_redo(path):
        Index(path, os_, metrics).close()


def has_redo(path: Path) -> bool:
    """Whether there is a redo log, as a mount that did not end has left it."""
    return path.with_name(path.name + REDO).exists()


def copy_closed(path: Path, directory: Path) -> Path:
    """Copy an index that nobody has open into a directory, with its logs.

    Raises:
        OSError: it cannot be read, or there is no room.
    """
    for suffix in ("", "-wal", REDO):
        with suppress(FileNotFoundError):
            name = path.name + suffix
            shutil.copyfile(path.with_name(name), directory / name, follow_symlinks=False)
    return directory / path.name


def settle(path: Path, os_: Os, metrics: Metrics, *, writable: bool) -> None:
    """Carry out what the redo log of an index has that nobody has open, before it is looked at.

    A damaged index is left as it is.

    Raises:
        VolumeRefused: that is needed, and it is not ``writable``.
        IndexFailed: it failed.
    """
    if has_redo(path):
        with suppress(IndexDamaged):
            Index(path, os_, metrics, read_only=not writable).close()


class Index:
    """Names, attributes and xattrs of one volume.

    Raises from every method:
        IndexFailed: SQLite failed.
    """

    def __init__(
        self,
        path: Path,
        os_: Os,
        metrics: Metrics,
        cache_entries: int = DEFAULT_CACHE_ENTRIES,
        *,
        read_only: bool = False,
    ) -> None:
        self._updater = CacheUpdater()
        self._database = Database(
            path,
            os_,
            metrics,
            on_commit=self._committed,
            on_rollback=self._rolled_back,
            on_housekeeping=self._reserve_in_time,
            read_only=read_only,
        )
        try:
            self.is_free = self._database.is_free
            self.feed = Feed(self._database)  # first: its triggers belong to what is replayed
            self._replay()
            self._counts = UsageCounts(self._database.row(READ_COUNTS))
            self.was_closed = self._counts.were_closed
            """Whether it was closed after the last change."""
            self.inodes = InodeTable(self._database, cache_entries, self._updater, self._counts)
            self.xattrs = Xattrs(self._database, self.inodes.find, self._updater)
            self.dentries = Dentries(self._database, self.inodes, self.xattrs, self._updater)
            self.pending_truncations = PendingTruncations(self._database)
            self.dirty = DirtyRows(self._database)
            self.pins_and_requests = PinsAndRequests(self._database)
            self.answered = AnsweredRequests(self._database)
            self.checksums = Checksums(self._database)
            self.originals = Originals(self._database, self.inodes)
            self.header_facts = HeaderFacts(self._database)
        except BaseException:
            self._database.close()
            raise
        self._next = self._limit = self._reserved = self._uncounted = 0
        self.made_from = 0
        """The first serial that was reserved since the index was opened; 0: none was."""
        self._block = FIRST_BLOCK
        self._on_reserve: Callable[[int, int], object] | None = None
        self._unreserved: IndexFailed | None = None

    @property
    def path(self) -> Path:
        """The database file."""
        return self._database.path

    def transaction(self) -> AbstractContextManager[None]:
        """All changes inside are committed together, or none; other threads wait."""
        return self._database

    def group_commits(self) -> None:
        """As `Database.group_commits`: for the daemon, once the volume is recovered."""
        self._database.group_commits()

    def flush(self) -> None:
        """As `Database.flush`: other connections see every change so far."""
        self._database.flush()

    def _replay(self) -> None:
        if not self._database.read_only:
            self._database.replay()
        elif self._database.needs_replay:
            raise VolumeRefused(
                f"{self.path}: its last changes are in its redo log alone: mount the volume once "
                "where it can be written"
            )

    def attach_cache(self, cache: MetadataCache) -> None:
        """Tell ``cache``, which holds nothing yet, what is read and changed from now on."""
        self._updater.attach_cache(cache)

    @property
    def read_only(self) -> bool:
        """Whether nothing of it is changed."""
        return self._database.read_only

    def new_serial(self) -> int:
        """A number that was never given out, larger than all that were; inside a transaction.

        Raises:
            IndexFailed: ENOSPC, there is no room for anything new; or no number could be reserved.
        """
        self._database.require_growth()
        if self._next >= self._limit:
            raise self._unreserved or IndexFailed(errno.EIO, "metadata index: out of serials")
        self._next += 1
        return self._next - 1

    def reserve_serials(self, number: int) -> None:
        """Let the next transaction of this thread take ``number`` serials; outside of one.

        Raises:
            IndexFailed: they could not be reserved.
            OSError: what checks a reservation failed.
        """
        with self._database.lock:
            while self._limit - self._next < number + SERIALS_AHEAD:
                if self._reserved == self._limit:
                    self._reserve_block()
                self.sync()

    def new_serials(self, number: int) -> range:
        """``number`` reserved serials, as of ``new_serial``; inside a transaction.

        Raises:
            IndexFailed: ENOSPC, there is no room for anything new; or fewer are reserved.
        """
        self._database.require_growth(number * BYTES_OF_A_FILE)
        if self._limit - self._next < number:
            raise self._unreserved or IndexFailed(errno.EIO, "metadata index: out of serials")
        self._next += number
        return range(self._next - number, self._next)

    def check_reservations(self, check: Callable[[int, int], object]) -> None:
        """Call ``check`` with each range of serials before one of them is used: first, and end.

        What it raises is an OSError, and fails what needs a serial when none is left.
        """
        if self.made_from:
            check(self.made_from, self._reserved)
        self._on_reserve = check

    def _reserve_in_time(self) -> None:
        """Reserve serials between two transactions; a failure is raised when none is left.

        A number is used only when its reservation is durable. Otherwise a power cut could revert
        the reservation, and a new file would get the number, and the object, of another.
        """
        first = not self._limit
        if self._database.is_full and not first:
            self.feed.shed()
        try:
            if self._limit - self._next < self._block // 2 and self._reserved == self._limit:
                self._reserve_block()
            if self._limit - self._next < SERIALS_AHEAD:
                self.sync()
        except IndexFailed as exc:
            if first:
                raise
            self._unreserved = self._unreserved or exc  # the first names the cause
        except OSError as exc:
            failed = IndexFailed(errno.EIO, f"new files cannot be numbered: {exc}")
            self._unreserved = self._unreserved or failed

    def _reserve_block(self) -> None:
        stored = self._stored_next_serial()
        following = stored + self._block
        with self.transaction():
            self._database.execute("UPDATE volume SET next_serial = ?", following)
            if not self._limit:
                self._store_counts()
        if not self._limit:
            self._next = self._limit = self.made_from = stored
        if self._on_reserve is not None:
            self._on_reserve(stored, following)
        self._reserved = following
        self._block = min(2 * self._block, SERIAL_BLOCK)

    def version_of(self, ino: int) -> int | None:
        """The data version of an inode; None: there is none."""
        row = self.inodes.known(ino)
        return None if row is None else row.version

    def generations(self) -> Generations:
        """Of which mount the index is."""
        return Generations(*self._database.rows("SELECT current, next FROM generation")[0])

    def begin_generation(self, generation: uuid.UUID) -> None:
        """Store durably which generation the markers are about to get."""
        with self.transaction():
            self._database.execute("UPDATE generation SET next = ?", str(generation))
        self.sync()

    def complete_generation(self) -> None:
        """The markers have it, durably. They match before this is stored, too."""
        with self.transaction():
            self._database.execute("UPDATE generation SET current = next, next = ''")

    def bind(self, volume: uuid.UUID) -> None:
        """Make a new index belong to a volume, and return the serials that it did not use.

        Nobody can have seen a number yet: it belongs to no volume before.
        """
        with self.transaction():
            self._database.execute(
                "UPDATE volume SET uuid = ?, next_serial = ?", str(volume), self._next
            )
            self._database.commit_alone()
            self._database.execute(NEW_GENERATION)
        self._next = self._limit = self._reserved = 0
        self._database.housekeep_soon()

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
                "of this one (move it away, then 'tierfs restore VOLUME.yaml'), or correct "
                "'index' in the volume file"
            )
        if owner != str(volume):
            raise VolumeRefused(
                f"{self.path}: this index belongs to volume {owner}, not to {volume}: "
                "check 'index' in the volume file"
            )

    def path_of(self, inode: Inode) -> str:
        """A path of the inode from the root of the volume; `UNLINKED` when no name is known."""
        names: list[bytes] = []
        current: Inode | None = inode
        while current is not None and current.ino != ROOT:
            name = self.dentries.name_of(current)
            if name is None:
                return UNLINKED
            names.append(name)
            current = self.inodes.find(current.parent)
        return "/" + "/".join(os.fsdecode(name) for name in reversed(names))

    @property
    def in_memory(self) -> bool:
        """Whether a sync never waits for a device."""
        return self._database.wal.in_memory

    def sync(self) -> None:
        """Make every commit so far survive a power cut."""
        reserved = self._reserved
        self._database.sync()
        self._limit = max(self._limit, reserved)

    def sync_for_program(self) -> None:
        """Make every commit so far survive what an fsync promises: also the loss of flash.

        That, if somebody copies the feed at each sync; else as `sync`.

        Raises:
            FsError: the copy could not be written.
        """
        self.sync()
        if self.feed.at_sync is not None:
            self.feed.at_sync()

    @property
    def commits(self) -> int:
        """Transactions committed since the index was opened, except for those of checkpoints."""
        return self._database.commits - self._uncounted

    def log_size(self) -> int:
        """Bytes of the write-ahead log."""
        return self._database.wal.size()

    @property
    def is_settled(self) -> bool:
        """Whether the last checkpoint copied the whole log, so that `SnapshotReader` can go on."""
        return self._database.wal.seqlock.is_settled

    def limit_log(self, limit: int) -> None:
        """A transaction that finds the log longer than ``limit`` bytes empties it first."""
        self._database.limit_log(limit)

    def checkpoint(self, log_limit: int) -> None:
        """Copy the write-ahead log into the database; takes seconds at worst, beside the writer.

        Writers wait only while a log is emptied that stays longer than ``log_limit`` bytes.
        """
        if self._counts.unwritten:
            with self.transaction():
                self._store_counts()
                self._uncounted += 1
        reserved = self._reserved
        if self._database.checkpoint(log_limit):
            self._limit = max(self._limit, reserved)

    def store_deferred(self) -> None:
        """Write the deferred rows, before the table is scanned."""
        more = self.inodes.has_deferred and not self.read_only
        while more:
            with self.transaction():
                more = self.inodes.store_some(STORED_AT_A_TIME)
                self._uncounted += 1
        self.flush()

    def checkpoint_for_snapshot(self) -> int:
        """Copy the log into the database file, for another process to read.

        Returns the descriptor that such a process needs, for its `SnapshotReader`.
        """
        self.store_deferred()
        self.checkpoint(NO_LIMIT)
        return self._database.wal.seqlock.descriptor

    def index_tags(self, names: Sequence[bytes]) -> None:
        """Keep an index of the values of these attributes, and of no others; before it is served.

        To make one reads every extended attribute.

        Raises:
            IndexFailed: it could not be made.
        """
        wanted = {tag_index(name): create_tag_index(name) for name in names}
        self.flush()
        rows = self._database.rows("SELECT name FROM sqlite_schema WHERE type = 'index'")
        there = {name for (name,) in rows if name.startswith(TAG_INDEX)}
        for name in there - wanted.keys():
            with self.transaction():
                self._database.commit_alone()
                self._database.execute(drop_tag_index(name))
        for name in wanted.keys() - there:
            log.info("metadata index: making the index of %s", name.removeprefix(TAG_INDEX))
            with self.transaction():
                self._database.commit_alone()
                self._database.execute(wanted[name])

    def usage(self) -> IndexUsage:
        """Counts of all inodes, without reading them.

        After an unclean end those of an earlier checkpoint, until ``recount`` is done.
        """
        with self._database.lock:
            return self._counts.usage()

    def recount(self) -> bool:
        """Count some inodes again after an unclean end, within a millisecond.

        Returns whether there are more.
        """
        self.store_deferred()
        with self._database.lock:
            if self._counts.exact:
                return False
            ((last, *sums),) = self._database.rows(COUNT_NEXT, self._counts.counted)
            return self._counts.recount(last, sums)

    def keep_counts(self) -> None:
        """Store the counts for the next mount, after the last change."""
        self.store_deferred()
        with self.transaction():
            self._store_counts(closed=True)

    def _store_counts(self, *, closed: bool = False) -> None:
        self._database.execute(WRITE_COUNTS, *self._counts.to_store(closed=closed))

    def size(self) -> int:
        """Bytes of the database and its log."""
        return self.path.stat().st_size + self.log_size()

    def close(self) -> None:
        """Close; nothing may be called afterwards."""
        self._database.close()

    def _committed(self) -> None:
        if self._counts.pending or self._counts.pending_on_disk:
            self._counts.commit()
        self.inodes.committed()
        self._updater.commit()

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

    def _rolled_back(self) -> None:
        """Only what the transaction touched is forgotten: many transactions are refused."""
        inodes = self._updater.inodes_touched
        self.inodes.roll_back(inodes)
        self.xattrs.roll_back(inodes)
        self.dentries.roll_back(self._updater.names_touched)
        self._counts.roll_back()
        self._updater.roll_back()


class IndexCatalog(IndexReader):
    """A reader of an index that is open, by which pins and requests are settled as well."""

    def __init__(self, index: Index) -> None:
        super().__init__(
            index.path, read_only=index.read_only, prepare=index.store_deferred, flush=index.flush
        )
        self._index = index

    def settle(self, requests: Sequence[Request], ended: Sequence[Pin]) -> None:
        """Remove requests that are done with, and pins that have ended; what is newer stays."""
        with self._index.transaction():
            for request in requests:
                self._index.pins_and_requests.settle(request)
            for pin in ended:
                if self._index.pins_and_requests.pin_of(pin.ino) == pin:
                    self._index.pins_and_requests.unpin(pin.ino)
