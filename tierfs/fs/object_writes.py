"""What a change of a file's bytes writes to its objects."""

from __future__ import annotations

from typing import NamedTuple

from tierfs.common.extents import Extent, changes_flash, object_lengths, skips_block
from tierfs.fs.dirty import DirtyFile, DirtySet
from tierfs.fs.locks import WouldBlock
from tierfs.fs.permissions import PRIVILEGED, Caller
from tierfs.fs.tiers import DISK, FLASH, NO_ROOM, Content, FlashFull, Tiers, lengths_of
from tierfs.metadata.inodes import Inode
from tierfs.storage.write_buffer import Buffer


class Change(NamedTuple):
    """``data`` goes to ``offset`` of ``inode``, which then has ``size`` bytes."""

    inode: Inode
    size: int
    offset: int
    data: Buffer | Content
    caller: Caller = PRIVILEGED
    """Whose truncation may clear set-user-ID."""
    mirror_ended: bool = False
    """Whether the disk object holds the head as it was before this change."""

    @property
    def skips_block(self) -> bool:
        """Whether the change may leave a whole block unallocated."""
        if isinstance(self.data, Content) and self.data.leaves_holes:
            return True
        return skips_block(self.inode.size, self.offset, len(self.data), self.size)

    @property
    def ends_mirror(self) -> bool:
        """Whether the mirror would be older than the file."""
        size, prefix = self.inode.size, self.inode.prefix
        return bool(self.inode.mirrored) and changes_flash(size, self.size, self.offset, prefix)


class ObjectWriter:
    """Writes to the objects of dirty files; the caller holds the inode's lock.

    Raises from every method:
        OSError: a call on a backing directory failed.
    """

    def __init__(self, tiers: Tiers, dirty: DirtySet) -> None:
        self._tiers = tiers
        self._dirty = dirty

    def write(self, change: Change, *, wait: bool, buffered: bool) -> DirtyFile:
        """Write the bytes and set the lengths of both objects; the file is dirty after that.

        Flash comes first: after a crash a file that reaches beyond its prefix has all of its head.

        Raises:
            FlashFull: flash had no room; some of the bytes may have been written.
            Damage: an object is missing or too short, and a write would hide that.
            WouldBlock: the disk is needed, and ``wait`` is False.
        """
        inode, size, offset, data, *_ = change
        end = offset + len(data)
        old = lengths_of(inode)
        new = object_lengths(size, inode.prefix, mirrored=inode.mirrored)
        split = min(max(inode.prefix, offset), end)
        extents = Extent(offset, split - offset), Extent(split, end - split)
        writes = (
            extents[FLASH].length > 0 or new.flash > old.flash,
            extents[DISK].length > 0 or new.disk > old.disk,
        )
        if writes[DISK] and not wait and (writes[FLASH] or not buffered):
            raise WouldBlock
        file = self._dirty.admit(
            inode,
            max(size, end),
            writes=writes,
            summed=not change.mirror_ended,  # the end was a new data version, and is durable
            wait=wait,
        )
        if writes[FLASH]:
            try:
                self._write_one(file, FLASH, change, extents[FLASH], old.flash, new.flash)
            except OSError as exc:
                if exc.errno in NO_ROOM:
                    raise FlashFull from exc
                raise
        if writes[DISK]:
            extent = extents[DISK]
            if not wait and (file.fds[DISK] < 0 or isinstance(data, Content) or not extent.length):
                raise WouldBlock
            self._write_one(file, DISK, change, extent, old.disk, new.disk, now=not wait)
        return file

    def _write_one(
        self,
        file: DirtyFile,
        at: int,
        change: Change,
        extent: Extent,
        old: int,
        new: int,
        *,
        now: bool = False,
    ) -> None:
        """Apply a change to object ``at``, which has ``old`` bytes before and ``new`` after it."""
        ino, data = change.inode.ino, change.data
        holds = 0 if file.fds[at] < 0 else old  # what is opened now is checked by that
        fd = self._dirty.descriptor(file, at, change.inode, old)
        if not extent.length:
            self._tiers.extend(at, ino, fd, new, holds)
        elif isinstance(data, Content):
            self._tiers.apply(at, ino, fd, extent, data, holds)
        else:
            if extent.length < len(data):
                data = memoryview(data)[extent.offset - change.offset :][: extent.length]
            self._tiers.write(at, ino, fd, extent.offset, data, holds, now=now)
