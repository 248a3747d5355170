"""The dirty set: files whose bytes changed since the last checkpoint, synced since or not.

A file enters the set when it is created, or in the transaction of its first change of bytes. It
leaves the set at a checkpoint or before a migration, once its objects are synced and no byte has
changed since. A new file needs no row: every file with a number from ``DirtyRows.first`` on is in
the set, and checkpoints raise that number. This is what the set is for:

* write(2): a write to a dirty file writes its bytes in place and keeps size and times in memory
  (``InodeTable.defer``). The next transaction on the inode stores them in the index.
* fsync(2): only the objects of the dirty file are synced, those of no other file.
* recovery: after an unclean end the size of a dirty file is taken from the lengths of its objects
  (``recovery.py``). For all other files the index is right, and a short object is damage.
* errors: the kernel reports a failed write-back to open descriptors only. So a dirty file keeps a
  descriptor of each object that was written (``sync.py``).

Before an object shrinks, the index with the new size is synced. Before bytes are added to an
object, it is trimmed to the size in the index: otherwise bytes past the end would become part of
the file after a crash. Until a sync has made that durable, lengths are not *trusted*: the size in
the index is an upper bound, and each write that makes the file longer is a transaction.

No file of the set has a valid checksum: before the first change of a file that has one, the index
without it is synced.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from typing import Protocol

from tierfs.common.metrics import Metrics
from tierfs.fs.locks import InodeLocks, WouldBlock
from tierfs.fs.tiers import DISK, FLASH, Tiers, lengths_of
from tierfs.metadata.checksums import Checksums
from tierfs.metadata.header_facts import HeaderFacts
from tierfs.metadata.inodes import Inode
from tierfs.metadata.recovery import DirtyRows, PendingTruncations
from tierfs.storage.objects import ObjectLost
from tierfs.storage.replaced import Replaced

DESCRIPTOR_SHARE = 3
"""A third of the descriptors that the process may open is for dirty files."""
MOST_DESCRIPTORS = 16_384
MOST_FILES = 65_536
"""Files in the set; with more a checkpoint is due."""


class DirtyFile:
    """One inode of the set. Its descriptors are closed under its lock and ``DirtySet``'s mutex."""

    __slots__ = (
        "created",
        "emptied_at",
        "error",
        "exact",
        "fds",
        "has_row",
        "ino",
        "lent",
        "lock",
        "names_unsynced",
        "needs_trim",
        "smallest_size",
        "synced_size",
        "synced_version",
        "truncations",
        "trusted",
        "undo_state",
        "unobserved",
        "version",
    )

    def __init__(self, ino: int, synced_size: int) -> None:
        self.ino = ino
        self.synced_size = synced_size
        """Bytes that are synced, as in the row."""
        self.has_row = True
        """Whether there may be a row; without one ``trusted`` is True, and the row of the inode has
        ``synced_size``."""
        self.version = 0
        """The data version of the last change."""
        self.synced_version = -1
        """The data version that was synced last."""
        self.trusted = True
        """As in the row: whether the lengths of its objects are believed after an unclean end."""
        self.smallest_size = synced_size
        """The smallest size since a sync began: bytes past it may not be durable."""
        self.truncations = 0
        """How many truncations there were."""
        self.needs_trim = False
        """Whether an object is longer than the index says, and has to be trimmed."""
        self.emptied_at = [0, 0]
        """For each object the data version of the last truncation to 0 since which nothing was
        written to it; 0: none."""
        self.exact = [False, False]
        """Whether the length of each object is known to be what the index says."""
        self.fds = [-1, -1]
        """Descriptors of its objects; a writer uses them under the inode's lock."""
        self.lent = -1
        """One of them that is in use under ``lock``: not closed before it is taken back."""
        self.names_unsynced = [False, False]
        """Which objects were created or removed since their directories were synced."""
        self.created = [False, False]
        """Which objects a new file has."""
        self.unobserved = False
        """Whether bytes may be lost that none of ``fds`` would report."""
        self.error = 0
        self.undo_state: tuple[int, int, bool] | None = None
        """``synced_size``, ``error`` and ``trusted`` before a change that is not committed.

        None: it was not in the set."""
        self.lock = threading.Lock()
        """Held by the one that syncs."""


