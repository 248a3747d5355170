"""Adopted files: their disk object is somebody else's file, which stays in use.

The index knows size, mtime and ctime of such an *original* (``tierfs/metadata/adopted.py``), and
the disk object is the whole file: with a head on flash it is the mirror. It is

* never changed by tierfs: before the first change of a byte the inode gets an object of its own, by
  copy-up, and is no longer adopted. So an adopted file is never in the dirty set. A truncation to 0
  only unlinks the original. Names and attributes are in the index alone.
* checked before and after each read, by one descriptor. A change of the original shows in its size
  or its mtime, which write(2) updates before it writes a byte: *changed outside* is EIO, until
  ``refresh`` takes the new state.

The ctime changes with the owner, mode, links and attributes of the original as well. If only the
ctime differs, the head on flash is compared with the original, and the new ctime is stored. Without
a head the size and the mtime decide.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from tierfs.common.errors import ChangedOutside, Damage, FsError, IndexFailed
from tierfs.common.extents import Extent
from tierfs.common.metrics import Metrics
from tierfs.common.times import from_stored, nearest
from tierfs.fs.dirty import DirtySet
from tierfs.fs.tiers import COPY_CHUNK, Tiers, lengths_of, load
from tierfs.metadata.adopted import Original, original_of
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode
from tierfs.storage.objects import ObjectLost

log = logging.getLogger(__name__)

REMEMBERED: Final = 1000
"""Files changed outside that are listed; of more, only the number is known."""


class SharedObjects:
    """The disk objects of adopted files. Thread-safe.

    Raises from every method:
        FsError: ChangedOutside, the original was changed; Damage, it is missing; IndexFailed.
        OSError: a call on a backing directory failed.
    """

    def __init__(self, index: Index, tiers: Tiers, dirty: DirtySet, metrics: Metrics) -> None:
        self._index = index
        self._tiers = tiers
        self._dirty = dirty
        self._disk = tiers.disk
        self._changes = metrics.changed_outside
        self._mutex = threading.Lock()
        self._changed: dict[int, None] = {}
        tiers.read_adopted = self.read

    @property
    def changed(self) -> list[int]:
        """The first inodes that were found changed outside since the mount."""
        with self._mutex:
            return list(self._changed)

    def read(self, inode: Inode, extent: Extent) -> bytes:
        """Every byte of an extent from the disk object; it did not change during the read."""
        with self._unchanged(inode) as fd:
            data = b""
            while len(data) < extent.length:
                offset = extent.offset + len(data)
                more = self._disk.call("pread", os.pread, fd, extent.end - offset, offset)
                if not more:
                    raise ChangedOutside(inode.ino, f"its original ends at byte {offset}")
                data += more
        return data

    def check(self, inode: Inode) -> None:
        """Raise ``ChangedOutside`` if the original has changed."""
        with self._unchanged(inode):
            pass

    def copy_up(self, inode: Inode) -> Inode:
        """Give an adopted file a disk object of its own, or none if all of it is on flash.

        The caller holds the inode's lock, and has invalidated its migration. Returns the inode.
        """
        ino = inode.ino
        if lengths_of(inode._replace(mirrored=0)).disk:
            with self._unchanged(inode):
                self._disk.separate(ino)
            with self._index.transaction():
                row = self._index.originals.release(self._index.inodes.get(ino))
                row = self._index.inodes.change(row, version=row.version + 1)
        else:  # what is on disk is a mirror, which the change would end
            with self._index.transaction():
                row = self._index.originals.release(self._index.inodes.get(ino))
                self._index.pending_truncations.add(ino)
                row = self._index.inodes.change(row, mirrored=0, version=row.version + 1)
            self._index.sync()
        self._forget(ino)
        return row

    def separate(self, ino: int) -> None:
        """Copy up the objects that have another name, as from a backup by hard links.

        The caller holds the inode's lock. Held descriptors are synced before they are closed, so
        that no error of the device is missed.
        """
        file = self._dirty.get(ino)
        for at, store in enumerate(self._tiers.stores):
            if file is not None and file.fds[at] >= 0:
                store.sync_data(ino, file.fds[at])
            with suppress(FileNotFoundError):
                if store.separate(ino) and file is not None:
                    self._dirty.close_descriptors(file)

    def refresh(self, inode: Inode, now: int) -> bool:
        """Take over the present state of the original; returns whether it had changed.

        The caller holds the inode's lock, and has invalidated its migration. Its head is dropped.
        """
        with self._opened(inode.ino) as fd:
            found = original_of(inode.ino, self._disk.call("stat", os.fstat, fd))
        known = self._index.originals.get(inode.ino)
        changed = known is None or known[:4] != found[:4]
        with self._index.transaction():
            row = self._index.inodes.get(inode.ino)
            if not row.adopted:
                return False
            self._index.originals.put(found)
            if changed:
                self._index.pending_truncations.add(inode.ino)
                self._index.inodes.change(
                    row,
                    size=found.size,
                    prefix=0,
                    mirrored=0,
                    sparse=int(found.size > 0),
                    mtime=nearest(from_stored(found.mtime)),
                    ctime=now,
                    version=row.version + 1,
                )
        self._forget(inode.ino)
        return changed

    def note(self, changed: ChangedOutside) -> None:
        """Count and log a file that was changed outside, unless it was copied up meanwhile."""
        ino = changed.ino
        inode = self._index.inodes.find(ino)
        if inode is None or not inode.adopted:
            return
        self._changes.inc()
        with self._mutex:
            first = ino not in self._changed
            if first and len(self._changed) < REMEMBERED:
                self._changed[ino] = None
        if first:
            log.error(
                "%s: %s; reading it fails until `tierfs adopt --refresh` takes its present state",
                self._index.path_of(inode),
                changed,
            )

    # ---------------------------------------------------------------- checks

    @contextmanager
    def _unchanged(self, inode: Inode) -> Iterator[int]:
        """A block with a descriptor of the object, which is checked before and after it."""
        with self._opened(inode.ino) as fd:
            before = self._require(inode, fd, None)
            yield fd
            self._require(inode, fd, before)

    @contextmanager
    def _opened(self, ino: int) -> Iterator[int]:
        try:
            fd = self._disk.open_object(ino)
        except FileNotFoundError:
            raise Damage(ino, "its disk object is missing") from None
        except ObjectLost as exc:
            raise Damage(ino, str(exc)) from None
        try:
            yield fd
        finally:
            os.close(fd)

    def _require(self, inode: Inode, fd: int, before: Original | None) -> Original:
        """The state of the object, which equals the stored one, or the one ``before``."""
        ino = inode.ino
        known = before or self._index.originals.get(ino)
        status = self._disk.call("stat", os.fstat, fd)
        if known is None:
            return self._first_look(inode, status)
        if known.is_same(status):
            return known
        if not known.is_unchanged(status) or not self._has_same_head(inode, fd):
            raise ChangedOutside(ino, _what_changed(known, status))
        found = original_of(ino, status)
        self._note_state(inode, found)
        return found

    def _first_look(self, inode: Inode, status: os.stat_result) -> Original:
        """After a restore the index may not know the original: then its size decides."""
        found = original_of(inode.ino, status)
        row = self._index.inodes.find(inode.ino)
        if row is not None and row.adopted:
            if status.st_size != row.size:
                raise ChangedOutside(
                    inode.ino, _what_changed(found._replace(size=row.size), status)
                )
            self._note_state(inode, found)
        return found

    def _note_state(self, inode: Inode, found: Original) -> None:
        if not self._index.read_only:
            with suppress(FsError), self._index.transaction():
                row = self._index.inodes.find_within(inode.ino)
                if row.adopted and row.version == inode.version:
                    self._index.originals.put(found)

    def _has_same_head(self, inode: Inode, fd: int) -> bool:
        """Whether the bytes on flash equal those of the original."""
        end = lengths_of(inode).flash
        for offset in range(0, end, COPY_CHUNK):
            chunk = Extent(offset, min(COPY_CHUNK, end - offset))
            try:
                head = load(self._tiers.flash, inode.ino, chunk)
            except IndexFailed:
                raise
            except (FsError, OSError):
                return True  # flash cannot be read, so it proves nothing
            if self._disk.call("pread", os.pread, fd, chunk.length, chunk.offset) != head:
                return False
        return True

    def _forget(self, ino: int) -> None:
        with self._mutex:
            self._changed.pop(ino, None)


def _what_changed(known: Original, status: os.stat_result) -> str:
    if known.size != status.st_size:
        what = f"it has {status.st_size} bytes, and had {known.size}"
    elif not known.is_unchanged(status):
        what = "it was modified since it was adopted"
    else:
        what = "its first bytes differ from those on flash"
    return f"its original was changed outside of the volume: {what}"
