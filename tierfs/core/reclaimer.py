"""Frees what nobody can read any more: objects of unlinked files, ends of truncated ones.

Nothing is freed before the index that says so is durable: else a power cut could bring back a
name whose bytes are gone. One sync serves a whole batch, so freeing lags a little behind; when
the disk is full, the writer that noticed frees the batch itself.
"""

from __future__ import annotations

import logging
import stat
import threading

from tierfs.base.metrics import Metrics
from tierfs.core.locks import InodeLocks, WouldBlock
from tierfs.core.tiers import Tiers
from tierfs.index.index import Index
from tierfs.index.inodes import Inode

log = logging.getLogger(__name__)

BATCH = 1000
"""Inodes whose rows one transaction deletes: other requests wait that long at most."""


class Reclaimer:
    """A queue of inodes and the one who works it off. Thread-safe."""

    def __init__(self, index: Index, tiers: Tiers, locks: InodeLocks, metrics: Metrics) -> None:
        self._index = index
        self._tiers = tiers
        self._locks = locks
        self._reclaimed = metrics.reclaimed_files
        self._working = threading.Lock()
        self._mutex = threading.Lock()
        self._queue: set[int] = set()

    def add(self, ino: int) -> None:
        """The inode was unlinked and forgotten, or truncated: free what it does not need."""
        with self._mutex:
            self._queue.add(ino)

    def add_orphans(self) -> int:
        """Queue every unlinked inode of the index, as after a crash; returns how many."""
        orphans = self._index.inodes.orphans()
        with self._mutex:
            self._queue.update(orphans)
        return len(orphans)

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._queue

    def drain(self) -> bool:
        """Free everything queued, but inodes that are locked; tells whether there was anything.

        Raises:
            FsError, OSError: the index could not be made durable; nothing was freed.
        """
        with self._working:
            inodes = [inode for ino in self._take() if (inode := self._index.inodes.find(ino))]
            if any(stat.S_ISREG(inode.mode) for inode in inodes):
                self._index.sync()
            for start in range(0, len(inodes), BATCH):
                self._free(inodes[start : start + BATCH])
            return bool(inodes)

    def _take(self) -> list[int]:
        """The queue in inode order, which is about disk order; it is empty afterwards."""
        with self._mutex:
            queue, self._queue = sorted(self._queue), set()
            return queue

    def _free(self, inodes: list[Inode]) -> None:
        freed = [inode.ino for inode in inodes if self._free_objects(inode) and inode.nlink == 0]
        with self._index.transaction():
            for ino in freed:
                self._index.xattrs.delete_all(ino)
                self._index.inodes.delete(ino)
        self._reclaimed.inc(len(freed))

    def _free_objects(self, inode: Inode) -> bool:
        if not stat.S_ISREG(inode.mode):
            return True
        try:
            with self._locks.hold(inode.ino, wait=False):
                current = self._index.inodes.find(inode.ino) or inode
                (self._tiers.remove if current.nlink == 0 else self._tiers.trim)(current)
        except WouldBlock:
            self.add(inode.ino)
            return False
        except OSError as exc:
            log.warning(
                "inode %d: its objects could not be freed (%s); the next mount tries again",
                inode.ino,
                exc,
            )
            return False
        return True
