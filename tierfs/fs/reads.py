"""Reading the bytes of files: beside migrations, from the mirror, and what damage means.

A read takes no lock. It can meet a migration: then the prefix has changed when it ends, and it is
repeated. Damage counts only if the data version is still the same.
"""

from __future__ import annotations

import errno
import logging
import stat
from collections.abc import Callable
from typing import TypeVar

from tierfs.common.errors import ChangedOutside, Damage, FsError, errno_of
from tierfs.common.extents import Extent, clip
from tierfs.common.metrics import Metrics
from tierfs.fs.activity import Activity
from tierfs.fs.tiers import Tiers
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode

log = logging.getLogger(__name__)
T = TypeVar("T")


class Reads:
    """Bytes by inode number; offsets and sizes in bytes. Thread-safe.

    With ``wait=False`` a read that would wait for the disk raises ``WouldBlock`` instead.

    Raises from every method:
        FsError: ESTALE no such inode, EISDIR or EINVAL no regular file, EIO damage.
        OSError: a call on a backing directory failed.
    """

    def __init__(
        self,
        index: Index,
        tiers: Tiers,
        activity: Activity,
        note_changed: Callable[[ChangedOutside], None],
        metrics: Metrics,
    ) -> None:
        """``note_changed`` logs and counts originals that were changed outside."""
        self._index = index
        self._tiers = tiers
        self.activity = activity
        self._note_changed = note_changed
        self._damage = metrics.damage
        self._mirror_reads = metrics.mirror_reads

    def read(self, ino: int, offset: int, length: int, *, wait: bool = True) -> bytes:
        """The bytes at ``offset``; fewer than ``length`` only at the end of the file."""
        extent = Extent(offset, length)
        data = self.unless_migrated(
            ino, lambda inode: self.load(inode, clip(extent, inode.size), wait=wait)
        )
        self.activity.read(ino, len(data))
        return data

    def load(self, inode: Inode, extent: Extent, *, wait: bool) -> bytes:
        """The bytes of an extent; from the mirror, if the file has one and reading flash fails."""
        try:
            return self._tiers.read(inode, extent, wait=wait)
        except (Damage, OSError) as exc:
            is_ours = inode.mirrored and not isinstance(exc, ChangedOutside)
            if not is_ours or errno_of(exc) != errno.EIO:
                raise
            if isinstance(exc, Damage) and not self._is_unchanged(inode):
                raise
            data = self._tiers.read(inode._replace(prefix=0), extent, wait=wait)
            self._mirror_reads.inc()
            log.warning("%s: read from its mirror on disk: %s", self._index.path_of(inode), exc)
            return data

    def unless_migrated(self, ino: int, operation: Callable[[Inode], T]) -> T:
        """Run ``operation``; if the file was migrated meanwhile, ignore damage and repeat it."""
        while True:
            inode = self.file(ino)
            try:
                result = operation(inode)
            except Damage as exc:
                if self._is_unchanged(inode):
                    self.report(inode, exc)
                    raise
            else:
                # A read that meets the end of an object being shortened may find zeros before it.
                now = self._index.inodes.find(ino)
                if now is None or now.prefix == inode.prefix:
                    return result

    def _is_unchanged(self, inode: Inode) -> bool:
        return self._index.inodes.get(inode.ino).version == inode.version

    def file(self, ino: int) -> Inode:
        """The inode of a regular file."""
        inode = self._index.inodes.get(ino)
        if not stat.S_ISREG(inode.mode):
            raise FsError(errno.EISDIR if stat.S_ISDIR(inode.mode) else errno.EINVAL)
        return inode

    def report(self, inode: Inode, exc: Damage) -> None:
        """Log and count damage, or that the original of an adopted file was changed."""
        if isinstance(exc, ChangedOutside):
            self._note_changed(exc)
            return
        self._damage.inc()
        log.error("%s: %s", self._index.path_of(inode), exc)
