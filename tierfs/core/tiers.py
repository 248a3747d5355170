"""Both object stores together: bytes of one file at their places. Knows no index and no lock."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tierfs.base.extents import Extent, Lengths, object_lengths, split
from tierfs.base.metrics import Metrics
from tierfs.base.osio import SYSTEM, Os
from tierfs.core.copies import Copy, load, put, resize
from tierfs.core.locks import WouldBlock
from tierfs.index.inodes import Inode
from tierfs.store.objects import Keep, ObjectStore

BEGUN = 1000
"""Inodes that got their first bytes lately; twice as many are remembered."""

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def lengths_of(inode: Inode) -> Lengths:
    """The lengths that the objects of a file must have."""
    return object_lengths(inode.size, inode.prefix, mirrored=inode.mirrored)


def _nothing() -> None:
    """A moment needs no work."""


class Held:
    """Descriptors of the flash and the disk object that a change wrote to, and which it made."""

    __slots__ = ("fds", "fresh", "made")

    def __init__(self) -> None:
        self.fresh = False
        """Whether the file never had a byte: an object that is there already is not its own."""
        self.fds = [-1, -1]
        self.made = [False, False]

    def keep(self, at: int, *, made: bool) -> Keep:
        """Takes over the descriptor of object ``at``: 0 is flash, 1 disk."""

        def take(fd: int) -> bool:
            self.made[at] |= made
            if self.fds[at] >= 0:
                return False
            self.fds[at] = fd
            return True

        return take

    def close(self) -> None:
        """Close what nobody took over."""
        for at, fd in enumerate(self.fds):
            if fd >= 0:
                os.close(fd)
                self.fds[at] = -1


class Content:
    """What a change does to a range of a file, where it is more than bytes that are at hand."""

    __slots__ = ("_length",)

    leaves_holes = True
    """Whether blocks of the range may take no room, or hold nothing that was written."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def put(
        self, store: ObjectStore, ino: int, extent: Extent, holds: int, keep: Keep, *, fresh: bool
    ) -> None:
        """Do so to one part of the range, in one object; ``holds`` and others as for a write.

        Raises:
            Damage: an object is missing or too short.
            OSError: a call on a backing directory failed.
        """
        raise NotImplementedError


class FlashFull(Exception):
    """Flash has no room for these bytes: they belong on disk."""


