"""The dirty set: files whose bytes changed since they were last synced.

A file enters the set when it is made, or in the transaction of its first change of bytes, and
leaves it at a checkpoint or before a move: when its objects have been synced and no byte has
changed since. A new file needs no row for that: those with a number from ``DirtyRows.first`` on are
in the set, and checkpoints raise that. So:

* write(2): to a file of the set a write puts its bytes in place and notes size and times in memory
  (``Inodes.note``). The index learns of them with the next transaction on the inode.
* fsync(2): only objects of a dirty file are synced. It makes no promise about any other file.
* recovery: after an unclean end the lengths of its objects are the size of a dirty file. For all
  others the index is right, and a short object is damage.
* errors: the kernel reports a failed write-back once to each open descriptor, and forgets it with
  its inode (https://docs.kernel.org/filesystems/vfs.html, "Handling errors during writeback"). So a
  dirty file keeps a descriptor of each object that was written, and an error sticks to the file.

Before an object shrinks, the index that says so is synced. Before bytes are added to one, it is as
long as the index says: else what lies behind the end would become part of the file after a crash.
Until a sync has made that durable, lengths are not *trusted*: the index's size is an upper bound,
and each write that makes the file longer is a transaction.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import stat
import threading
from collections.abc import Iterable
from contextlib import suppress
from operator import attrgetter
from typing import NamedTuple

from tierfs.common.errors import Damage, FsError
from tierfs.common.extents import MAX_FILE_SIZE, object_lengths
from tierfs.common.metrics import Metrics
from tierfs.fs.directory import path_of
from tierfs.fs.locks import InodeLocks, WouldBlock
from tierfs.fs.tiers import DISK, FLASH, Tiers, lengths_of
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode
from tierfs.metadata.recovery import DirtyRow
from tierfs.storage.objects import ObjectLost
from tierfs.storage.replaced import Replaced

log = logging.getLogger(__name__)

DESCRIPTOR_SHARE = 3
"""A third of the descriptors that the process may open is for dirty files."""
MOST_DESCRIPTORS = 16_384
MOST_FILES = 65_536
"""Files in the set; with more a checkpoint is due."""

BATCH = 500
"""Rows changed in one transaction: other requests wait that long at most."""


class Unreconciled(WouldBlock):
    """The size of a dirty file must be found first: call ``DirtySet.reconcile``, and try again."""

    def __init__(self, ino: int) -> None:
        super().__init__()
        self.ino = ino


class DirtyFile:
    """One inode of the set. Its descriptors are closed under its lock and ``DirtySet``'s mutex."""

    __slots__ = (
        "before",
        "begun",
        "blind",
        "cut",
        "error",
        "exact",
        "fds",
        "ino",
        "lock",
        "lower",
        "made",
        "row",
        "shrinks",
        "shrunk_to",
        "synced",
        "trusted",
        "version",
        "zero_at",
    )

    def __init__(self, ino: int, lower: int) -> None:
        self.ino = ino
        self.lower = lower
        """Bytes that are synced, as in the row."""
        self.row = True
        """Whether there may be a row; without one, ``lower`` is 0 and ``trusted`` is True."""
        self.version = 0
        """As of the last change."""
        self.synced = -1
        """The data version that was synced last."""
        self.trusted = True
        """As in the row: whether the lengths of its objects are believed after an unclean end."""
        self.shrunk_to = lower
        """The smallest size since a sync began: what it made durable may be gone behind that."""
        self.shrinks = 0
        """How many truncations there were."""
        self.cut = False
        """Whether an object is longer than the index says, and has to be trimmed."""
        self.zero_at = [0, 0]
        """For each object the data version of the last truncation to 0 since which nothing was
        written to it; 0: none."""
        self.exact = [False, False]
        """Whether the length of each object is known to be what the index says."""
        self.fds = [-1, -1]
        """Descriptors of its objects; a writer uses them under the inode's lock."""
        self.made = [False, False]
        """Which objects were made, or removed, and have names that are not synced so yet."""
        self.begun = [False, False]
        """Which objects a new file has got."""
        self.blind = False
        """Whether bytes may be lost that none of ``fds`` would report."""
        self.error = 0
        self.before: tuple[int, int, bool] | None = None
        """``lower``, ``error`` and ``trusted`` before a change that is not committed; None: it was
        not in the set."""
        self.lock = threading.Lock()
        """Held by the one that syncs."""


