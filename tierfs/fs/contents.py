"""What a change may do to a range of a file, besides writing bytes that are at hand."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tierfs.common.extents import BLOCK, Extent
from tierfs.common.ranges import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, clone_range, fallocate
from tierfs.fs.copies import COPY_CHUNK
from tierfs.fs.tiers import NO_ROOM, Content, Tiers
from tierfs.metadata.inodes import Inode
from tierfs.storage.objects import ObjectStore

PUNCH: Final = PUNCH_HOLE | KEEP_SIZE


class Allocated(Content):
    """Blocks are allocated, whatever is in them: nothing new, which reads as zeros."""

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
            shared = self._share(inode.ino, piece, fd)
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

            copied = _below(piece.source, inode.ino, copy) if piece.source is target else 0
            if not copied:
                data = memoryview(self._load(inode, Extent(at, length)))
                while copied < length:
                    copied += target.call("pwrite", os.pwrite, fd, data[copied:], to + copied)
            done += copied


def _below(store: ObjectStore, ino: int, call: Callable[[int], int]) -> int:
    """Bytes that ``call`` dealt with, given a descriptor to read an object by; 0: it cannot.

    Raises:
        OSError: there is no room. Whatever else is wrong, whoever reads the bytes finds.
    """
    try:
        source = store.hold(ino)
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
