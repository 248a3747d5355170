"""Reclaim: free the objects of unlinked files and the ends of truncated ones.

Nothing is freed before the index without the name is durable: otherwise a power cut could bring
back a name whose bytes are deleted. Before the index, the bytes of all files are made durable:
otherwise a file that replaced another by a rename could be empty while the other is deleted. One
sync serves a whole batch, so freeing is delayed a little; when the disk is full, the writer that
noticed it frees the batch itself. A file with an in-flight migration is freed after that.
"""

from __future__ import annotations

import logging
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tierfs.common.metrics import Metrics
from tierfs.fs.dirty import DirtySet
from tierfs.fs.locks import WouldBlock
from tierfs.fs.lookup_counts import LookupCounts
from tierfs.fs.tiers import Tiers
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode
from tierfs.storage.replaced import Replaced

log = logging.getLogger(__name__)

BATCH = 1000
"""Inodes whose rows one transaction deletes: other requests wait that long at most."""


class Reclaimer:
    """Queues of inodes, and the work on them. Thread-safe."""

    def __init__(
        self,
        index: Index,
        tiers: Tiers,
        dirty: DirtySet,
        lookup_counts: LookupCounts,
        flush: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        """``flush`` syncs both tiers."""
        self._index = index
        self._tiers = tiers
        self._dirty = dirty
        self._forgotten = lookup_counts.forgotten
        self._flush = flush
        self._locks = dirty.locks
        self._migrations = self._locks.migrations
        self._reclaimed = metrics.reclaimed_files
        self._working = threading.Lock()
        self._mutex = threading.Lock()
        self._unlinked: set[int] = set()
        self._truncated: set[int] = set()

    def add_unlinked(self, ino: int) -> None:
        """The inode has no name, and the kernel does not know it: remove it."""
        with self._mutex:
            self._unlinked.add(ino)

    def add_truncation(self, ino: int) -> None:
        """The pending truncation of a file is committed: trim its objects."""
        with self._mutex:
            self._truncated.add(ino)

    def add_leftovers(self, *, kernel_knows: bool = False) -> tuple[int, int]:
        """Queue all that a crash left; returns how many inodes were unlinked, how many truncated.

        ``kernel_knows``: it may have unlinked inodes open, which are not queued.

        Raises:
            FsError: the index could not be read.
        """
        orphans = [] if kernel_knows else self._index.inodes.orphans()
        truncated = self._index.pending_truncations.all()
        with self._mutex:
            self._unlinked.update(orphans)
            self._truncated.update(truncated)
        return len(orphans), len(truncated)

    def is_idle(self) -> bool:
        """Whether nothing waits."""
        self._queue_forgotten()
        return not (self._unlinked or self._truncated or self._dirty.replaced)

    def drain(self) -> bool:
        """Free what is queued; returns whether there was anything.

        Inodes whose locks are held stay queued.

        Raises:
            FsError, OSError: the index could not be made durable or changed; all stays queued.
        """
        with self._working:
            self._queue_forgotten()
            with self._mutex:
                unlinked = {ino for ino in self._unlinked if not self._migrations.holds(ino)}
                truncated = {ino for ino in self._truncated if not self._migrations.holds(ino)}
                self._unlinked -= unlinked
                self._truncated -= truncated
            replaced = self._dirty.replaced.copy()
            try:
                nameless = [inode for inode in self._rows(unlinked) if not inode.nlink]
                return self._free(nameless, self._rows(truncated - unlinked), replaced)
            except BaseException:
                with self._mutex:
                    self._unlinked |= unlinked
                    self._truncated |= truncated
                raise

    def _queue_forgotten(self) -> None:
        """Some may have got a name since they were made without one."""
        with self._mutex:
            self._unlinked.update(self._forgotten())

    def _rows(self, numbers: set[int]) -> list[Inode]:
        """The inodes as the index has them, in their order, which is about disk order."""
        return [inode for ino in sorted(numbers) if (inode := self._index.inodes.find(ino))]

    def _free(
        self, unlinked: list[Inode], truncated: list[Inode], replaced: list[tuple[int, Replaced]]
    ) -> bool:
        if truncated or replaced or any(stat.S_ISREG(inode.mode) for inode in unlinked):
            self._flush()
            self._index.sync()
            self._index.feed.catch_up()
        for start in range(0, len(unlinked), BATCH):
            self._remove(unlinked[start : start + BATCH])
        for start in range(0, len(truncated), BATCH):
            self._trim(truncated[start : start + BATCH])
        for at, each in replaced:
            self._tiers.replaced[at].remove(each)
        del self._dirty.replaced[: len(replaced)]
        return bool(unlinked or truncated or replaced)

    def _remove(self, inodes: list[Inode]) -> None:
        with self._tiers.removal() as remove:
            freed = [inode.ino for inode in inodes if self._remove_objects(inode, remove)]
        with self._index.transaction():
            self._dirty.discard(freed)
            self._index.xattrs.delete_all(*freed)
            self._index.pending_truncations.delete(*freed)
            self._index.pins_and_requests.forget(*freed)
            self._index.checksums.delete(*freed)
            if adopted := [inode.ino for inode in inodes if inode.adopted]:
                self._index.originals.forget(*adopted)
            self._index.inodes.delete(*freed)
        self._reclaimed.inc(len(freed))

    def _remove_objects(self, inode: Inode, remove: Callable[[int], None]) -> bool:
        ino = inode.ino
        if not stat.S_ISREG(inode.mode):
            return True
        if not self._locks.try_acquire(ino):
            self.add_unlinked(ino)
            return False
        try:
            if self._migrations.holds(ino):
                self.add_unlinked(ino)
                return False
            remove(ino)
        except OSError as exc:
            _log_failure(inode, exc)
            return False
        finally:
            self._locks.release(ino)
        return True

    def _trim(self, inodes: list[Inode]) -> None:
        trimmed = [inode for inode in inodes if self._trim_objects(inode)]
        with self._index.transaction():
            for inode in trimmed:
                ino = inode.ino
                # A migration that began since may have left something as well.
                again = self._migrations.holds(ino) or ino in self._truncated
                if self._is_unchanged(inode) and not again:
                    self._index.pending_truncations.delete(ino)
                else:
                    self.add_truncation(ino)

    def _trim_objects(self, inode: Inode) -> bool:
        """Trim to what was made durable, unless the file has changed since; then later."""
        try:
            with self._held(inode.ino):
                if self._is_unchanged(inode):
                    self._tiers.trim(inode)
                    self._dirty.trimmed(inode)
        except WouldBlock:
            self.add_truncation(inode.ino)
            return False
        except OSError as exc:
            _log_failure(inode, exc)
            return False
        return True

    @contextmanager
    def _held(self, ino: int) -> Iterator[None]:
        """Hold an inode that is neither held nor migrated, else raise ``WouldBlock``."""
        with self._locks.hold(ino, wait=False):
            if self._migrations.holds(ino):
                raise WouldBlock
            yield

    def _is_unchanged(self, inode: Inode) -> bool:
        current = self._index.inodes.find(inode.ino)
        return current is not None and current.version == inode.version


def _log_failure(inode: Inode, exc: OSError) -> None:
    log.warning(
        "inode %d: its objects could not be freed (%s); the next mount tries again", inode.ino, exc
    )