class Covered(NamedTuple):
    """What a sync covers of one file: all that was changed before it began."""

    file: DirtyFile
    version: int
    size: int
    """Bytes that it makes durable at least."""
    shrinks: int
    was_cut: bool


class DirtySet:
    """Dirty files by inode number. Thread-safe.

    Raises from every method:
        IndexFailed: SQLite failed.
    """

    def __init__(self, index: Index, tiers: Tiers, locks: InodeLocks, metrics: Metrics) -> None:
        self._index = index
        self._tiers = tiers
        self._locks = locks
        self._files: dict[int, DirtyFile] = {}
        self._mutex = threading.Lock()
        self._flushing = threading.Lock()
        self._descriptors = 0
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._limit = max(16, min(limit // DESCRIPTOR_SHARE, MOST_DESCRIPTORS))
        self._reconciling = InodeLocks()
        self.replaced: list[tuple[int, Replaced]] = []
        """To be removed once the index is synced; with where the store is in ``Tiers.stores``."""
        self.bounded: set[int] = set()
        """Inodes that an earlier mount may have left in the set, whose lengths are not trusted."""
        self._left_cut: set[int] = set()
        """Inodes with a truncation that an earlier mount did not carry out."""
        self.never_wait: set[int] = set()
        """Identifiers of the threads that serve everybody: a disk must not hold them up."""
        self._failures = metrics.sync_failures
        metrics.dirty_files.set_function(lambda: len(self._files))

    def __len__(self) -> int:
        return len(self._files)

    def get(self, ino: int) -> DirtyFile | None:
        """The file, or None: every byte of it is synced."""
        return self._files.get(ino)

    @property
    def errors(self) -> dict[int, int]:
        """The errno that sticks to each file of which a sync failed."""
        return {ino: file.error for ino, file in list(self._files.items()) if file.error}

    @property
    def crowded(self) -> bool:
        """Whether so many descriptors are held that a checkpoint is due."""
        return self._descriptors >= self._limit // 2 or len(self._files) > MOST_FILES

    @property
    def full(self) -> bool:
        """Whether no further descriptor may be held: the next change waits for a sync of all."""
        return self._descriptors >= self._limit

    # ---------------------------------------------------------------- after an unclean end

    def load(self) -> int:
        """Take over the set that an earlier mount left; returns how many files are in it.

        Each is reconciled before its row is used, or by ``reconcile``.
        """
        dirty = self._index.dirty
        rows = dirty.all()
        self._index.inodes.find_touched()
        if not rows or rows[-1].ino < dirty.first:
            dirty.first = max(dirty.first, self._index.made_from)
        if rows:
            self.bounded.update(row.ino for row in rows if not row.exact)
            self._left_cut.update(self._index.pending_truncations.all())
            if not self._index.read_only:
                with self._index.transaction():
                    self._index.dirty.forget_errors()
            self._index.inodes.unreconciled.update((row.ino, row.size) for row in rows)
            self._index.inodes.reconcile = self.reconcile
        return len(rows)

    @property
    def recovering(self) -> bool:
        """Whether there are inodes that are still to be reconciled."""
        return bool(self._index.inodes.unreconciled)

    @property
    def unreconciled(self) -> list[int]:
        """The inodes that are still to be reconciled."""
        return sorted(self._index.inodes.unreconciled)

    def reconcile(self, ino: int) -> None:
        """Let the lengths of its objects say how long a file is; does nothing a second time.

        What was synced is a lower bound: an object that is shorter is damage. Where lengths are not
        trusted the index's size is an upper bound: bytes behind it are of a truncation that was not
        carried out.

        The times of a write that the index has not learnt of are those of the objects.

        Raises:
            WouldBlock: in a thread of ``never_wait``.
            OSError: an object could not be looked at.
        """
        if threading.get_ident() in self.never_wait:
            raise Unreconciled(ino)
        with self._reconciling.hold(ino):
            lower = self._index.inodes.unreconciled.get(ino)
            if lower is None:
                return
            inode = self._index.inodes.known(ino)
            cut = bounded = ino in self.bounded
            cut |= ino in self._left_cut
            size, changed = None, 0
            if inode is not None and stat.S_ISREG(inode.mode):
                found, changed = self._found(inode)
                size = max(min(found, inode.size) if bounded else found, lower)
            if self._index.read_only:
                if size is not None:
                    self._index.inodes.sizes[ino] = size
                    self._index.inodes.forget_cached()
                del self._index.inodes.unreconciled[ino]
                return
            with self._index.transaction():
                row = self._index.inodes.known(ino)
                if row is not None and size is not None:
                    if row.mirrored and size <= row.prefix:
                        self._index.pending_truncations.add(ino)  # its mirror is an object too many
                        cut = True
                    sparse = int(size > 0 and (row.sparse or size != row.size))
                    row = row._replace(
                        size=size, version=row.version + 1, mirrored=0, sparse=sparse
                    )
                    if changed > row.ctime:
                        row = row._replace(mtime=changed, ctime=changed)
                    self._index.inodes.update(row)
                    file = DirtyFile(ino, lower)
                    file.version, file.cut = row.version, cut
                    file.trusted = False  # what a device lost may have made an object longer
                    file.before = lower, 0, False
                    self._index.dirty.put(ino, lower, exact=False)
                    self._hold_all(file, row)
                    self._files[ino] = file
                else:
                    self._index.dirty.delete(ino)
                del self._index.inodes.unreconciled[ino]

    def _hold_all(self, file: DirtyFile, row: Inode) -> None:
        """Keep descriptors of what an earlier mount wrote, while there is room for them."""
        file.blind = self.crowded
        if file.blind:
            return
        stores = self._tiers.stores
        for at, length in enumerate(lengths_of(row)):
            if length:
                with suppress(FileNotFoundError, ObjectLost), self._mutex:
                    fd = stores[at].hold(file.ino, writable=True)
                    file.fds[at], file.made[at] = fd, True
                    self._descriptors += 1

    def _found(self, inode: Inode) -> tuple[int, int]:
        """What the objects hold, and when one was changed last: a short head ends the file."""
        head, head_changed = self._tiers.flash.state(inode.ino)
        if inode.prefix and head < inode.prefix:
            return head, head_changed
        tail, tail_changed = self._tiers.disk.state(inode.ino)
        return max(inode.prefix, tail), max(head_changed, tail_changed)

    # ---------------------------------------------------------------- changes, under inode locks

    def begin(self, inode: Inode) -> DirtyFile:
        """A file is made; in that transaction. If it fails, call ``undo``."""
        file = self._files[inode.ino] = DirtyFile(inode.ino, 0)
        file.row = False
        file.synced = 0  # it has no byte
        return file

    def enter(self, row: Inode, size: int) -> DirtyFile:
        """The bytes of a file change, and it then has ``size``; in the transaction of the change.

        ``row`` is the inode before. If the transaction fails, call ``undo``.
        """
        shrinks = size < row.size
        file = self._files.get(row.ino)
        if file is None:
            lower = min(row.size, size)
            file = DirtyFile(row.ino, lower)
            file.trusted = not shrinks
            self._index.dirty.put(row.ino, lower, exact=file.trusted)
            self._files[row.ino] = file
        else:
            file.before = file.lower, file.error, file.trusted
            if shrinks:
                self._set(file, min(file.lower, size), trusted=False)
        if shrinks:
            file.cut, file.exact = True, [False, False]
            file.shrinks += 1
            if not size:
                file.zero_at = [row.version + 1, row.version + 1]
        if not size and file.error:
            self._index.dirty.set_error(row.ino, 0)
            file.error = 0  # what could not be written is not part of the file any more
        file.shrunk_to = min(file.shrunk_to, size)
        file.version = row.version + 1
        return file

    def _set(self, file: DirtyFile, lower: int, *, trusted: bool) -> None:
        """Change the row, or give it one; inside a transaction."""
        if self._files.get(file.ino) is file:  # else the inode is gone
            self._index.dirty.put(file.ino, lower, exact=trusted)
            file.row = True
        file.lower, file.trusted = lower, trusted

    def undo(self, file: DirtyFile) -> None:
        """The transaction of a change was rolled back."""
        file.cut, file.exact, file.zero_at = True, [False, False], [0, 0]
        if file.before is None:
            self._files.pop(file.ino, None)
        else:
            file.lower, file.error, file.trusted = file.before

    def note(self, file: DirtyFile, end: int, now: int, *, hole: bool = False) -> None:
        """A write to a file of the set, up to byte ``end``, is in place: note it in memory.

        Only where the file became longer and its lengths are trusted, or has the size it had.
        ``hole``: there may be one in it now.
        """
        file.version = self._index.inodes.note(file.ino, end, now, hole=hole)

    def admit(
        self, inode: Inode, end: int, *, writes: tuple[bool, bool] = (False, False), wait: bool
    ) -> DirtyFile:
        """The file in the set, where its objects are as long as the index says, up to ``end``.

        It enters if it is not there. ``writes``: which of its objects are going to be written to.

        Raises:
            Damage: one of those is missing or too short.
            WouldBlock: the disk must be asked, or an object trimmed, and ``wait`` is False.
            OSError: an object could not be looked at or trimmed.
        """
        file = self._files.get(inode.ino)
        if file is not None:
            if not all(file.exact):
                self._make_exact(file, inode, end, writes, wait=wait)
            return file
        file = DirtyFile(inode.ino, inode.size)
        file.version = file.synced = inode.version
        try:
            self._make_exact(file, inode, end, writes, wait=wait)
            with self._index.transaction():
                self._index.dirty.put(inode.ino, inode.size, exact=True)
        except BaseException:
            with self._mutex:
                self._let_go(file, (FLASH, DISK))
            raise
        self._files[inode.ino] = file
        return file

    def descriptor(self, file: DirtyFile, at: int, inode: Inode, holds: int) -> int:
        """A descriptor of object ``at`` to write by, while the inode's lock is held.

        Raises as ``Tiers.open_to_write`` does.
        """
        if file.fds[at] < 0:
            first = not (inode.version or file.begun[at])
            file.begun[at] = True
            fd, length = self._tiers.open_to_write(at, inode, holds, first=first)
            with self._mutex:
                file.fds[at] = fd
                file.made[at] |= not holds
                self._descriptors += 1
            if length <= holds:
                file.exact[at] = True
        return file.fds[at]

    def _make_exact(
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
            if file.zero_at[at] and not wanted[at] and self._tiers.replaced:
                self._replace(file, at)
            elif writes[at] and wanted[at]:
                self.descriptor(file, at, inode, wanted[at])
            elif (self._tiers.stores[at].length(inode.ino) or 0) <= wanted[at]:
                file.exact[at] = True
                if not wanted[at]:
                    with self._mutex:
                        self._let_go(file, [at])  # of an object that was lost
        if not all(file.exact[at] for at in looked):
            if not wait:
                raise WouldBlock
            self._cut(file, inode)
        file.cut &= not all(file.exact)

    def _replace(self, file: DirtyFile, at: int) -> None:
        """Take an object away that holds nothing of the file since it was truncated to 0."""
        each = Replaced(file.ino, file.zero_at[at] - 1)
        self._tiers.replaced[at].replace(each)
        self.replaced.append((at, each))
        with self._mutex:
            file.exact[at] = file.made[at] = True
            file.zero_at[at] = 0
            self._let_go(file, [at])

    def _cut(self, file: DirtyFile, inode: Inode) -> None:
        """Trim both objects, once the index that says how long they are survives a power cut."""
        self._index.sync()
        self._tiers.trim(inode)
        entered = self._files.get(inode.ino) is file
        if not entered:  # it is about to enter, with lengths that are believed
            for store, length in zip(self._tiers.stores, lengths_of(inode), strict=True):
                if length:
                    store.sync_data(inode.ino)
                else:
                    store.sync_removal(inode.ino)
        with self._index.transaction():
            self._index.pending_truncations.delete(inode.ino)
            if entered:
                self._set(file, file.lower, trusted=False)
        with self._mutex:
            self._exact(file, inode)

    def _exact(self, file: DirtyFile, inode: Inode) -> None:
        file.cut, file.exact, file.zero_at = False, [True, True], [0, 0]
        gone = [at for at in (FLASH, DISK) if not lengths_of(inode)[at]]
        for at in gone:
            file.made[at] = True
        self._let_go(file, gone)

    def trimmed(self, inode: Inode) -> None:
        """Both objects are as long as ``inode`` says; the caller holds its lock."""
        with self._mutex:
            if file := self._files.get(inode.ino):
                self._exact(file, inode)

    def spilled(self, ino: int) -> None:
        """The flash object was removed, since all of the file is on disk."""
        with self._mutex:
            if file := self._files.get(ino):
                self._let_go(file, [FLASH])

    def interrupted(self, ino: int) -> None:
        """A change failed half-way: bytes may lie behind the file's end."""
        if file := self._files.get(ino):
            file.cut, file.exact = True, [False, False]

    def distrust(self, ino: int) -> None:
        """An object may be longer than the file; inside a transaction."""
        if file := self._files.get(ino):
            self._set(file, file.lower, trusted=False)

    def check_flash(self, ino: int) -> None:
        """Sync the flash object, whose bytes are about to be copied: none that a device refused.

        Raises:
            OSError: it could not be synced; this sticks to the file.
        """
        file = self._files.get(ino)
        if file is None:
            return
        self._refuse_after_error(file)
        fd = self._duplicate(file, FLASH)
        try:
            if fd >= 0:
                self._tiers.flash.sync_data(ino, fd)
        except OSError as exc:
            self._stick(file, exc)
            raise
        finally:
            if fd >= 0:
                os.close(fd)

    def discard(self, inos: list[int]) -> None:
        """The inodes are gone; in the transaction that removes their rows."""
        with_row = []
        with self._mutex:
            for ino in inos:
                file = self._files.pop(ino, None)
                if file is None or file.row:
                    with_row.append(ino)
                if file is not None:
                    self._let_go(file, (FLASH, DISK))
        self._index.dirty.delete(*with_row)

    # ---------------------------------------------------------------- syncing

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
                self._refuse_after_error(file)
                if file.synced == file.version and not file.cut and not leave:
                    return
                if file.cut:
                    with self._locks.hold(ino):
                        inode = self._index.inodes.get(ino)
                        self._make_exact(file, inode, 0, wait=True, sync=True)
                file.shrunk_to = MAX_FILE_SIZE
                version, shrinks, was_cut = file.version, file.shrinks, file.cut
                inode = self._index.inodes.get(ino)
                try:
                    if file.synced != version:
                        self._sync_objects(file, inode)
                except FileNotFoundError as exc:
                    if self._moved(inode):
                        continue
                    raise Damage(ino, f"its {exc} object is missing") from None
                except ObjectLost as exc:
                    raise Damage(ino, str(exc)) from None
                if not self._moved(inode):
                    if leave:
                        self._spell_out(ino)
                    covered = Covered(file, version, inode.size, shrinks, was_cut)
                    self._settle([covered], leave=leave)
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
                self._blame(exc)
                raise

    def checkpoint(self) -> None:
        """Sync both tiers; all files that do not change meanwhile leave the set.

        Raises:
            OSError: as ``flush``; no file has left then.
        """
        self._store_touched()
        files = sorted(self._files.values(), key=attrgetter("ino"))
        covered = [self._covered(file) for file in files]
        self.flush()
        for start in range(0, len(covered), BATCH):
            self._settle(covered[start : start + BATCH], leave=True)

    def _store_touched(self) -> None:
        more = self._index.inodes.are_touched
        while more:
            with self._index.transaction():
                more = self._index.inodes.store_touched(BATCH)

    def close(self) -> None:
        """Close every descriptor."""
        with self._mutex:
            for file in self._files.values():
                self._let_go(file, (FLASH, DISK))
            self._files.clear()

    def _sync_objects(self, file: DirtyFile, inode: Inode) -> None:
        stores = self._tiers.stores
        for at, length in enumerate(object_lengths(inode.size, inode.prefix)):
            if not length:
                if file.made[at]:
                    self._sync_removal(file, at)
                continue
            fd = self._duplicate(file, at)
            held = fd >= 0
            if not held:
                try:
                    fd = stores[at].hold(inode.ino)
                except FileNotFoundError:
                    raise FileNotFoundError(stores[at].name) from None
            try:
                if stores[at].is_removed(fd):
                    raise FileNotFoundError(stores[at].name)
                try:
                    stores[at].sync_data(inode.ino, fd)
                    if file.made[at] or not held:
                        stores[at].sync_name(inode.ino)
                        file.made[at] = False
                except OSError as exc:
                    self._stick(file, exc)
                    raise
            finally:
                os.close(fd)

    def _sync_removal(self, file: DirtyFile, at: int) -> None:
        """Else a power cut may bring an object back, whose length would be believed."""
        try:
            self._tiers.stores[at].sync_removal(file.ino)
        except OSError as exc:
            self._stick(file, exc)
            raise
        file.made[at] = False

    def _moved(self, inode: Inode) -> bool:
        now = self._index.inodes.cached(inode.ino) or self._index.inodes.find(inode.ino)
        return now is not None and now.prefix != inode.prefix

    @staticmethod
    def _covered(file: DirtyFile) -> Covered:
        """What a sync that begins now makes durable."""
        return Covered(file, file.version, 0, file.shrinks, file.cut)

    def _settle(self, synced: list[Covered], *, leave: bool) -> None:
        """Note what was synced, and write what is noted in memory of it.

        Files that did not change meanwhile leave the set, where they may. Of one that somebody is
        changing only the synced size is noted.
        """
        left: list[DirtyFile] = []
        held: list[int] = []
        first = self._index.dirty.first
        before = [
            (each.file, each.file.lower, each.file.trusted, each.file.synced) for each in synced
        ]
        try:
            with self._index.transaction():
                for each in synced:
                    if self._files.get(each.file.ino) is each.file and not each.file.error:
                        self._settle_one(each, held, left if leave else None)
                if left:
                    self._index.dirty.delete(*(file.ino for file in left if file.row))
                    self._raise(synced[-1].file.ino + 1)
        except BaseException:
            self._index.dirty.first = first
            for file in left:
                self._files[file.ino] = file
            for file, lower, trusted, version in before:
                file.lower, file.trusted, file.synced = lower, trusted, version
            raise
        else:
            if left:
                with self._mutex:
                    for file in left:
                        self._let_go(file, (FLASH, DISK))
        finally:
            for ino in held:
                self._locks.release(ino)

    def _settle_one(self, synced: Covered, held: list[int], left: list[DirtyFile] | None) -> None:
        """``held`` gets its number if its lock is held now, and ``left`` the file if it leaves."""
        file, version, size, shrinks, was_cut = synced
        is_free = self._locks.try_acquire(file.ino)
        if is_free:
            held.append(file.ino)
        is_same = is_free and file.version == version and not file.cut
        self._index.inodes.store([file.ino])
        if is_same:
            file.synced = version
        if is_same and left is not None:
            del self._files[file.ino]
            left.append(file)
        else:
            # What was exact before the sync is so durably, if nothing was cut since.
            trusted = is_free and not was_cut and file.shrinks == shrinks and not file.cut
            lower = max(file.lower, min(size, file.shrunk_to))
            self._set(file, lower, trusted=trusted or file.trusted)

    def _spell_out(self, end: int) -> None:
        """Give files of the set with numbers before ``end`` rows, a few at a time."""
        dirty = self._index.dirty
        while dirty.first < end:
            first = dirty.first
            try:
                with self._index.transaction():
                    self._raise(min(dirty.first + BATCH, end))
            except BaseException:
                dirty.first = first
                raise

    def _raise(self, first: int) -> None:
        """Let files before the number ``first`` be in the set by their rows; in a transaction.

        All of them are known here: numbers grow, and a file is in the set before it is committed.
        """
        dirty = self._index.dirty
        if first > dirty.first:
            self._index.inodes.store_touched()
            dirty.raise_to(first, filter(None, map(self._spelled_out, range(dirty.first, first))))

    def _spelled_out(self, ino: int) -> DirtyRow | None:
        """The row that an inode gets, if it has none; None: it is not in the set."""
        file = self._files.get(ino)
        if file is not None:
            file.row = True
            return DirtyRow(ino, file.lower, file.error, int(file.trusted))
        lower = self._index.inodes.unreconciled.get(ino)
        return None if lower is None else DirtyRow(ino, lower, 0, 1)

    def _blame(self, exc: OSError) -> None:
        """Find the files whose bytes were not written: their own descriptors know."""
        for file in list(self._files.values()):
            with file.lock, suppress(FsError):
                try:
                    if file.blind:
                        raise exc
                    stores = self._tiers.stores
                    for at, store in enumerate(stores):
                        fd = self._duplicate(file, at)
                        if fd >= 0:
                            try:
                                store.sync_data(file.ino, fd)
                            finally:
                                os.close(fd)
                except OSError as found:
                    self._stick(file, found)

    def _stick(self, file: DirtyFile, exc: OSError) -> None:
        file.error = exc.errno or errno.EIO
        if self._locks.try_acquire(file.ino):  # a writer may be using them
            with self._mutex:
                self._let_go(file, (FLASH, DISK))
            self._locks.release(file.ino)
        self._failures.inc()
        inode = self._index.inodes.find(file.ino)
        where = path_of(self._index, inode) if inode else "(unlinked)"
        log.error(
            "%s: bytes could not be written to the device (%s): fsync fails until the file is "
            "truncated to 0 or replaced, or the volume is mounted again",
            where,
            exc.strerror,
        )
        with self._index.transaction():
            self._set(file, file.lower, trusted=file.trusted)
            self._index.dirty.set_error(file.ino, file.error)

    @staticmethod
    def _refuse_after_error(file: DirtyFile) -> None:
        if file.error:
            raise FsError(file.error, "an earlier sync of the file failed: its bytes may be lost")

    def _duplicate(self, file: DirtyFile, at: int) -> int:
        """A descriptor of a held object, which the caller closes; below 0: none is held.

        It shares the kernel's report of errors with the held one, which may be closed meanwhile.
        """
        with self._mutex:
            fd = file.fds[at]
            return os.dup(fd) if fd >= 0 else -1

    def _let_go(self, file: DirtyFile, which: Iterable[int]) -> None:
        for at in which:
            if file.fds[at] >= 0:
                os.close(file.fds[at])
                file.fds[at] = -1
                self._descriptors -= 1
