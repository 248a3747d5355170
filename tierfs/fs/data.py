"""Changing the bytes of files: write, truncate, fsync.

A small write to a file that was written before is ``Data._write_in_place``: one pwrite by a
descriptor that the dirty set holds, and a deferred row. Every other change goes through ``_put``.
The order of the steps, so that a crash at any point leaves every file whole:

* before bytes are added or changed: what objects hold past the end is trimmed (``dirty.py``).
* growing: the file is dirty in the index first. Then come the objects, whose lengths tell its size
  after a crash; the index learns of size and times later, or at once where they are not trusted.
* shrinking: the index first; the objects are trimmed when that is durable: by the reclaimer, by
  fsync, or by the next write. After a truncation to 0 that write replaces them (``replaced.py``).
* spilling to disk: copy, sync, commit the new prefix, and only then free the flash object.
* a mirrored file: before its head changes, the mirror ends, or the head goes to disk
  (``mirrors.py``).
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from contextlib import suppress

from tierfs.common.errors import Damage, FsError
from tierfs.common.extents import (
    MAX_FILE_SIZE,
    skips_block,
)
from tierfs.common.times import Clock
from tierfs.fs.allocation import Allocator
from tierfs.fs.locks import WouldBlock
from tierfs.fs.mirrors import Mirrors
from tierfs.fs.object_writes import Change, ObjectWriter
from tierfs.fs.permissions import PRIVILEGED, Caller, after_writing
from tierfs.fs.reads import Reads
from tierfs.fs.reclaim import Reclaimer
from tierfs.fs.shared import SharedObjects
from tierfs.fs.sync import Syncer
from tierfs.fs.tiers import DISK, FLASH, NO_ROOM, Content, FlashFull, Tiers, lengths_of
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode
from tierfs.storage.objects import ObjectShared
from tierfs.storage.write_buffer import IN_MEMORY, Buffer


class Data:
    """Bytes by inode number; offsets and sizes in bytes. Thread-safe.

    With ``wait=False`` a call that would wait for the disk or for another thread raises
    ``WouldBlock`` instead; the same call with ``wait=True`` then does it all.

    Raises from every method:
        FsError: ESTALE no such inode, EISDIR or EINVAL no regular file, EIO damage, ENOSPC.
        OSError: a call on a backing directory failed.
    """

    def __init__(
        self,
        index: Index,
        tiers: Tiers,
        allocator: Allocator,
        syncer: Syncer,
        mirrors: Mirrors,
        reclaimer: Reclaimer,
        shared: SharedObjects,
        reads: Reads,
        clock: Clock,
    ) -> None:
        self._index = index
        self._tiers = tiers
        self._allocator = allocator
        self._syncer = syncer
        self._dirty = syncer.dirty
        self._mirrors = mirrors
        self._locks = syncer.dirty.locks
        self._reclaimer = reclaimer
        self._shared = shared
        self._writer = ObjectWriter(tiers, syncer.dirty)
        self._reads = reads
        self._activity = reads.activity
        self._clock = clock
        self._migrations = self._locks.migrations
        self._in_memory = index.in_memory and all(store.in_memory for store in tiers.stores)

    def write(
        self,
        ino: int,
        offset: int,
        data: Buffer,
        *,
        wait: bool = True,
        buffered: bool = False,
    ) -> int:
        """Write all of ``data``; a gap between the end of the file and ``offset`` becomes a hole.

        It keeps set-user-ID: the kernel removes it with a SETATTR of its own before the WRITE.

        ``buffered``: bytes for the disk tier go into its page cache even without ``wait``, if that
        does not block.
        """
        end = offset + len(data)
        if end > MAX_FILE_SIZE:
            raise FsError(errno.EFBIG)
        if not data:
            return 0
        if self._dirty.full:
            self._free_descriptors(wait=wait)
        self._locks.acquire(ino, wait=wait)
        try:
            self._migrations.invalidate(ino)
            if not self._write_in_place(ino, offset, end, data, wait=wait, buffered=buffered):
                inode = self._reads.file(ino)
                if inode.adopted:
                    inode = self._copy_up(inode, wait=wait)
                inode = self._allocated(inode)
                change = Change(inode, max(inode.size, end), offset, data)
                self._put(change, wait=wait, buffered=buffered)
        finally:
            self._locks.release(ino)
        return len(data)

    def _write_in_place(
        self,
        ino: int,
        offset: int,
        end: int,
        data: Buffer,
        *,
        wait: bool,
        buffered: bool,
    ) -> bool:
        """Write to one object of a dirty file, if no other step has to come first.

        This is the case for most writes: the object's descriptor is held, its length is known to
        be right, and where the file becomes longer, lengths are trusted. The first write to the
        head of a new file needs no other step either. False: ``_put`` has to do it, also after
        damage or without room; it then writes all bytes again.
        """
        file, inode = self._dirty.files.get(ino), self._index.inodes.cached(ino)
        if file is None or inode is None or inode.mirrored:
            return False
        size, prefix = inode.size, inode.prefix
        at, holds = (FLASH, min(size, prefix)) if end <= prefix else (DISK, size)
        fd, grown = file.fds[at], max(size, end)
        if not size:  # the first bytes of a new file, or they decide where it goes
            if inode.version or at == DISK or self._allocator.fit(prefix) != prefix:
                return False
        elif (
            fd < 0
            or not file.exact[at]  # bytes past the end would become part of the file
            # On disk: only behind the head, and where there is a tail already.
            or (at == DISK and (offset < prefix or size <= prefix or not (wait or buffered)))
            # A file that reaches its prefix gets a tail, which must begin with an exact object.
            or (at == FLASH and grown >= prefix and not file.exact[DISK])
            or (grown > size and not file.trusted)  # the index must learn of the size at once
        ):
            return False
        try:
            if fd < 0:
                fd = self._dirty.descriptor(file, at, inode, 0)
            self._tiers.write(at, ino, fd, offset, data, holds, now=at == DISK and not wait)
        except (Damage, ObjectShared):
            return False
        except OSError as exc:
            if exc.errno in NO_ROOM:
                return False
            self._trim_later(ino)
            raise
        # Nearly always the write begins within the file, and leaves no hole.
        hole = offset > size and skips_block(size, offset, len(data), grown)
        file.version = self._index.inodes.defer(ino, end, self._clock(), hole=hole)
        if self._activity.on:
            self._activity.changed(ino)
        return True

    def truncate(
        self, ino: int, size: int, *, caller: Caller = PRIVILEGED, wait: bool = True
    ) -> None:
        """Shorten the file, or extend it with a hole (truncate(2)). Marks mtime and ctime."""
        if self._dirty.full:
            self._free_descriptors(wait=wait)
        with self._locks.hold(ino, wait=wait):
            self._migrations.invalidate(ino)
            inode = self._reads.file(ino)
            if inode.adopted and size:
                inode = self._copy_up(inode, wait=wait)
            inode = self._allocated(inode)
            if size > inode.size:
                self._put(Change(inode, size, inode.size, b"", caller), wait=wait)
            else:
                self._commit(Change(inode, size, size, b"", caller))
                if size < inode.size:
                    self._reclaimer.add_truncation(ino)

    def change(
        self,
        ino: int,
        plan: Callable[[Inode], tuple[int, int, Content | bytes] | None],
        *,
        wait: bool = True,
    ) -> None:
        """Carry out the change that ``plan`` returns for the file, under the file's lock.

        It returns the new size, an offset, and the bytes or content for that offset. With no
        bytes, only size and times change; None: nothing does.
        """
        if self._dirty.full:
            self._free_descriptors(wait=wait)
        with self._locks.hold(ino, wait=wait):
            self._migrations.invalidate(ino)
            inode = self._reads.file(ino)
            if inode.adopted:
                inode = self._copy_up(inode, wait=wait)
            inode = self._allocated(inode)
            planned = plan(inode)
            if planned is None:
                return
            change = Change(inode, *planned)
            if change.data or change.size != inode.size:
                self._put(change, wait=wait)
            else:
                self._commit(change)

    def sync(self, ino: int, *, wait: bool = True) -> None:
        """Make the file survive a power cut: flash object, disk object, index (fsync(2)).

        Raises:
            WouldBlock: ``wait`` is False, and this waits for a device or copies a head.
            FsError: an earlier sync of the file failed, and it was not truncated to 0 since.
            OSError: this sync failed.
        """
        mirrors = self._mirrors.at_sync(ino)
        feed = self._index.feed
        if not wait and (mirrors or feed.at_sync or not self._in_memory):
            raise WouldBlock
        inode = self._index.inodes.cached(ino)
        if inode is None or not stat.S_ISREG(inode.mode):
            self._reads.file(ino)
        try:
            self._syncer.sync(ino)
        except Damage as exc:
            self._reads.report(self._reads.file(ino), exc)
            raise
        self._index.sync()
        if mirrors:
            self._mirrors.ensure(ino)
        if feed.at_sync is not None:
            feed.at_sync()

    def own(self, ino: int, *, wait: bool) -> None:
        """Copy up the objects of a file that have another name, before they are changed."""
        if not wait:
            raise WouldBlock
        with self._locks.hold(ino):
            self._migrations.invalidate(ino)
            inode = self._reads.file(ino)
            if inode.adopted:
                self._copy_up(inode, wait=True)
            else:
                self._shared.separate(ino)

    def _copy_up(self, inode: Inode, *, wait: bool) -> Inode:
        """Copy up an adopted file before its first change; its lock is held."""
        if not wait:
            raise WouldBlock
        try:
            inode = self._shared.copy_up(inode)
        except Damage as exc:
            self._reads.report(inode, exc)
            raise
        if not lengths_of(inode).disk:
            self._reclaimer.add_truncation(inode.ino)
        return inode

    def refresh(self, ino: int) -> bool:
        """Take the original of an adopted file as it is now; returns whether it had changed."""
        with self._locks.hold(ino):
            self._migrations.invalidate(ino)
            inode = self._reads.file(ino)
            changed = inode.adopted > 0 and self._shared.refresh(inode, self._clock())
        if changed:
            self._reclaimer.add_truncation(ino)
        return changed

    def _allocated(self, inode: Inode) -> Inode:
        """Choose the prefix of an empty file by the room on flash, unless its head has bytes."""
        if inode.size or inode.prefix == 0:
            return inode
        file = self._dirty.get(inode.ino)
        if file is not None and file.created[FLASH] and not inode.version:
            return inode
        prefix = self._allocator.fit(inode.prefix)
        return inode if prefix == inode.prefix else inode._replace(prefix=prefix)

    def _free_descriptors(self, *, wait: bool) -> None:
        """Too many are held: sync all dirty files, which closes them."""
        if not wait:
            raise WouldBlock
        with suppress(OSError):  # the files that failed keep the error for their next fsync
            self._syncer.checkpoint()

    def _put(self, change: Change, *, wait: bool, buffered: bool = False) -> None:
        """Carry out a change that adds bytes, or changes some; the inode's lock is held.

        Raises:
            Damage: an object is missing or too short; it is counted and logged.
            WouldBlock: the disk is needed, and ``wait`` is False.
            OSError: what was written past the end is trimmed later.
        """
        try:
            if change.ends_mirror:
                if not wait:
                    raise WouldBlock  # for the sync
                change = self._without_mirror(change)
            try:
                self._put_once(change, wait=wait, buffered=buffered)
            except ObjectShared:
                if not wait:
                    raise WouldBlock from None
                self._shared.separate(change.inode.ino)
                self._put_once(change, wait=wait, buffered=buffered)
            except OSError as exc:
                # The disk is full. Objects of files unlinked recently may still be there.
                if exc.errno not in NO_ROOM or not self._reclaimer.drain():
                    raise
                change = change._replace(inode=self._reads.file(change.inode.ino))
                self._put_once(change, wait=wait, buffered=buffered)
        except Damage as exc:
            damaged = change.inode
            if exc.ino != damaged.ino:  # a file that was to be copied; some of it may have been
                self._trim_later(damaged.ino)
                damaged = self._index.inodes.get(exc.ino)
            self._reads.report(damaged, exc)
            raise
        except OSError:
            self._trim_later(change.inode.ino)
            raise

    def _put_once(self, change: Change, *, wait: bool, buffered: bool) -> None:
        try:
            try:
                file = self._writer.write(change, wait=wait, buffered=buffered)
            except FlashFull:
                if not wait:
                    raise WouldBlock from None
                spilled = self._mirrors.spill(change.inode, mirrored=change.mirror_ended)
                change = change._replace(inode=spilled)
                file = self._writer.write(change, wait=wait, buffered=buffered)
            row = self._index.inodes.cached(file.ino)
            if (
                change.data
                and row is not None
                and (row.prefix, row.mirrored) == (change.inode.prefix, change.inode.mirrored)
                and (change.size == row.size or file.trusted)
            ):
                hole = change.skips_block
                file.version = self._index.inodes.defer(
                    file.ino, change.size, self._clock(), hole=hole
                )
                self._activity.changed(file.ino)
            else:
                self._commit(change)
        except Exception:
            # It is tried again, perhaps when others may change the object that the bytes are in.
            if not isinstance(change.data, (*IN_MEMORY, Content)):
                change.data.fetch()
            raise

    def _trim_later(self, ino: int) -> None:
        """After a change that failed: what it wrote past the end must not count after a crash."""
        self._dirty.interrupted(ino)
        self._reclaimer.add_truncation(ino)
        with suppress(FsError), self._index.transaction():
            self._dirty.distrust(ino)
            self._index.inodes.store([ino])
            self._index.pending_truncations.add(ino)
            row = self._index.inodes.find_within(ino)
            if row.version == 0:  # it has had a byte now
                self._index.inodes.change(row, version=1)

    def _without_mirror(self, change: Change) -> Change:
        """Before a mirrored head changes: end the mirror, or spill the head.

        It is spilled if the policy wants synced bytes on disk: without the mirror they would be on
        flash alone until the next fsync.
        """
        inode = change.inode
        if change.size and self._mirrors.at_sync(inode.ino):
            return change._replace(inode=self._mirrors.spill(inode, mirrored=True))
        return change._replace(inode=self._mirrors.end(inode), mirror_ended=True)

    def _commit(self, change: Change) -> None:
        """Store the new size and times; attributes that others changed meanwhile are kept."""
        inode, size = change.inode, change.size
        now = self._clock()
        dirty = None
        try:
            with self._index.transaction():
                row = self._index.inodes.get(inode.ino)
                if change.data or size != row.size:
                    dirty = self._dirty.enter(row, size)
                if size < row.size:
                    self._index.pending_truncations.add(inode.ino)
                changed = self._index.inodes.change(
                    row,
                    size=size,
                    prefix=inode.prefix,
                    mirrored=row.mirrored if size else 0,
                    mode=after_writing(row.mode, row.gid, change.caller),
                    mtime=now,
                    ctime=now,
                    version=row.version + 1,
                    sparse=int(size > 0 and (change.skips_block or row.sparse > 0)),
                )
                if row.adopted:  # truncated to 0: its object is not needed any more
                    self._index.originals.release(changed)
        except BaseException:
            if dirty:
                self._dirty.undo(dirty)
            raise
        self._activity.changed(inode.ino)
