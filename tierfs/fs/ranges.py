"""Ranges of files: fallocate(2), lseek(2) for data and holes, copy_file_range(2).

A range is split at P, as everywhere: what is below is done to the flash object, the rest to the
disk object. Order of steps: as for a write (``data.py``); and before bytes are freed or made zeros,
the index is synced.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Final, NamedTuple

from tierfs.common.errors import Damage, FsError
from tierfs.common.extents import BLOCK, MAX_FILE_SIZE, Extent, split, whole_blocks
from tierfs.common.ranges import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, clone_range, fallocate
from tierfs.fs.data import Data
from tierfs.fs.locks import InodeLocks, WouldBlock
from tierfs.fs.reads import Reads
from tierfs.fs.shared import SharedObjects
from tierfs.fs.tiers import COPY_CHUNK, NO_ROOM, Content, Tiers, lengths_of
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode
from tierfs.storage.objects import ObjectLost, ObjectShared, ObjectStore

MIB: Final = 1024 * 1024

COPIED_AT_ONCE: Final = 8 * MIB
"""Bytes of a copy that share no blocks: who asked for more asks again (copy_file_range(2))."""

PUNCH: Final = PUNCH_HOLE | KEEP_SIZE


class Allocated(Content):
    """The range has blocks: those that are new read as zeros."""

    def put(self, store: ObjectStore, fd: int, extent: Extent) -> None:
        """See ``Content``."""
        store.call("fallocate", fallocate, fd, 0, *extent)


class Punched(Allocated):
    """The range is a hole."""

    def put(self, store: ObjectStore, fd: int, extent: Extent) -> None:
        """See ``Content``."""
        store.call("fallocate", fallocate, fd, PUNCH, *extent)


class Zeroed(Allocated):
    """The range reads as zeros, and its blocks are allocated."""

    def put(self, store: ObjectStore, fd: int, extent: Extent) -> None:
        """In two calls where the filesystem has none for it, such as tmpfs."""
        try:
            store.call("fallocate", fallocate, fd, ZERO_RANGE, *extent)
        except OSError as exc:
            if exc.errno != errno.EOPNOTSUPP:
                raise
            store.call("fallocate", fallocate, fd, PUNCH, *extent)
            store.call("fallocate", fallocate, fd, 0, *extent)


class Piece(NamedTuple):
    """A part of a copy that lies in one object on either side; offsets and length in bytes."""

    source: ObjectStore
    offset: int
    target: ObjectStore
    target_offset: int
    length: int

    @property
    def is_aligned(self) -> bool:
        """Whether blocks of the one may be blocks of the other."""
        return self.source is self.target and (self.offset - self.target_offset) % BLOCK == 0


def pieces(
    tiers: Tiers, source: Extent, source_prefix: int, offset: int, prefix: int
) -> Iterator[Piece]:
    """The parts of a copy from ``source`` to ``offset``, in order; prefixes as of the files.

    Where blocks may be shared, a part begins with one, unless it is shorter.
    """
    done = 0
    while done < source.length:
        at, to, left = source.offset + done, offset + done, source.length - done
        store, target = tiers.disk, tiers.disk
        if at < source_prefix:
            store, left = tiers.flash, min(left, source_prefix - at)
        if to < prefix:
            target, left = tiers.flash, min(left, prefix - to)
        piece = Piece(store, at, target, to, left)
        if piece.is_aligned and at % BLOCK:
            piece = piece._replace(length=min(left, BLOCK - at % BLOCK))
        yield piece
        done += piece.length


class Copied(Content):
    """The bytes of a range of ``source``, which nobody changes meanwhile.

    Blocks are shared where the filesystem below can do so: ``shares`` tells what was found by it.
    """

    __slots__ = ("_load", "_offset", "_shares", "_source", "_tiers", "_to", "leaves_holes")

    def __init__(
        self,
        tiers: Tiers,
        source: Callable[[], Inode],
        extent: Extent,
        to: int,
        load: Callable[[Inode, Extent], bytes],
        shares: dict[str, bool],
    ) -> None:
        """``to``: where the copy begins in the target; ``load`` reads the bytes of an inode."""
        super().__init__(extent.length)
        self._tiers = tiers
        self._source = source
        self._offset = extent.offset
        self._to = to
        self._load = load
        self._shares = shares
        self.leaves_holes = bool(source().sparse)

    def put(self, store: ObjectStore, fd: int, extent: Extent) -> None:
        """See ``Content``."""
        inode = self._source()  # a copy within one file may have moved it to disk
        source = Extent(self._offset + extent.offset - self._to, extent.length)
        within = extent.end if store is self._tiers.flash else 0
        for piece in pieces(self._tiers, source, inode.prefix, extent.offset, within):
            # Of an adopted file, others may change the object meanwhile: loading it finds out.
            shared = 0 if inode.adopted else self._share(inode.ino, piece, fd)
            self._copy(inode, piece, fd, shared)

    def _share(self, ino: int, piece: Piece, fd: int) -> int:
        """Share the whole blocks of a piece, and return how many bytes they are."""
        store, length = piece.target, piece.length - piece.length % BLOCK
        if not (length and piece.is_aligned and self._shares.get(store.name, True)):
            return 0

        def clone(source: int) -> int:
            store.call("clone", clone_range, fd, piece.target_offset, length, source, piece.offset)
            return length

        shared = _below(piece.source, ino, clone)
        self._shares[store.name] = shared > 0
        return shared

    def _copy(self, inode: Inode, piece: Piece, fd: int, done: int) -> None:
        """Copy what is left of a piece, in the kernel if it will, which may share blocks, too."""
        target = piece.target
        while done < piece.length:
            length = min(COPY_CHUNK, piece.length - done)
            at, to = piece.offset + done, piece.target_offset + done

            def copy(source: int, length: int = length, at: int = at, to: int = to) -> int:
                function = os.copy_file_range
                return target.call("copy_file_range", function, source, fd, length, at, to)

            below = piece.source is target and not inode.adopted
            copied = _below(piece.source, inode.ino, copy) if below else 0
            if not copied:
                data = memoryview(self._load(inode, Extent(at, length)))
                while copied < length:
                    copied += target.call("pwrite", os.pwrite, fd, data[copied:], to + copied)
            done += copied


def _below(store: ObjectStore, ino: int, call: Callable[[int], int]) -> int:
    """Bytes that ``call`` dealt with, given a descriptor to read an object by; 0: it cannot.

    Raises:
        OSError: there is no room. What else is wrong shows when the bytes are read.
    """
    try:
        source = store.open_object(ino)
    except OSError:
        return 0
    try:
        return call(source)
    except OSError as exc:
        if exc.errno in NO_ROOM:
            raise
        return 0
    finally:
        os.close(source)


KINDS: Final = {0: Allocated, PUNCH_HOLE: Punched, ZERO_RANGE: Zeroed}
"""By the mode of fallocate(2), without FALLOC_FL_KEEP_SIZE."""


class Ranges:
    """Ranges by inode number; offsets and lengths in bytes. Thread-safe.

    With ``wait=False`` as in ``Data``.

    Raises from every method:
        FsError: ESTALE no such inode, EISDIR or EINVAL no regular file, EIO damage, ENOSPC.
        OSError: a call on a backing directory failed.
    """

    def __init__(
        self,
        index: Index,
        tiers: Tiers,
        reads: Reads,
        data: Data,
        shared: SharedObjects,
        locks: InodeLocks,
    ) -> None:
        self._index = index
        self._tiers = tiers
        self._reads = reads
        self._data = data
        self._shared = shared
        self._locks = locks
        self._shares: dict[str, bool] = {}
        """Whether the filesystem of a store lets files share blocks, where that was tried."""
        self.write_back: Callable[[int, int, int], object] | None = None
        """Makes the kernel write back the dirty mapped pages of a range of an inode, which may be a
        hole here. The bytes arrive as WRITEs in other threads; the call waits for them."""

    def fallocate(
        self, ino: int, offset: int, length: int, mode: int, *, wait: bool = True
    ) -> None:
        """Allocate a range, make it a hole, or zeros (fallocate(2)); marks mtime and ctime.

        Blocks past the end of the file are allocated in objects that are there already; where
        there is none, all that is made sure of is that there is room.

        Raises:
            FsError: EOPNOTSUPP, the mode is another, or the filesystem below knows none such.
        """
        if offset < 0 or length <= 0:
            raise FsError(errno.EINVAL)
        kind = KINDS.get(mode & ~KEEP_SIZE)
        if kind is None or (kind is Punched and mode != PUNCH):
            raise FsError(errno.EOPNOTSUPP)
        end, keep = offset + length, mode & KEEP_SIZE
        if end > MAX_FILE_SIZE:
            raise FsError(errno.EFBIG)

        def plan(inode: Inode) -> tuple[int, int, Content | bytes]:
            last = end
            if keep:  # of its last block a file can be rid, whatever it has of it
                last = min(end, whole_blocks(inode.size) if kind is Punched else inode.size)
            inside = last - offset if offset < inode.size or not keep else 0
            if inside and kind is not Allocated:
                if not wait:
                    raise WouldBlock
                self._index.sync()
            size = inode.size if keep else max(inode.size, end)
            return size, offset, kind(inside) if inside else b""

        try:
            if keep and kind is not Punched:
                try:
                    self._reserve(ino, Extent(offset, length), wait=wait)
                except ObjectShared:
                    self._data.own(ino, wait=wait)
                    self._reserve(ino, Extent(offset, length), wait=wait)
            self._data.change(ino, plan, wait=wait)
        except OSError as exc:
            if exc.errno == errno.EOPNOTSUPP:
                raise FsError(errno.EOPNOTSUPP) from exc
            raise

    def _reserve(self, ino: int, extent: Extent, *, wait: bool) -> None:
        """Allocate what of an extent is past the end of the file; its objects stay as long.

        What finds no room on flash, finds it on disk once it is written.
        """
        if self._reads.file(ino).adopted:
            self._data.own(ino, wait=wait)
        inode = self._reads.file(ino)
        start = max(extent.offset, inode.size)
        on_flash, on_disk = split(Extent(start, extent.end - start), inode.prefix)
        lengths = lengths_of(inode)
        if on_disk and not wait:
            raise WouldBlock
        if on_flash and lengths.flash:
            with suppress(ObjectLost):
                try:
                    _allocate_behind(self._tiers.flash, ino, on_flash, lengths.flash)
                except OSError as exc:
                    if exc.errno not in NO_ROOM:
                        raise
        if on_disk and lengths.disk:
            with suppress(ObjectLost):
                _allocate_behind(self._tiers.disk, ino, on_disk, lengths.disk)
        elif on_disk and self._tiers.disk.space().available < on_disk.length:
            raise FsError(errno.ENOSPC)

    def seek(self, ino: int, offset: int, whence: int, *, wait: bool = True) -> int:
        """Where data or a hole begins, at ``offset`` or behind it: SEEK_DATA, SEEK_HOLE (lseek(2)).

        The end of the file is a hole.

        Raises:
            FsError: ENXIO, ``offset`` is at the end or behind it, or no data follow.
        """
        found = checked = None
        while True:
            inode = self._reads.file(ino)
            found = self._reads.unless_migrated(
                ino, lambda row: self._seek(row, offset, whence, wait=wait)
            )
            hole = _hole(inode, offset, whence, found)
            if self.write_back is None or hole is None or hole == checked:
                break
            if not wait:
                raise WouldBlock
            self.write_back(ino, *hole)
            checked = hole
        if found is None:
            raise FsError(errno.ENXIO)
        return found

    def _seek(self, inode: Inode, offset: int, whence: int, *, wait: bool) -> int | None:
        if not 0 <= offset < inode.size:
            return None
        if not inode.sparse:
            return offset if whence == os.SEEK_DATA else inode.size
        on_flash, on_disk = split(Extent(offset, inode.size - offset), inode.prefix)
        for store, extent in ((self._tiers.flash, on_flash), (self._tiers.disk, on_disk)):
            if extent is None:
                continue
            if store is self._tiers.disk and not wait:
                raise WouldBlock
            found = self._seek_in(store, inode, extent, whence)
            if found < extent.end:
                return found
        return None if whence == os.SEEK_DATA else inode.size

    def _seek_in(self, store: ObjectStore, inode: Inode, extent: Extent, whence: int) -> int:
        """The same in one object; the end of the extent if there is none in it."""
        try:
            fd = store.open_object(inode.ino)
        except (FileNotFoundError, ObjectLost):
            raise Damage(inode.ino, f"its {store.name} object is missing") from None
        try:
            if inode.adopted:
                self._shared.check(inode)
            length = store.call("stat", os.fstat, fd).st_size
            if length < extent.end:
                where = f"ends at byte {length}, before byte {extent.end}"
                raise Damage(inode.ino, f"its {store.name} object {where}")
            return min(store.call("lseek", os.lseek, fd, extent.offset, whence), extent.end)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # nothing but a hole follows
                return extent.end
            raise
        finally:
            os.close(fd)

    def copy(
        self,
        source: int,
        offset: int,
        target: int,
        target_offset: int,
        length: int,
        *,
        wait: bool = True,
    ) -> int:
        """Copy a range to another file, or another place in the same (copy_file_range(2)).

        Returns how many bytes were copied: fewer at the end of the source, or where they share no
        blocks and are many. Marks mtime and ctime of the target.

        Raises:
            FsError: EINVAL, the two ranges of one file overlap.
        """
        if offset < 0 or target_offset < 0:
            raise FsError(errno.EINVAL)
        if not wait:
            raise WouldBlock
        copied = 0
        with ExitStack() as held:
            if source < target:
                held.enter_context(self._locks.hold(source))

            def plan(inode: Inode) -> tuple[int, int, Content] | None:
                nonlocal copied
                if source > target:
                    held.enter_context(self._locks.hold(source))
                origin = self._reads.file(source)
                extent = Extent(offset, min(length, origin.size - offset))
                if extent.length <= 0:
                    return None
                if source == target and abs(offset - target_offset) < extent.length:
                    raise FsError(errno.EINVAL)
                if target_offset + extent.length > MAX_FILE_SIZE:
                    raise FsError(errno.EFBIG)
                copied = self._most(extent, origin, target_offset, inode)
                content = Copied(
                    self._tiers,
                    lambda: self._index.inodes.get(source),
                    Extent(offset, copied),
                    target_offset,
                    lambda row, part: self._reads.load(row, part, wait=True),
                    self._shares,
                )
                return max(inode.size, target_offset + copied), target_offset, content

            self._data.change(target, plan)
        return copied

    def _most(self, extent: Extent, origin: Inode, offset: int, inode: Inode) -> int:
        """How many bytes of a copy are done at once."""
        done = left = 0
        for piece in pieces(self._tiers, extent, origin.prefix, offset, inode.prefix):
            if piece.is_aligned and self._shares.get(piece.target.name):
                done += piece.length
                continue
            if left + piece.length > COPIED_AT_ONCE:
                return done + COPIED_AT_ONCE - left
            done, left = done + piece.length, left + piece.length
        return done


def _hole(inode: Inode, offset: int, whence: int, found: int | None) -> Extent | None:
    """What of a file an answer calls a hole, if anything."""
    end = inode.size if found is None else found
    if whence == os.SEEK_DATA and inode.sparse and offset < end:
        return Extent(offset, end - offset)
    if whence == os.SEEK_HOLE and found is not None and found < inode.size:
        return Extent(found, 1)
    return None


def _allocate_behind(store: ObjectStore, ino: int, extent: Extent, holds: int) -> None:
    store.apply(
        ino, lambda fd: store.call("fallocate", fallocate, fd, KEEP_SIZE, *extent), holds=holds
    )