class DirtyIndex(Protocol):
    """What the set needs of `tierfs.metadata.index.Index`."""

    dirty: DirtyRows
    pending_truncations: PendingTruncations
    checksums: Checksums
    header_facts: HeaderFacts

    @property
    def in_memory(self) -> bool:
        """Whether a sync never waits for a device."""

    def transaction(self) -> AbstractContextManager[None]:
        """All changes inside are committed together, or none."""

    def sync(self) -> None:
        """Make every commit so far survive a power cut."""


class DirtySet:
    """Dirty files by inode number. Thread-safe.

    Raises from every method:
        IndexFailed: SQLite failed.
    """

    def __init__(
        self, index: DirtyIndex, tiers: Tiers, locks: InodeLocks, metrics: Metrics
    ) -> None:
        self._index = index
        self._tiers = tiers
        self.locks = locks
        """Who changes the bytes of a file, or its descriptors here, holds its lock."""
        self.files: dict[int, DirtyFile] = {}
        """By inode number; only the set and ``Syncer`` change it."""
        self._mutex = threading.Lock()
        self._descriptors = 0
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._limit = max(16, min(limit // DESCRIPTOR_SHARE, MOST_DESCRIPTORS))
        self.full = False
        """Whether no further descriptor may be held: the next change waits for a sync of all."""
        self._unsynced_ends: set[int] = set()
        """Files whose checksums or facts have ended in the index, which is not synced since."""
        self.replaced: list[tuple[int, Replaced]] = []
        """To be removed once the index is synced; with where the store is in ``Tiers.stores``."""
        metrics.dirty_files.set_function(lambda: len(self.files))

    def __len__(self) -> int:
        return len(self.files)

    def get(self, ino: int) -> DirtyFile | None:
        """The file, or None: every byte of it is synced."""
        return self.files.get(ino)

    @property
    def errors(self) -> dict[int, int]:
        """The errno that sticks to each file of which a sync failed."""
        return {ino: file.error for ino, file in list(self.files.items()) if file.error}

    @property
    def crowded(self) -> bool:
        """Whether a checkpoint is due, to close the descriptors that are held."""
        return self._descriptors >= self._limit // 2 or len(self.files) > MOST_FILES

    # ---------------------------------------------------------------- changes, under inode locks

    def begin(self, inode: Inode) -> DirtyFile:
        """A file is made; in that transaction. If it fails, call ``undo``."""
        file = self.files[inode.ino] = DirtyFile(inode.ino, 0)
        file.has_row = False
        file.synced_version = 0  # it has no byte
        return file

    def enter(self, row: Inode, size: int) -> DirtyFile:
        """The bytes of a file change, and it then has ``size``; in the transaction of the change.

        ``row`` is the inode before. If the transaction fails, call ``undo``.
        """
        shrinks = size < row.size
        file = self.files.get(row.ino)
        if file is None:
            synced_size = min(row.size, size)
            file = DirtyFile(row.ino, synced_size)
            file.trusted = not shrinks
            self._index.dirty.put(row.ino, synced_size, exact=file.trusted)
            self.files[row.ino] = file
        else:
            file.undo_state = file.synced_size, file.error, file.trusted
            if shrinks:
                self.set_row(file, min(file.synced_size, size), trusted=False)
        if shrinks:
            file.needs_trim, file.exact = True, [False, False]
            file.truncations += 1
            if not size:
                file.emptied_at = [row.version + 1, row.version + 1]
        if not size and file.error:
            self._index.dirty.set_error(row.ino, 0)
            file.error = 0  # what could not be written is not part of the file any more
        file.smallest_size = min(file.smallest_size, size)
        file.version = row.version + 1
        return file

    def set_row(self, file: DirtyFile, synced_size: int, *, trusted: bool) -> None:
        """Change the row, or give it one; inside a transaction."""
        if self.files.get(file.ino) is file:  # else the inode is gone
            self._index.dirty.put(file.ino, synced_size, exact=trusted)
            file.has_row = True
        file.synced_size, file.trusted = synced_size, trusted

    def undo(self, file: DirtyFile) -> None:
        """The transaction of a change was rolled back."""
        file.needs_trim, file.exact, file.emptied_at = True, [False, False], [0, 0]
        if file.undo_state is None:
            self.files.pop(file.ino, None)
        else:
            file.synced_size, file.error, file.trusted = file.undo_state

    def admit(
        self,
        inode: Inode,
        end: int,
        *,
        writes: tuple[bool, bool] = (False, False),
        summed: bool = True,
        wait: bool,
    ) -> DirtyFile:
        """The file in the set, where its objects are as long as the index says, up to ``end``.

        It enters if it is not there. ``writes``: which of its objects are going to be written to.
        ``summed``: whether checksums may hold for its data version.

        Raises:
            Damage: one of those is missing or too short.
            WouldBlock: the disk must be asked, or an object trimmed, and ``wait`` is False.
            OSError: an object could not be looked at or trimmed.
        """
        file = self.files.get(inode.ino)
        if file is not None:
            if not all(file.exact):
                self.make_exact(file, inode, end, writes, wait=wait)
            return file
        file = DirtyFile(inode.ino, inode.size)
        file.version = file.synced_version = inode.version
        try:
            self.make_exact(file, inode, end, writes, wait=wait)
            self._put_row(inode, summed=summed, wait=wait)
        except BaseException:
            self.close_descriptors(file)
            raise
        self.files[inode.ino] = file
        return file

    def _put_row(self, inode: Inode, *, summed: bool, wait: bool) -> None:
        """Give the file its row, and let its checksums and header facts hold no more.

        Otherwise a power cut could bring them back, for bytes that the file no longer has. The
        checksum of a mirrored head alone may come back: before the head changes, the end of the
        mirror is synced.
        """
        ino, kept = inode.ino, inode.prefix if inode.mirrored else -1
        facts = self._index.header_facts
        with self._index.transaction():
            self._index.dirty.put(ino, inode.size, exact=True)
            ended = summed and self._index.checksums.end(ino, inode.version, kept)
            if (facts.any and facts.end(ino)) or ended:
                if not (wait or self._index.in_memory):
                    raise WouldBlock
                self._unsynced_ends.add(ino)
        if ino in self._unsynced_ends:
            self._index.sync()
            self._unsynced_ends.discard(ino)

    def descriptor(self, file: DirtyFile, at: int, inode: Inode, holds: int) -> int:
        """A descriptor of object ``at`` to write by, while the inode's lock is held.

        Raises as ``Tiers.open_to_write`` does.
        """
        if file.fds[at] < 0:
            first = not (inode.version or file.created[at])
            file.created[at] = True
            fd, length = self._tiers.open_to_write(at, inode, holds, first=first)
            with self._mutex:
                file.fds[at] = fd
                file.names_unsynced[at] |= not holds
                self._count_descriptors(1)
            if length <= holds:
                file.exact[at] = True
        return file.fds[at]

    def make_exact(
        self,
        file: DirtyFile,
        inode: Inode,
        end: int,
        writes: tuple[bool, bool] = (False, False),
        *,
        wait: bool,
        sync: bool = False,
    ) -> None:
        """Trim what the objects hold behind the file's end, before bytes up to ``end`` are written.

        The disk object is looked at only where its length counts: where the file reaches beyond its
        prefix. ``sync``: the file is about to be synced, and both are looked at.
        """
        if not (inode.size or inode.version):
            return  # it never had a byte
        needed = sync or inode.prefix > 0, sync or max(inode.size, end) >= inode.prefix
        looked = [at for at in (FLASH, DISK) if needed[at] and not file.exact[at]]
        if not looked:
            return
        if DISK in looked and not wait:
            raise WouldBlock
        wanted = lengths_of(inode)
        for at in looked:
            if file.emptied_at[at] and not wanted[at] and self._tiers.replaced:
                self._replace(file, at)
            elif writes[at] and wanted[at]:
                self.descriptor(file, at, inode, wanted[at])
            elif (self._tiers.stores[at].length(inode.ino) or 0) <= wanted[at]:
                file.exact[at] = True
                if not wanted[at]:
                    with self._mutex:
                        self._close_descriptors(file, [at])  # of an object that was lost
        if not all(file.exact[at] for at in looked):
            if not wait:
                raise WouldBlock
            self._trim(file, inode)
        file.needs_trim &= not all(file.exact)

    def _replace(self, file: DirtyFile, at: int) -> None:
        """Take an object away that holds nothing of the file since it was truncated to 0."""
        each = Replaced(file.ino, file.emptied_at[at] - 1)
        self._tiers.replaced[at].replace(each)
        self.replaced.append((at, each))
        with self._mutex:
            file.exact[at] = file.names_unsynced[at] = True
            file.emptied_at[at] = 0
            self._close_descriptors(file, [at])

    def _trim(self, file: DirtyFile, inode: Inode) -> None:
        """Trim both objects, once the index that says how long they are survives a power cut."""
        self._index.sync()
        self._tiers.trim(inode)
        entered = self.files.get(inode.ino) is file
        if not entered:  # it is about to enter, with lengths that are believed
            for store, length in zip(self._tiers.stores, lengths_of(inode), strict=True):
                if length:
                    store.sync_data(inode.ino)
                else:
                    store.directories.sync_removal(inode.ino)
        with self._index.transaction():
            self._index.pending_truncations.delete(inode.ino)
            if entered:
                self.set_row(file, file.synced_size, trusted=False)
        with self._mutex:
            self._exact(file, inode)

    def _exact(self, file: DirtyFile, inode: Inode) -> None:
        file.needs_trim, file.exact, file.emptied_at = False, [True, True], [0, 0]
        gone = [at for at in (FLASH, DISK) if not lengths_of(inode)[at]]
        for at in gone:
            file.names_unsynced[at] = True
        self._close_descriptors(file, gone)

    def trimmed(self, inode: Inode) -> None:
        """Both objects are as long as ``inode`` says; the caller holds its lock."""
        with self._mutex:
            if file := self.files.get(inode.ino):
                self._exact(file, inode)

    def spilled(self, ino: int) -> None:
        """The flash object was removed, since all of the file is on disk."""
        with self._mutex:
            if file := self.files.get(ino):
                self._close_descriptors(file, [FLASH])

    def interrupted(self, ino: int) -> None:
        """A change failed half-way: bytes may lie behind the file's end."""
        if file := self.files.get(ino):
            file.needs_trim, file.exact = True, [False, False]

    def distrust(self, ino: int) -> None:
        """An object may be longer than the file; inside a transaction."""
        if file := self.files.get(ino):
            self.set_row(file, file.synced_size, trusted=False)

    def discard(self, inos: list[int]) -> None:
        """Remove inodes from the set, in the transaction that deletes their rows."""
        with_row = []
        with self._mutex:
            for ino in inos:
                file = self.files.pop(ino, None)
                if file is None or file.has_row:
                    with_row.append(ino)
                if file is not None:
                    self._close_descriptors(file, (FLASH, DISK))
        self._index.dirty.delete(*with_row)

    def close(self) -> None:
        """Close every descriptor."""
        with self._mutex:
            for file in self.files.values():
                self._close_descriptors(file, (FLASH, DISK))
            self.files.clear()

    def duplicate(self, file: DirtyFile, at: int) -> int:
        """A descriptor of a held object, which the caller closes; below 0: none is held.

        It shares the kernel's report of errors with the held one, which may be closed meanwhile.
        """
        with self._mutex:
            fd = file.fds[at]
            return os.dup(fd) if fd >= 0 else -1

    def lend(self, file: DirtyFile, at: int) -> int:
        """A descriptor of a held object, until ``take_back``; below 0: none is held.

        One at a time, to the thread that holds the file's ``lock``.
        """
        with self._mutex:
            file.lent = file.fds[at]
            return file.lent

    def take_back(self, file: DirtyFile, at: int) -> None:
        """Return the descriptor that ``lend`` gave."""
        with self._mutex:
            if file.lent >= 0 and file.lent != file.fds[at]:
                os.close(file.lent)  # it was to be closed meanwhile
            file.lent = -1

    def adopt(self, file: DirtyFile, row: Inode) -> None:
        """Take in a file that an earlier mount left in the set; in a transaction.

        Descriptors of what that mount wrote are kept while there is room for them: the kernel may
        still report to them what it could not write.
        """
        file.unobserved = self.crowded
        if not file.unobserved:
            for at, length in enumerate(lengths_of(row)):
                if length:
                    with suppress(FileNotFoundError, ObjectLost), self._mutex:
                        fd = self._tiers.stores[at].open_object(file.ino, writable=True)
                        file.fds[at], file.names_unsynced[at] = fd, True
                        self._count_descriptors(1)
        self.files[file.ino] = file

    def close_descriptors(self, *files: DirtyFile) -> None:
        """Close the descriptors of these files, of which no writer uses one."""
        with self._mutex:
            for file in files:
                self._close_descriptors(file, (FLASH, DISK))

    def _close_descriptors(self, file: DirtyFile, which: Iterable[int]) -> None:
        for at in which:
            if file.fds[at] >= 0:
                if file.fds[at] != file.lent:
                    os.close(file.fds[at])
                file.fds[at] = -1
                self._count_descriptors(-1)

    def _count_descriptors(self, more: int) -> None:
        self._descriptors += more
        self.full = self._descriptors >= self._limit
