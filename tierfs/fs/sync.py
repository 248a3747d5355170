"""Sync dirty files: one for fsync(2) or before a migration, all of them for a checkpoint.

A sync makes durable what was changed before it began. A file that changes meanwhile stays in the
dirty set, and only its synced size is stored.

The kernel reports a failed write-back once to each open descriptor, and drops it with its inode
(https://docs.kernel.org/filesystems/vfs.html, "Handling errors during writeback"). So an error
that a sync finds is kept for the file, until that is truncated to 0.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from contextlib import suppress
from operator import attrgetter
from typing import NamedTuple

from tierfs.common.errors import Damage, FsError
from tierfs.common.extents import MAX_FILE_SIZE, object_lengths
from tierfs.common.metrics import Metrics
from tierfs.fs.dirty import DirtyFile, DirtySet
from tierfs.fs.tiers import FLASH, Tiers
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode
from tierfs.metadata.recovery import DirtyRow
from tierfs.storage.objects import ObjectLost

log = logging.getLogger(__name__)

BATCH = 500
"""Rows changed in one transaction: other requests wait that long at most."""


class _Covered(NamedTuple):
    """What a sync of one file covers: every change before it began."""

    file: DirtyFile
    version: int
    size: int
    """Bytes that it makes durable at least."""
    truncations: int
    needed_trim: bool


class Syncer:
    """Syncs files of the dirty set. Thread-safe.

    Raises from every method:
        IndexFailed: SQLite failed.
    """

    def __init__(self, index: Index, tiers: Tiers, dirty: DirtySet, metrics: Metrics) -> None:
        self._index = index
        self._tiers = tiers
        self.dirty = dirty
        self._files = dirty.files
        self._locks = dirty.locks
        self._flushing = threading.Lock()
        self._failures = metrics.sync_failures

    def sync(self, ino: int, *, leave: bool = False) -> None:
        """Sync the objects of a file; with ``leave`` it leaves the set if it does not change.

        Else it stays until a checkpoint: a file that is synced again and again need not enter it
        each time.

        Raises:
            FsError: EIO, an earlier sync of the file failed.
            OSError: the sync failed; this sticks to the file.
            Damage: an object is missing.
        """
        file = self._files.get(ino)
        if file is None:
            return
        with file.lock:
            while self._files.get(ino) is file:
                if file.error:
                    raise _lost(file)
                if file.synced_version == file.version and not file.needs_trim and not leave:
                    return
                if file.needs_trim:
                    with self._locks.hold(ino):
                        inode = self._index.inodes.get(ino)
                        self.dirty.make_exact(file, inode, 0, wait=True, sync=True)
                file.smallest_size = MAX_FILE_SIZE
                version, truncations, trim = file.version, file.truncations, file.needs_trim
                inode = self._index.inodes.get_quietly(ino)
                try:
                    if file.synced_version != version:
                        self._sync_objects(file, inode)
                except FileNotFoundError as exc:
                    if self._now(inode).version != inode.version:
                        continue  # migrated, or truncated to 0 and about to get new objects
                    raise Damage(ino, f"its {exc} object is missing") from None
                except ObjectLost as exc:
                    raise Damage(ino, str(exc)) from None
                if self._now(inode).prefix == inode.prefix:
                    covered = _Covered(file, version, inode.size, truncations, trim)
                    if leave:
                        self._write_rows(ino)
                        self._leave([covered])
                    else:
                        self._note_synced(covered)
                    return

    def flush(self) -> None:
        """Sync both tiers.

        Every failure must be found here: a later sync of the same filesystem would not report it.

        Raises:
            OSError: a tier could not be synced; it sticks to the files whose bytes are lost.
        """
        with self._flushing:
            try:
                self._tiers.flush()
            except OSError as exc:
                self._find_failed(exc)
                raise

    def checkpoint(self) -> None:
        """Sync both tiers; all files that do not change meanwhile leave the set.

        Raises:
            OSError: as ``flush``; no file has left then.
        """
        more = self._index.inodes.has_deferred_times
        while more:
            with self._index.transaction():
                more = self._index.inodes.store_deferred_times(BATCH)
        files = sorted(self._files.values(), key=attrgetter("ino"))
        covered = [
            _Covered(file, file.version, 0, file.truncations, file.needs_trim) for file in files
        ]
        self.flush()
        for start in range(0, len(covered), BATCH):
            self._leave(covered[start : start + BATCH])

    def sync_flash(self, ino: int) -> None:
        """Sync the flash object, whose bytes are about to be copied: none that a device refused.

        Raises:
            OSError: it could not be synced; this sticks to the file.
        """
        file = self._files.get(ino)
        if file is None:
            return
        if file.error:
            raise _lost(file)
        fd = self.dirty.duplicate(file, FLASH)
        try:
            if fd >= 0:
                self._tiers.flash.sync_data(ino, fd)
        except OSError as exc:
            self._set_error(file, exc)
            raise
        finally:
            if fd >= 0:
                os.close(fd)

    def _sync_objects(self, file: DirtyFile, inode: Inode) -> None:
        for at, length in enumerate(object_lengths(inode.size, inode.prefix)):
            if not length:
                if file.names_unsynced[at]:
                    self._sync_removal(file, at)
                continue
            fd = self.dirty.lend(file, at)
            try:
                self._sync_object(file, at, fd)
            finally:
                self.dirty.take_back(file, at)

    def _sync_object(self, file: DirtyFile, at: int, held: int) -> None:
        """``held``: a descriptor of the object; below 0: there is none.

        Raises:
            FileNotFoundError: the object was removed.
        """
        store, fd = self._tiers.stores[at], held
        if fd < 0:
            try:
                fd = store.open_object(file.ino)
            except FileNotFoundError:
                raise FileNotFoundError(store.name) from None
        try:
            is_named = store.sync_data(file.ino, fd)
            if is_named and (file.names_unsynced[at] or held < 0):
                store.directories.sync_name(file.ino)
                file.names_unsynced[at] = False
        except OSError as exc:
            self._set_error(file, exc)
            raise
        finally:
            if held < 0:
                os.close(fd)
        if not is_named:
            raise FileNotFoundError(store.name)

    def _sync_removal(self, file: DirtyFile, at: int) -> None:
        """Otherwise a power cut could bring the object back, and its length would count."""
        try:
            self._tiers.stores[at].directories.sync_removal(file.ino)
        except OSError as exc:
            self._set_error(file, exc)
            raise
        file.names_unsynced[at] = False

    def _now(self, inode: Inode) -> Inode:
        """The present row of the inode, or its last one."""
        inodes = self._index.inodes
        return inodes.cached(inode.ino) or inodes.find(inode.ino) or inode

    def _note_synced(self, each: _Covered) -> None:
        """Note what was synced of a file, and write what is noted in memory of it."""
        file = each.file
        is_free = self._locks.try_acquire(file.ino)
        before = file.synced_size, file.trusted, file.synced_version
        try:
            with self._index.transaction():
                if self._files.get(file.ino) is file and not file.error:
                    if is_free and file.version == each.version and not file.needs_trim:
                        file.synced_version = each.version
                    self._note_size(each, is_free=is_free)
        except BaseException:
            file.synced_size, file.trusted, file.synced_version = before
            raise
        finally:
            if is_free:
                self._locks.release(file.ino)

    def _leave(self, synced: list[_Covered]) -> None:
        """Note what was synced, and write what is noted in memory of it.

        Files that did not change meanwhile leave the set. Of one that somebody is changing only the
        synced size is noted.
        """
        left: list[DirtyFile] = []
        first = self._index.dirty.first
        before: list[tuple[DirtyFile, int, bool, int]] = []
        held = self._locks.try_acquire_all(each.file.ino for each in synced)
        try:
            with self._index.transaction():
                for each in synced:
                    file, ino = each.file, each.file.ino
                    if self._files.get(ino) is not file or file.error:
                        continue
                    before.append((file, file.synced_size, file.trusted, file.synced_version))
                    if ino in held and file.version == each.version and not file.needs_trim:
                        self._index.inodes.store((ino,))
                        file.synced_version = each.version
                        del self._files[ino]
                        left.append(file)
                    else:
                        self._note_size(each, is_free=ino in held)
                if left:
                    self._index.dirty.delete(*(file.ino for file in left if file.has_row))
                    self._advance_first(synced[-1].file.ino + 1)
        except BaseException:
            self._index.dirty.first = first
            for file in left:
                self._files[file.ino] = file
            for file, size, trusted, version in before:
                file.synced_size, file.trusted, file.synced_version = size, trusted, version
            raise
        else:
            self.dirty.close_descriptors(*left)
        finally:
            self._locks.release_all(held)

    def _note_size(self, synced: _Covered, *, is_free: bool) -> None:
        """Write the row of the inode, and what is synced of it; inside a transaction.

        ``is_free``: its lock is held now.
        """
        file, _, size, truncations, needed_trim = synced
        # What was exact before the sync is so durably, if the file was not truncated since.
        exact = is_free and not (needed_trim or file.needs_trim)
        trusted = file.trusted or (exact and file.truncations == truncations)
        synced_size = max(file.synced_size, min(size, file.smallest_size))
        if trusted and not file.has_row:
            self._index.inodes.store_synced(file.ino, synced_size)
            file.synced_size = synced_size
        else:
            self._index.inodes.store((file.ino,))
            self.dirty.set_row(file, synced_size, trusted=trusted)

    def _write_rows(self, end: int) -> None:
        """Give files of the set with numbers before ``end`` rows, a few at a time."""
        dirty = self._index.dirty
        while dirty.first < end:
            first = dirty.first
            try:
                with self._index.transaction():
                    self._advance_first(min(dirty.first + BATCH, end))
            except BaseException:
                dirty.first = first
                raise

    def _advance_first(self, first: int) -> None:
        """Let files before the number ``first`` be in the set by their rows; in a transaction.

        All of them are known here: numbers grow, and a file is in the set before it is committed.
        """
        dirty = self._index.dirty
        if first > dirty.first:
            self._index.inodes.store_deferred_times()
            dirty.raise_to(first, filter(None, map(self._row_for, range(dirty.first, first))))

    def _row_for(self, ino: int) -> DirtyRow | None:
        """The row that an inode gets, if it has none; None: it is not in the set."""
        file = self._files.get(ino)
        if file is not None:
            file.has_row = True
            return DirtyRow(ino, file.synced_size, file.error, int(file.trusted))
        synced_size = self._index.inodes.unreconciled.get(ino)
        return None if synced_size is None else DirtyRow(ino, synced_size, 0, 1)

    def _find_failed(self, exc: OSError) -> None:
        """Find the files whose bytes were not written: their own descriptors report it."""
        for file in list(self._files.values()):
            with file.lock, suppress(FsError):
                try:
                    if file.unobserved:
                        raise exc
                    stores = self._tiers.stores
                    for at, store in enumerate(stores):
                        fd = self.dirty.duplicate(file, at)
                        if fd >= 0:
                            try:
                                store.sync_data(file.ino, fd)
                            finally:
                                os.close(fd)
                except OSError as found:
                    self._set_error(file, found)

    def _set_error(self, file: DirtyFile, exc: OSError) -> None:
        """Let the error stick to the file, and log it."""
        file.error = exc.errno or errno.EIO
        if self._locks.try_acquire(file.ino):  # a writer may be using them
            self.dirty.close_descriptors(file)
            self._locks.release(file.ino)
        self._failures.inc()
        inode = self._index.inodes.find(file.ino)
        where = self._index.path_of(inode) if inode else "(unlinked)"
        log.error(
            "%s: bytes could not be written to the device (%s): fsync fails until the file is "
            "truncated to 0 or replaced, or the volume is mounted again",
            where,
            exc.strerror,
        )
        with self._index.transaction():
            self.dirty.set_row(file, file.synced_size, trusted=file.trusted)
            self._index.dirty.set_error(file.ino, file.error)


def _lost(file: DirtyFile) -> FsError:
    return FsError(file.error, "an earlier sync of the file failed: its bytes may be lost")