class Tiers:
    """The bytes of files, split at their prefix.

    ``made_from``: inode numbers from here on are given out in this mount. For their first bytes no
    object can be there, unless the index is an old one and the number another file's.

    Raises from every method:
        OSError: a call on a backing directory failed.
    """

    def __init__(
        self,
        flash: ObjectStore,
        disk: ObjectStore,
        metrics: Metrics,
        os_: Os = SYSTEM,
        made_from: int = 0,
    ) -> None:
        self._os = os_
        self._made_from = made_from
        self._begun: set[int] = set()
        self._begun_before: set[int] = set()
        self.flash = flash
        self.disk = disk
        self._read = {store.name: metrics.read_bytes.labels(store.name) for store in (flash, disk)}
        self._written = {
            store.name: metrics.written_bytes.labels(store.name) for store in (flash, disk)
        }
        self._moved = metrics.moved_bytes

    def read(self, inode: Inode, extent: Extent, *, wait: bool) -> bytes:
        """The bytes of an extent that lies inside the file.

        Raises:
            Damage: an object is missing or too short.
            WouldBlock: some bytes are on disk, and ``wait`` is False.
        """
        on_flash, on_disk = split(extent, inode.prefix)
        if on_disk is None:
            return b"" if on_flash is None else self._read_from(self.flash, inode, on_flash)
        if not wait:
            raise WouldBlock
        head = b"" if on_flash is None else self._read_from(self.flash, inode, on_flash)
        return head + self._read_from(self.disk, inode, on_disk)

    def write(
        self,
        inode: Inode,
        new_size: int,
        offset: int,
        data: bytes | memoryview | Content,
        held: Held,
        *,
        wait: bool,
    ) -> None:
        """Put ``data`` at ``offset`` and give both objects the lengths for ``new_size`` bytes.

        ``inode`` is the file as the index has it; between its end and ``offset`` is a hole then.
        Flash comes first: after a crash a file that reaches beyond its prefix has all of its head.
        The descriptors that were opened are in ``held``.

        Raises:
            FlashFull: flash had no room; some of the bytes may have been written.
            Damage: an object is missing or too short, and a write would hide that.
            WouldBlock: the disk is needed, and ``wait`` is False.
        """
        old = lengths_of(inode)
        new = object_lengths(new_size, inode.prefix, mirrored=inode.mirrored)
        on_flash, on_disk = split(Extent(offset, len(data)), inode.prefix)
        if not wait and (on_disk or new.disk != old.disk):
            raise WouldBlock
        head = tail = data
        if not isinstance(data, Content):
            view, cut = memoryview(data), on_flash.length if on_flash else 0
            head, tail = view[:cut], view[cut:]
        held.fresh = inode.version == 0 and self._is_first(inode.ino)
        try:
            self._apply(0, inode.ino, on_flash, head, (old.flash, new.flash), held)
        except OSError as exc:
            if exc.errno in NO_ROOM:
                raise FlashFull from exc
            raise
        self._apply(1, inode.ino, on_disk, tail, (old.disk, new.disk), held)

    def _is_first(self, ino: int) -> bool:
        """Whether a file that never had a byte gets its first now, and no object can be its own.

        What was written before a commit that failed is its own: so is remembered whose was lately.
        """
        if ino < self._made_from or ino in self._begun or ino in self._begun_before:
            return False
        self._begun.add(ino)
        if len(self._begun) > BEGUN:
            self._begun, self._begun_before = set(), self._begun
        return True

    def spill(self, inode: Inode) -> None:
        """Copy the flash part of a file into its disk object, durably.

        Raises:
            Damage: an object is missing or too short.
        """
        end = lengths_of(inode).flash
        if not end:
            return
        copy = self.down(inode, Extent(0, end))
        for chunk in copy.chunks():
            copy.put(chunk.offset, copy.load(chunk))
            self.moved(copy, chunk.length)
        copy.finish()
        self.disk.sync(inode.ino)

    def up(self, inode: Inode, extent: Extent) -> Copy:
        """The copying of an extent from disk to flash."""
        return Copy(inode, self.disk, self.flash, extent, lengths_of(inode).flash)

    def down(self, inode: Inode, extent: Extent) -> Copy:
        """The copying of an extent from flash to disk."""
        return Copy(inode, self.flash, self.disk, extent, lengths_of(inode).disk)

    def moved(self, copy: Copy, length: int) -> None:
        """Count bytes copied."""
        self._moved.labels(copy.source.name, copy.target.name).inc(length)

    def step(self, label: str) -> None:
        """A moment of a move, through the seam: a call that does nothing."""
        self._os.call(label, _nothing)

    def mirror_is_whole(self, inode: Inode) -> bool:
        """Whether the copy on disk is there, as far as a look at its length tells."""
        return (self.disk.length(inode.ino) or 0) >= inode.size

    def trim(self, inode: Inode) -> None:
        """Free what the objects hold beyond what the index says."""
        for store, length in zip((self.flash, self.disk), lengths_of(inode), strict=True):
            if length == 0:
                store.remove(inode.ino)
            elif (store.length(inode.ino) or 0) > length:
                store.resize(inode.ino, length)

    @contextmanager
    def removal(self) -> Iterator[Callable[[int], None]]:
        """A block with a ``remove`` for both objects of each of many files."""
        with self.flash.removal() as from_flash, self.disk.removal() as from_disk:

            def remove(ino: int) -> None:
                from_flash(ino)
                from_disk(ino)

            yield remove

    def flush(self) -> None:
        """Make the bytes of every file survive a power cut; only for ``DirtySet.flush``."""
        try:
            self.flash.flush()
        finally:
            self.disk.flush()

    def allocated(self, inode: Inode) -> int:
        """Bytes that the file takes on its filesystems, holes left out; waits for both.

        What is on flash counts once, if the disk object has a copy or not.
        """
        flash, disk = object_lengths(inode.size, inode.prefix)
        return (self.flash.allocated(inode.ino, flash) if flash else 0) + (
            self.disk.allocated(inode.ino, disk, start=inode.prefix) if disk else 0
        )

    def _apply(
        self,
        at: int,
        ino: int,
        extent: Extent | None,
        data: bytes | memoryview | Content,
        lengths: tuple[int, int],
        held: Held,
    ) -> None:
        """What a write means for one store: bytes of an extent, or only a length."""
        store, (old, new) = self.disk if at else self.flash, lengths
        if extent is not None:
            keep = held.keep(at, made=not old)
            if isinstance(data, Content):
                data.put(store, ino, extent, old, keep, fresh=held.fresh)
            else:
                put(store, ino, extent.offset, data, old, keep, fresh=held.fresh)
                self._written[store.name].inc(extent.length)
        elif new > old:
            resize(store, ino, new, old, held.keep(at, made=not old), fresh=held.fresh)

    def _read_from(self, store: ObjectStore, inode: Inode, extent: Extent) -> bytes:
        data = load(store, inode.ino, extent, keep=False)
        self._read[store.name].inc(len(data))
        return data
