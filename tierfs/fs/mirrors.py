"""Mirrors of files that change: made for an fsync, ended before they are older than the file.

A mirror is a copy of the head in the file's own disk object. The policy can require that synced
bytes are on disk as well (``mirror: sync``). Then fsync(2) makes the mirror before it returns, and
a write to a mirrored head spills the head to disk: synced bytes are never on flash alone.

Before mirrored bytes change, the index that says that there is no mirror is synced. Otherwise a
power cut could bring back a mirror that is older than the file.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping
from typing import Final

from tierfs.common.errors import FsError
from tierfs.fs.dirty import DirtySet
from tierfs.fs.migration_plan import Migrated
from tierfs.fs.tiers import Tiers, lengths_of
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode

PAUSES_S: Final = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Between attempts to mirror a file that changes meanwhile; after the last it is spilled."""

REFUSED: Final[Mapping[str, int]] = {"no-room": errno.ENOSPC, "failed": errno.EIO}
"""The errno of an fsync whose file cannot be mirrored, by the outcome."""


class Mirrors:
    """Mirrors by inode number. Thread-safe.

    Raises from every method:
        FsError: the index failed, ENOSPC the disk is full, EIO it failed, as the log says.
        OSError: a call on a backing directory failed.
    """

    def __init__(
        self,
        index: Index,
        tiers: Tiers,
        dirty: DirtySet,
        *,
        mirror: Callable[[int], Migrated],
        sync_flash: Callable[[int], None],
        add_truncation: Callable[[int], None],
    ) -> None:
        """What others do for an inode: copy its head to disk, sync its flash object, trim it."""
        self._index = index
        self._tiers = tiers
        self._dirty = dirty
        self._locks = dirty.locks
        self._sync_flash = sync_flash
        self._add_truncation = add_truncation
        self._mirror = mirror
        self.at_sync: Callable[[int], bool] = lambda _: False
        """Whether synced bytes of a file must be on disk as well; set by the tiering engine."""

    def ensure(self, ino: int) -> None:
        """Make the disk hold all of a file, durably; it may be written or migrated meanwhile."""
        for pause in PAUSES_S:
            row = self._index.inodes.find(ino)
            if row is None or row.mirrored or not lengths_of(row).flash:
                break
            outcome = self._mirror(ino).outcome
            if outcome in REFUSED:
                raise FsError(REFUSED[outcome])
            if outcome != "changed":
                break
            time.sleep(pause)
        else:
            with self._locks.hold(ino):
                self._locks.migrations.invalidate(ino)
                inode = self._index.inodes.get(ino)
                if not inode.mirrored and lengths_of(inode).flash:
                    self.spill(inode, mirrored=False)
        self._index.sync()

    def end(self, inode: Inode) -> Inode:
        """Store durably that there is no mirror; returns the inode after that.

        The caller holds the inode's lock.
        """
        ino = inode.ino
        version = self._store(ino, 0)
        if inode.size <= inode.prefix:
            self._add_truncation(ino)
        try:
            self._index.sync()
        except FsError:
            # No byte was changed: the mirror is as good as it was, and the next write asks again.
            self._store(ino, 1)
            raise
        return inode._replace(mirrored=0, version=version)

    def spill(self, inode: Inode, *, mirrored: bool) -> Inode:
        """Move the head to disk; returns the inode after that.

        The caller holds the inode's lock. ``mirrored``: the mirror has the head as it was before
        the write that spills it, and the write puts all that it changes there again.
        """
        ino = inode.ino
        with self._index.transaction():
            self._index.pending_truncations.add(ino)  # whichever copy is superfluous in the end
        self._add_truncation(ino)
        self._sync_flash(ino)
        if not (mirrored and self._tiers.mirror_is_whole(inode)):
            self._tiers.spill(inode)
        with self._index.transaction():
            row = self._index.inodes.get(ino)
            row = row._replace(prefix=0, mirrored=0, version=row.version + 1)
            self._index.inodes.update(row)
            self._dirty.distrust(ino)  # the disk object may have been longer than the file
        self._index.sync()
        if not inode.mirrored:
            self._index.feed.catch_up()
        self._tiers.flash.remove(ino)
        self._dirty.spilled(ino)
        return row

    def _store(self, ino: int, mirrored: int) -> int:
        """Note whether there is a mirror; without it, its object may be superfluous.

        Returns the new data version, for which no checksum holds.
        """
        with self._index.transaction():
            row = self._index.inodes.get(ino)
            if row.size <= row.prefix:
                self._index.pending_truncations.add(ino)
            version = row.version + 1
            self._index.inodes.change(row, mirrored=mirrored, version=version)
        return version
