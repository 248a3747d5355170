"""What a writable mount does after an unclean end, before and beside its work.

* Objects that a truncation replaced are put back, if a power cut undid the truncation.
* Each file of the dirty set that the last mount left is reconciled: its size is taken from the
  lengths of its objects. This is done at the first use of the file, or by ``reconcile_all`` in the
  background: a mount must not wait for a cold disk.
* Unlinked files without a name and pending truncations are given to the reclaimer.
"""

from __future__ import annotations

import logging
import stat
import threading
from collections.abc import Callable

from tierfs.fs.dirty import DirtyFile, DirtySet
from tierfs.fs.locks import InodeLocks, WouldBlock
from tierfs.fs.reclaim import Reclaimer
from tierfs.fs.tiers import Tiers
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode
from tierfs.storage.replaced import to_put_back

log = logging.getLogger(__name__)

RECOVERED_AT_ONCE = 256
"""Files that a mount after an unclean end looks at before it answers."""


class Unreconciled(WouldBlock):
    """The size of a dirty file must be found first: call ``Recovery.reconcile``, and try again."""

    def __init__(self, ino: int) -> None:
        super().__init__()
        self.ino = ino


class Recovery:
    """Recovers one volume. Thread-safe.

    Raises from every method:
        FsError: the index could not be read, written or synced.
        OSError: a call on a backing directory failed.
    """

    def __init__(self, index: Index, tiers: Tiers, dirty: DirtySet, reclaimer: Reclaimer) -> None:
        self._index = index
        self._tiers = tiers
        self._dirty = dirty
        self._reclaimer = reclaimer
        self._reconciling = InodeLocks()
        self._bounded: set[int] = set()
        """Inodes that an earlier mount may have left in the set, whose lengths are not trusted."""
        self._truncated: set[int] = set()
        """Inodes with a truncation that an earlier mount did not carry out."""
        self.never_wait: set[int] = set()
        """Identifiers of the threads that serve everybody: a disk must not hold them up."""

    def run(self, *, kernel_knows: bool = False) -> None:
        """Take over what a crash left, and log that.

        ``kernel_knows``: files that were unlinked while they were open are not freed, since
        programs may still have them open. A little is worked off at once. Of much, each file waits
        for its first use, or for ``reconcile_all`` and the reclaimer in the background. A read-only
        mount changes nothing.
        """
        self._put_back()
        dirty = self._load()
        if self._index.read_only:
            return
        orphans, truncated = self._reclaimer.add_leftovers(kernel_knows=kernel_knows)
        if dirty <= RECOVERED_AT_ONCE:
            self.reconcile_all()
        if orphans + truncated <= RECOVERED_AT_ONCE:
            self._reclaimer.drain()
        if not self._index.was_closed:
            log.info(
                "the volume was not closed by an unmount, or its index was restored: "
                "it is recovered; "
                "%d files were not synced, %d were unlinked while open",
                dirty,
                orphans,
            )

    @property
    def unreconciled(self) -> list[int]:
        """The inodes that are still to be reconciled."""
        return sorted(self._index.inodes.unreconciled)

    def reconcile_all(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Find the size of every dirty file that an unclean end left, until ``stop`` says so.

        What cannot be looked at is logged, and waits for its first use.
        """
        for ino in self.unreconciled:
            if stop():
                return
            try:
                self.reconcile(ino)
            except OSError as exc:
                log.warning("inode %d: its size is not known yet: %s", ino, exc)

    def reconcile(self, ino: int) -> None:
        """Reconcile a file: take its size from the lengths of its objects; a second time a no-op.

        What was synced is a lower bound: an object that is shorter is damage. Where lengths are not
        trusted the index's size is an upper bound: bytes past it are of a truncation that was not
        carried out.

        The times of a write that is not in the index are taken from the objects.

        Raises:
            Unreconciled: in a thread of ``never_wait``.
        """
        if threading.get_ident() in self.never_wait:
            raise Unreconciled(ino)
        with self._reconciling.hold(ino):
            synced_size = self._index.inodes.unreconciled.get(ino)
            if synced_size is None:
                return
            inode = self._index.inodes.known(ino)
            bounded = ino in self._bounded
            needs_trim = bounded or ino in self._truncated
            size, changed = None, 0
            if inode is not None and stat.S_ISREG(inode.mode):
                found, changed = self._found(inode)
                size = max(min(found, inode.size) if bounded else found, synced_size)
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
                        needs_trim = True
                    sparse = int(size > 0 and (row.sparse or size != row.size))
                    row = row._replace(
                        size=size, version=row.version + 1, mirrored=0, sparse=sparse
                    )
                    if changed > row.ctime:
                        row = row._replace(mtime=changed, ctime=changed)
                    self._index.inodes.update(row)
                    file = DirtyFile(ino, synced_size)
                    file.version, file.needs_trim = row.version, needs_trim
                    file.trusted = False  # what a device lost may have made an object longer
                    file.undo_state = synced_size, 0, False
                    self._index.dirty.put(ino, synced_size, exact=False)
                    self._dirty.adopt(file, row)
                else:
                    self._index.dirty.delete(ino)
                del self._index.inodes.unreconciled[ino]

    def _put_back(self) -> None:
        """Undo, of objects, truncations that a power cut took back; the others are freed."""
        for at, objects in enumerate(self._tiers.replaced):
            found = objects.all()
            wanted = to_put_back(found, self._index.version_of)
            if wanted and self._index.read_only:
                log.warning(
                    "%d files cannot be read before the volume is mounted to be written: "
                    "a power cut took back their truncation",
                    len(wanted),
                )
                return
            for each in wanted:
                objects.put_back(each)
                # Of the other object there may be one that only the newer content had.
                self._bounded.add(each.ino)
            self._dirty.replaced.extend((at, each) for each in found if each not in wanted)

    def _load(self) -> int:
        """Take over the dirty set that an earlier mount left; returns how many files are in it.

        Each is reconciled before its row is used.
        """
        dirty = self._index.dirty
        rows = dirty.all()
        self._index.inodes.recover_times()
        if not rows or rows[-1].ino < dirty.first:
            dirty.first = max(dirty.first, self._index.made_from)
        if rows:
            self._bounded.update(row.ino for row in rows if not row.exact)
            self._truncated.update(self._index.pending_truncations.all())
            if not self._index.read_only:
                with self._index.transaction():
                    self._index.dirty.forget_errors()
            self._index.inodes.unreconciled.update((row.ino, row.size) for row in rows)
            self._index.inodes.reconcile = self.reconcile
        return len(rows)

    def _found(self, inode: Inode) -> tuple[int, int]:
        """What the objects hold, and when one was changed last: a short head ends the file."""
        head, head_changed = self._tiers.flash.length_and_mtime(inode.ino)
        if inode.prefix and head < inode.prefix:
            return head, head_changed
        tail, tail_changed = self._tiers.disk.length_and_mtime(inode.ino)
        return max(inode.prefix, tail), max(head_changed, tail_changed)
