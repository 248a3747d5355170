"""The bytes of files: read, write, truncate, fsync.

A small write to a file that was written before is ``Data._write_in_place``: one pwrite by a
descriptor that the dirty set holds, and a note in memory. Whatever else a change needs is done by
``_put``. Order of steps, so that a crash at any point leaves every file whole:

* before bytes are added or changed: what objects hold behind the end is trimmed (``dirty.py``).
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
import logging
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

from tierfs.common.errors import ChangedOutside, Damage, FsError, errno_of
from tierfs.common.extents import (
    MAX_FILE_SIZE,
    Extent,
    changes_flash,
    clip,
    object_lengths,
    skips_block,
)
from tierfs.common.metrics import Metrics
from tierfs.common.times import Clock
from tierfs.fs.allocation import Allocator
from tierfs.fs.dirty import DirtyFile
from tierfs.fs.locks import WouldBlock
from tierfs.fs.mirrors import Mirrors
from tierfs.fs.permissions import PRIVILEGED, Caller, after_writing
from tierfs.fs.reclaim import Reclaimer
from tierfs.fs.shared import SharedObjects
from tierfs.fs.sync import Syncer
from tierfs.fs.tiers import DISK, FLASH, NO_ROOM, Content, FlashFull, Tiers, lengths_of
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode
from tierfs.storage.objects import ObjectShared
from tierfs.storage.write_buffer import IN_MEMORY, Buffer

log = logging.getLogger(__name__)
T = TypeVar("T")


class _Change(NamedTuple):
    """``data`` goes to ``offset`` of ``inode``, which then has ``size`` bytes."""

    inode: Inode
    size: int
    offset: int
    data: Buffer | Content
    caller: Caller = PRIVILEGED
    """Who loses set-user-ID by a truncation."""
    mirror_ended: bool = False
    """Whether the disk object holds the head as it was before this change."""

    @property
    def skips_block(self) -> bool:
        """Whether a whole block may take no room then."""
        if isinstance(self.data, Content) and self.data.leaves_holes:
            return True
        return skips_block(self.inode.size, self.offset, len(self.data), self.size)

    @property
    def ends_mirror(self) -> bool:
        """Whether the mirror would be older than the file."""
        size, prefix = self.inode.size, self.inode.prefix
        return bool(self.inode.mirrored) and changes_flash(size, self.size, self.offset, prefix)


ACTIVE_FILES: Final = 65_536
"""Inodes remembered between two drains, of reads and of changes each: some 15 MiB at most."""


class Activity:
    """Reads and changes by inode number since the last ``drain``, for the promotion planner.

    Off, it costs one look at an attribute for each read and change. On, it is bounded: of more
    files than it holds it forgets the one that was told of first. Thread-safe.
    """

    def __init__(self, limit: int = ACTIVE_FILES) -> None:
        self.on = False
        """Whether anybody drains; else nothing is kept."""
        self._limit = limit
        self._mutex = threading.Lock()
        self._reads: dict[int, tuple[int, int]] = {}
        self._changed: dict[int, None] = {}

    def read(self, ino: int, nbytes: int) -> None:
        """An application read ``nbytes`` of a file."""
        if not self.on:
            return
        with self._mutex:
            reads, total = self._reads.get(ino, (0, 0))
            if not reads and len(self._reads) >= self._limit:
                del self._reads[next(iter(self._reads))]
            self._reads[ino] = (reads + 1, total + nbytes)

    def changed(self, ino: int) -> None:
        """Bytes or size of a file changed."""
        if not self.on:
            return
        with self._mutex:
            if ino not in self._changed and len(self._changed) >= self._limit:
                del self._changed[next(iter(self._changed))]
            self._changed[ino] = None

    def drain(self) -> tuple[list[tuple[int, int, int]], set[int]]:
        """All since the last call: ``(inode, reads, bytes)`` of files read; files changed."""
        with self._mutex:
            reads, self._reads = self._reads, {}
            changed, self._changed = self._changed, {}
        return [(ino, *counts) for ino, counts in reads.items()], set(changed)


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
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.activity = Activity()
        self._index = index
        self._tiers = tiers
        self._allocator = allocator
        self._syncer = syncer
        self._dirty = syncer.dirty
        self._mirrors = mirrors
        self._locks = syncer.dirty.locks
        self._reclaimer = reclaimer
        self._shared = shared
        self._clock = clock
        self._migrations = self._locks.migrations
        self._in_memory = index.in_memory and all(store.in_memory for store in tiers.stores)
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

    def write(
        self,
        ino: int,
        offset: int,
        data: Buffer,
        *,
        wait: bool = True,
        buffered: bool = False,
    ) -> int:
        """Write all of ``data``; between the end of the file and ``offset`` is a hole then.

        Leaves set-user-ID alone: where the writer may not keep it, the kernel has asked before.

        ``buffered``: even without ``wait``, bytes for the disk tier go into its page cache where
        that waits for nothing.
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
                inode = self.file(ino)
                if inode.adopted:
                    inode = self._copy_up(inode, wait=wait)
                inode = self._allocated(inode)
                change = _Change(inode, max(inode.size, end), offset, data)
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
        """Write to one object of a dirty file where nothing has to be done before.

        So it is for most writes: the object's descriptor is held, its length is known to be right,
        and where the file becomes longer, lengths are trusted. The first write to the head of a
        new file needs no more either. False: ``_put`` has to do it, also where there is damage or
        no room. What was written by then is written again.
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
            or not file.exact[at]  # bytes behind the end would become part of the file
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
        if self.activity.on:
            self.activity.changed(ino)
        return True

    def truncate(
        self, ino: int, size: int, *, caller: Caller = PRIVILEGED, wait: bool = True
    ) -> None:
        """Shorten the file, or extend it with a hole (truncate(2)). Marks mtime and ctime."""
        if self._dirty.full:
            self._free_descriptors(wait=wait)
        with self._locks.hold(ino, wait=wait):
            self._migrations.invalidate(ino)
            inode = self.file(ino)
            if inode.adopted and size:
                inode = self._copy_up(inode, wait=wait)
            inode = self._allocated(inode)
            if size > inode.size:
                self._put(_Change(inode, size, inode.size, b"", caller), wait=wait)
            else:
                self._commit(_Change(inode, size, size, b"", caller))
                if size < inode.size:
                    self._reclaimer.add_truncation(ino)

    def change(
        self,
        ino: int,
        plan: Callable[[Inode], tuple[int, int, Content | bytes] | None],
        *,
        wait: bool = True,
    ) -> None:
        """Carry out what ``plan`` says of the file; all other changes of its bytes are kept out.

        It says which size the file then has, and what happens at which offset. Of no bytes at all,
        the times are marked; None: nothing.
        """
        if self._dirty.full:
            self._free_descriptors(wait=wait)
        with self._locks.hold(ino, wait=wait):
            self._migrations.invalidate(ino)
            inode = self.file(ino)
            if inode.adopted:
                inode = self._copy_up(inode, wait=wait)
            inode = self._allocated(inode)
            planned = plan(inode)
            if planned is None:
                return
            change = _Change(inode, *planned)
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
        if not wait and (mirrors or not self._in_memory):
            raise WouldBlock
        inode = self._index.inodes.cached(ino)
        if inode is None or not stat.S_ISREG(inode.mode):
            self.file(ino)
        try:
            self._syncer.sync(ino)
        except Damage as exc:
            self._report(self.file(ino), exc)
            raise
        self._index.sync()
        if mirrors:
            self._mirrors.ensure(ino)

    def unless_migrated(self, ino: int, operation: Callable[[Inode], T]) -> T:
        """Run ``operation``, again if the file was migrated meanwhile: then no damage counts."""
        while True:
            inode = self.file(ino)
            try:
                result = operation(inode)
            except Damage as exc:
                if self._is_unchanged(inode):
                    self._report(inode, exc)
                    raise
            else:
                # A read that meets the end of an object being shortened may find zeros before it.
                now = self._index.inodes.find(ino)
                if now is None or now.prefix == inode.prefix:
                    return result

    def _is_unchanged(self, inode: Inode) -> bool:
        return self._index.inodes.get(inode.ino).version == inode.version

    def load(self, inode: Inode, extent: Extent, *, wait: bool) -> bytes:
        """The bytes of an extent; from the mirror, if there is one and flash fails."""
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

    def own(self, ino: int, *, wait: bool) -> None:
        """Let a file have objects of its own: no other name of one sees what changes then."""
        if not wait:
            raise WouldBlock
        with self._locks.hold(ino):
            self._migrations.invalidate(ino)
            inode = self.file(ino)
            if inode.adopted:
                self._copy_up(inode, wait=True)
            else:
                self._separate(ino)

    def _copy_up(self, inode: Inode, *, wait: bool) -> Inode:
        """An adopted file is about to change: see ``SharedObjects``; its lock is held."""
        if not wait:
            raise WouldBlock
        try:
            inode = self._shared.copy_up(inode)
        except Damage as exc:
            self._report(inode, exc)
            raise
        if not lengths_of(inode).disk:
            self._reclaimer.add_truncation(inode.ino)
        return inode

    def refresh(self, ino: int) -> bool:
        """Take the original of an adopted file as it is now; returns whether it had changed."""
        with self._locks.hold(ino):
            self._migrations.invalidate(ino)
            inode = self.file(ino)
            changed = inode.adopted > 0 and self._shared.refresh(inode, self._clock())
        if changed:
            self._reclaimer.add_truncation(ino)
        return changed

    def check_original(self, inode: Inode) -> None:
        """See that the original of an adopted file is as it was."""
        self._shared.check(inode)

    def _separate(self, ino: int) -> None:
        """Somebody gave an object another name, as a backup by hard links does; the lock is held.

        What is held open of it is synced first, so that no error of the device is missed.
        """
        file = self._dirty.get(ino)
        for at, store in enumerate(self._tiers.stores):
            if file is not None and file.fds[at] >= 0:
                store.sync_data(ino, file.fds[at])
            with suppress(FileNotFoundError):
                if store.separate(ino) and file is not None:
                    self._dirty.close_descriptors(file)

    def _report(self, inode: Inode, exc: Damage) -> None:
        if isinstance(exc, ChangedOutside):
            self._shared.note(exc)
            return
        self._damage.inc()
        log.error("%s: %s", self._index.path_of(inode), exc)

    def file(self, ino: int) -> Inode:
        """The inode of a regular file."""
        inode = self._index.inodes.get(ino)
        if not stat.S_ISREG(inode.mode):
            raise FsError(errno.EISDIR if stat.S_ISDIR(inode.mode) else errno.EINVAL)
        return inode

    def _allocated(self, inode: Inode) -> Inode:
        """A file without a byte goes where there is room now, unless its head has been begun."""
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
        with suppress(OSError):  # it sticks to the files that it is about
            self._syncer.checkpoint()

    def _put(self, change: _Change, *, wait: bool, buffered: bool = False) -> None:
        """Carry out a change that adds bytes, or changes some; the inode's lock is held.

        Raises:
            Damage: an object is missing or too short; it is counted and logged.
            WouldBlock: the disk is needed, and ``wait`` is False.
            OSError: what was written behind the end is trimmed later.
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
                self._separate(change.inode.ino)
                self._put_once(change, wait=wait, buffered=buffered)
            except OSError as exc:
                # The disk is full. What was unlinked a moment ago may still be there.
                if exc.errno not in NO_ROOM or not self._reclaimer.drain():
                    raise
                change = change._replace(inode=self.file(change.inode.ino))
                self._put_once(change, wait=wait, buffered=buffered)
        except Damage as exc:
            damaged = change.inode
            if exc.ino != damaged.ino:  # a file that was to be copied; some of it may have been
                self._trim_later(damaged.ino)
                damaged = self._index.inodes.get(exc.ino)
            self._report(damaged, exc)
            raise
        except OSError:
            self._trim_later(change.inode.ino)
            raise

    def _put_once(self, change: _Change, *, wait: bool, buffered: bool) -> None:
        try:
            try:
                file = self._write_objects(change, wait=wait, buffered=buffered)
            except FlashFull:
                if not wait:
                    raise WouldBlock from None
                spilled = self._mirrors.spill(change.inode, mirrored=change.mirror_ended)
                change = change._replace(inode=spilled)
                file = self._write_objects(change, wait=wait, buffered=buffered)
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
                self.activity.changed(file.ino)
            else:
                self._commit(change)
        except Exception:
            # It is tried again, perhaps when others may change the object that the bytes are in.
            if not isinstance(change.data, (*IN_MEMORY, Content)):
                change.data.fetch()
            raise

    def _write_objects(self, change: _Change, *, wait: bool, buffered: bool) -> DirtyFile:
        """Put the bytes in place and give both objects their lengths; the file is dirty then.

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
        file = self._dirty.admit(inode, max(size, end), writes=writes, wait=wait)
        if writes[FLASH]:
            try:
                self._write_object(file, FLASH, change, extents[FLASH], old.flash, new.flash)
            except OSError as exc:
                if exc.errno in NO_ROOM:
                    raise FlashFull from exc
                raise
        if writes[DISK]:
            extent = extents[DISK]
            if not wait and (file.fds[DISK] < 0 or isinstance(data, Content) or not extent.length):
                raise WouldBlock
            self._write_object(file, DISK, change, extent, old.disk, new.disk, now=not wait)
        return file

    def _write_object(
        self,
        file: DirtyFile,
        at: int,
        change: _Change,
        extent: Extent,
        old: int,
        new: int,
        *,
        now: bool = False,
    ) -> None:
        """Do what a change means for object ``at``, which holds ``old`` bytes, and then ``new``."""
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

    def _trim_later(self, ino: int) -> None:
        """A change failed: what it wrote behind the end must not count after a crash either."""
        self._dirty.interrupted(ino)
        self._reclaimer.add_truncation(ino)
        with suppress(FsError), self._index.transaction():
            self._dirty.distrust(ino)
            self._index.inodes.store([ino])
            self._index.pending_truncations.add(ino)
            row = self._index.inodes.find_within(ino)
            if row.version == 0:  # it has had a byte now
                self._index.inodes.change(row, version=1)

    def _without_mirror(self, change: _Change) -> _Change:
        """Before a head changes that has a mirror: let it have none, or be on disk alone.

        The latter where what was synced may not be on flash alone for a moment: as the mirror
        would be, until the next sync.
        """
        inode = change.inode
        if change.size and self._mirrors.at_sync(inode.ino):
            return change._replace(inode=self._mirrors.spill(inode, mirrored=True))
        return change._replace(inode=self._mirrors.end(inode), mirror_ended=True)

    def _commit(self, change: _Change) -> None:
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
        self.activity.changed(inode.ino)
