"""The dirty set: files whose bytes changed since they were last synced.

An inode enters the set with its first change of bytes, in the transaction that stores the new
size, and leaves it when its objects have been synced and no byte has changed since. So:

* fsync(2): only objects of a dirty file are synced. It makes no promise about any other file.
* recovery: after an unclean end the lengths of its objects are the size of a dirty file. For all
  others the index is right, and a short object is damage.
* errors: the kernel reports a failed write-back once to each open descriptor, and forgets it with
  its inode (https://docs.kernel.org/filesystems/vfs.html, "Handling errors during writeback"). So a
  dirty file keeps a descriptor of each object that was written, and an error sticks to the file.

Before an object shrinks, the index that says so is synced. Before bytes are added to one, it is as
long as the index says: else what lies behind the end would become part of the file after a crash.
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

from tierfs.base.errors import Damage, FsError
from tierfs.base.metrics import Metrics
from tierfs.core.locks import InodeLocks, WouldBlock
from tierfs.core.paths import path_of
from tierfs.core.tiers import Held, Tiers, lengths_of
from tierfs.index.index import Index
from tierfs.index.inodes import Inode
from tierfs.store.objects import ObjectLost

log = logging.getLogger(__name__)

FLASH, DISK = 0, 1
DESCRIPTOR_SHARE = 3
"""A third of the descriptors that the process may open is for dirty files."""
MOST_DESCRIPTORS = 16_384
BATCH = 500
"""Rows changed in one transaction: other requests wait that long at most."""


class Unreconciled(WouldBlock):
    """The size of a dirty file must be found first: call ``DirtySet.reconcile``, and try again."""

    def __init__(self, ino: int) -> None:
        super().__init__()
        self.ino = ino


class DirtyFile:
    """One inode of the set. Its descriptors are closed under ``DirtySet``'s mutex only."""

    __slots__ = (
        "before",
        "blind",
        "cut",
        "error",
        "exact",
        "held",
        "ino",
        "lock",
        "lower",
        "shrunk_to",
        "size",
        "version",
    )

    def __init__(self, ino: int, lower: int) -> None:
        self.ino = ino
        self.lower = lower
        """Bytes that are synced, as in the row."""
        self.size = self.version = 0
        """As of the last change."""
        self.shrunk_to = lower
        """The smallest size since a sync began: what it made durable may be gone behind that."""
        self.cut = False
        """Whether an object is longer than the index says, and has to be trimmed."""
        self.exact = [False, False]
        """Whether the length of each object is known to be what the index says."""
        self.held = Held()
        self.blind = False
        """Whether bytes may be lost that no descriptor in ``held`` would report."""
        self.error = 0
        self.before: tuple[int, int] | None = None
        """``lower`` and ``error`` before a change that is not committed; None: not in the set."""
        self.lock = threading.Lock()
        """Held by the one that syncs."""


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
        return self._descriptors >= self._limit // 2

    @property
    def full(self) -> bool:
        """Whether no further descriptor may be held: the next change waits for a sync of all."""
        return self._descriptors >= self._limit

    # ---------------------------------------------------------------- after an unclean end

    def load(self) -> int:
        """Take over the set that an earlier mount left; returns how many files are in it.

        Each is reconciled before its row is used, or by ``reconcile``.
        """
        rows = self._index.dirty.all()
        if rows:
            self._left_cut.update(self._index.cuts.all())
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

        The index's size is an upper bound: bytes behind it are of a write that never returned, or
        of a truncation that was not carried out. What was synced is a lower bound: an object that
        is shorter is damage.

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
            inode = self._index.inodes.stored(ino)
            cut = ino in self._left_cut
            size = None
            if inode is not None and stat.S_ISREG(inode.mode):
                size = max(min(self._found_size(inode), inode.size), lower)
            if self._index.read_only:
                if size is not None:
                    self._index.inodes.sizes[ino] = size
                    self._index.inodes.forget_cached()
                del self._index.inodes.unreconciled[ino]
                return
            with self._index.transaction():
                row = self._index.inodes.stored(ino)
                if row is not None and size is not None:
                    if row.mirrored and size <= row.prefix:
                        self._index.cuts.add(ino)  # its mirror is an object too many
                        cut = True
                    sparse = int(size > 0 and (row.sparse or size != row.size))
                    row = row._replace(
                        size=size, version=row.version + 1, mirrored=0, sparse=sparse
                    )
                    self._index.inodes.update(row)
                    file = DirtyFile(ino, lower)
                    file.size, file.version, file.cut = size, row.version, cut
                    file.before = lower, 0
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
        stores = self._tiers.flash, self._tiers.disk
        for at, length in enumerate(lengths_of(row)):
            if length:
                with suppress(FileNotFoundError, ObjectLost), self._mutex:
                    file.held.fds[at], file.held.made[at] = stores[at].hold(file.ino), True
                    self._descriptors += 1

    def _found_size(self, inode: Inode) -> int:
        """What the objects hold: a head that is short of the prefix ends the file."""
        if inode.prefix:
            head = self._tiers.flash.length(inode.ino) or 0
            if head < inode.prefix:
                return head
        return max(inode.prefix, self._tiers.disk.length(inode.ino) or 0)

    # ---------------------------------------------------------------- changes, under inode locks

    def enter(self, row: Inode, size: int) -> DirtyFile:
        """The bytes of a file change, and it then has ``size``; in the transaction of the change.

        ``row`` is the inode before. If the transaction fails, call ``undo``, else ``keep``.
        """
        file = self._files.get(row.ino)
        if file is None:
            lower = min(row.size, size)
            self._index.dirty.insert(row.ino, lower)
            file = self._files[row.ino] = DirtyFile(row.ino, lower)
        else:
            file.before = file.lower, file.error
            if size < file.lower:
                self._index.dirty.set_size(row.ino, size)
                file.lower = size
        if size < row.size:
            file.cut, file.exact = True, [False, False]
        if not size and file.error:
            self._index.dirty.set_error(row.ino, 0)
            file.error = 0  # what could not be written is not part of the file any more
        file.shrunk_to = min(file.shrunk_to, size)
        file.size, file.version = size, row.version + 1
        return file

    def undo(self, file: DirtyFile) -> None:
        """The transaction of a change was rolled back."""
        file.cut, file.exact = True, [False, False]
        if file.before is None:
            self._files.pop(file.ino, None)
        else:
            file.lower, file.error = file.before

    def keep(self, file: DirtyFile, held: Held) -> None:
        """A change was committed: keep the descriptors that it has opened, for the next sync."""
        with self._mutex:
            file.before = file.lower, file.error
            current = self._files.get(file.ino) is file
            for at in (FLASH, DISK):
                if held.fds[at] < 0:
                    continue
                file.held.made[at] |= held.made[at]
                file.exact[at] = True
                if current and file.held.fds[at] < 0:
                    file.held.fds[at], held.fds[at] = held.fds[at], -1
                    self._descriptors += 1

    def make_exact(self, inode: Inode, end: int, *, wait: bool, sync: bool = False) -> None:
        """Trim what the objects hold behind the file's end, before bytes up to ``end`` are written.

        The disk object is looked at only where its length counts: where the file reaches beyond its
        prefix. ``sync``: the file is about to be synced, and both are looked at.

        Raises:
            WouldBlock: the disk must be asked, or an object trimmed, and ``wait`` is False.
            OSError: an object could not be looked at or trimmed.
        """
        if not (inode.size or inode.version):
            return  # it never had a byte
        file = self._files.get(inode.ino)
        exact = file.exact if file else [False, False]
        needed = [inode.prefix > 0, sync or max(inode.size, end) >= inode.prefix]
        looked = [at for at in (FLASH, DISK) if needed[at] and not exact[at]]
        if not looked:
            return
        if DISK in looked and not wait:
            raise WouldBlock
        wanted = lengths_of(inode)
        stores = self._tiers.flash, self._tiers.disk
        longer = [at for at in looked if (stores[at].length(inode.ino) or 0) > wanted[at]]
        if longer:
            if not wait:
                raise WouldBlock
            self._index.sync()
            self._tiers.trim(inode)
            looked = [FLASH, DISK]
            self.trimmed(inode)
            with self._index.transaction():
                self._index.cuts.delete(inode.ino)
        if file:
            for at in looked:
                file.exact[at] = True
            file.cut &= not all(file.exact)

    def trimmed(self, inode: Inode) -> None:
        """Both objects are as long as ``inode`` says; the caller holds its lock."""
        with self._mutex:
            if file := self._files.get(inode.ino):
                file.cut, file.exact = False, [True, True]
                self._let_go(file, [at for at in (FLASH, DISK) if not lengths_of(inode)[at]])

    def spilled(self, ino: int) -> None:
        """The flash object was removed, since all of the file is on disk."""
        with self._mutex:
            if file := self._files.get(ino):
                self._let_go(file, [FLASH])

    def interrupted(self, ino: int) -> None:
        """A change failed half-way: bytes may lie behind the file's end."""
        if file := self._files.get(ino):
            file.cut, file.exact = True, [False, False]

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
        with self._mutex:
            for ino in inos:
                if (file := self._files.pop(ino, None)) is not None:
                    self._let_go(file, (FLASH, DISK))
        self._index.dirty.delete(*inos)

    # ---------------------------------------------------------------- syncing

    def sync(self, ino: int) -> None:
        """Sync the objects of a file, which then leaves the set unless it changed meanwhile.

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
                inode = self._index.inodes.get(ino)
                if file.cut:
                    with self._locks.hold(ino):
                        inode = self._index.inodes.get(ino)
                        self.make_exact(inode, 0, wait=True, sync=True)
                file.shrunk_to = inode.size
                inode = self._index.inodes.get(ino)
                try:
                    self._sync_objects(file, inode)
                except FileNotFoundError as exc:
                    if self._moved(inode):
                        continue
                    raise Damage(ino, f"its {exc} object is missing") from None
                except ObjectLost as exc:
                    raise Damage(ino, str(exc)) from None
                if not self._moved(inode):
                    self._settle([(file, inode.version, inode.size)])
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
            OSError: as ``flush``; the files that are synced all the same have left.
        """
        covered = [(file, file.version, 0) for file in list(self._files.values())]
        try:
            self.flush()
        finally:
            for start in range(0, len(covered), BATCH):
                self._settle(covered[start : start + BATCH])

    def close(self) -> None:
        """Close every descriptor."""
        with self._mutex:
            for file in self._files.values():
                self._let_go(file, (FLASH, DISK))
            self._files.clear()

    def _sync_objects(self, file: DirtyFile, inode: Inode) -> None:
        stores = self._tiers.flash, self._tiers.disk
        for at, length in enumerate(lengths_of(inode._replace(mirrored=0))):
            if not length:
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
                    if file.held.made[at] or not held:
                        stores[at].sync_name(inode.ino)
                        file.held.made[at] = False
                except OSError as exc:
                    self._stick(file, exc)
                    raise
            finally:
                os.close(fd)

    def _moved(self, inode: Inode) -> bool:
        now = self._index.inodes.find(inode.ino)
        return now is not None and now.prefix != inode.prefix

    def _settle(self, synced: list[tuple[DirtyFile, int, int]]) -> None:
        """Take files, of which so many bytes are synced, out of the set if they did not change."""
        left: list[DirtyFile] = []
        try:
            with self._index.transaction():
                for file, version, size in synced:
                    if self._files.get(file.ino) is not file or file.error:
                        continue
                    if file.version == version and not file.cut:
                        self._index.dirty.delete(file.ino)
                        del self._files[file.ino]
                        left.append(file)
                    elif (lower := min(size, file.shrunk_to)) > file.lower:
                        self._index.dirty.set_size(file.ino, lower)
                        file.lower = lower
        except BaseException:
            for file in left:
                self._files[file.ino] = file
            raise
        with self._mutex:
            for file in left:
                self._let_go(file, (FLASH, DISK))

    def _blame(self, exc: OSError) -> None:
        """Find the files whose bytes were not written: their own descriptors know."""
        for file in list(self._files.values()):
            with file.lock, suppress(FsError):
                try:
                    if file.blind:
                        raise exc
                    stores = self._tiers.flash, self._tiers.disk
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
        with self._mutex:
            self._let_go(file, (FLASH, DISK))
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
            fd = file.held.fds[at]
            return os.dup(fd) if fd >= 0 else -1

    def _let_go(self, file: DirtyFile, which: Iterable[int]) -> None:
        for at in which:
            if file.held.fds[at] >= 0:
                os.close(file.held.fds[at])
                file.held.fds[at] = -1
                self._descriptors -= 1
