"""Both object stores together: the bytes of one file, split at its prefix. No index, no locks.

Byte N of a file is at offset N of either object, so a copy between the stores shifts no offset.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tierfs.common.errors import Damage
from tierfs.common.extents import Extent, Lengths, object_lengths, split
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM, Os
from tierfs.fs.locks import WouldBlock
from tierfs.metadata.inodes import Inode
from tierfs.storage.objects import ObjectLost, ObjectShared, ObjectStore
from tierfs.storage.replaced import ReplacedObjects
from tierfs.storage.write_buffer import Buffer

FLASH, DISK = 0, 1
"""Which object of a file, and where its store is in ``Tiers.stores``."""

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})

COPY_CHUNK = 1024 * 1024
"""Bytes read at a time: one access of a spinning disk."""

PUT_CHUNK = 256 * 1024
"""Bytes that a migration writes at a time; it yields in between, so that a read on the same
processor does not wait for a full chunk."""


def load(store: ObjectStore, ino: int, extent: Extent, *, keep: bool = True) -> bytes:
    """Every byte of an extent; ``keep`` as ``ObjectStore.read`` has it.

    Raises:
        Damage: the object is missing or too short.
    """
    try:
        data = store.read(ino, extent.offset, extent.length, keep=keep)
    except FileNotFoundError:
        raise Damage(ino, f"its {store.name} object is missing") from None
    except ObjectLost as exc:
        raise Damage(ino, str(exc)) from None
    if len(data) < extent.length:
        end = extent.offset + len(data)
        raise Damage(ino, f"its {store.name} object ends at byte {end}, before byte {extent.end}")
    return data


class Copy(NamedTuple):
    """An extent of a file that is to be in two stores.

    Raises from every method:
        Damage: an object is missing or too short.
        OSError: a call on a backing directory failed.
    """

    inode: Inode
    source: ObjectStore
    target: ObjectStore
    extent: Extent
    holds: int
    """Bytes that the target's object has already, by the lengths rule."""
    checked: Callable[[Inode, Extent], bytes] | None = None
    """Reads instead of ``load`` where the source is the object of an adopted file."""

    def chunks(self) -> Iterator[Extent]:
        """What is to be copied, in order, ``COPY_CHUNK`` bytes at most.

        A hole is left out, unless the target has something else there.
        """
        for start, end in self._pieces() if self.inode.sparse else [self._range]:
            for offset in range(start, end, COPY_CHUNK):
                yield Extent(offset, min(COPY_CHUNK, end - offset))

    def load(self, chunk: Extent) -> bytes:
        """The bytes of a chunk, from the source."""
        if self.checked is not None:
            return self.checked(self.inode, chunk)
        return load(self.source, self.inode.ino, chunk)

    def parts(self, chunk: Extent) -> Iterator[Extent]:
        """A chunk in parts of ``PUT_CHUNK`` bytes at most."""
        for offset in range(chunk.offset, chunk.end, PUT_CHUNK):
            yield Extent(offset, min(PUT_CHUNK, chunk.end - offset))

    def put(self, offset: int, data: bytes | memoryview) -> None:
        """Bytes of the source to the target."""
        ino = self.inode.ino
        self._change(
            lambda: self.target.write(ino, offset, data, holds=self.holds, then=self._then)
        )

    def finish(self) -> None:
        """Give the target its length, where the copy ends with a hole."""
        ino, end = self.inode.ino, self.extent.end
        if self.inode.sparse and (self.target.length(ino) or 0) < end:
            self._change(lambda: self.target.resize(ino, end, holds=self.holds, then=self._then))

    def _change(self, change: Callable[[], None]) -> None:
        """Change the target, as a file of its own if somebody gave it another name."""
        try:
            try:
                change()
            except ObjectShared:
                self.target.separate(self.inode.ino)
                change()
        except ObjectLost as exc:
            raise Damage(self.inode.ino, str(exc)) from None

    @property
    def _then(self) -> int:
        """The time that the target is given: not later than the last change of the file.

        Recovery takes a later one for that of a write, and the index may not know yet, or know no
        more after a power cut, that the file was synced before it was copied.
        """
        return min(self.inode.mtime, self.inode.ctime)

    @property
    def _range(self) -> tuple[int, int]:
        return self.extent.offset, self.extent.end

    def _pieces(self) -> list[tuple[int, int]]:
        ino = self.inode.ino
        if (length := self.source.length(ino) or 0) < self.extent.end:
            where = f"its {self.source.name} object ends at byte {length}"
            raise Damage(ino, f"{where}, before byte {self.extent.end}")
        both = self.source.pieces(ino, *self._range) + self.target.pieces(ino, *self._range)
        return _joined(sorted(both))


def _joined(pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes in pieces that do not overlap; from pieces in order."""
    joined: list[tuple[int, int]] = []
    for start, end in pieces:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def lengths_of(inode: Inode) -> Lengths:
    """The lengths that the objects of a file must have."""
    return object_lengths(inode.size, inode.prefix, mirrored=inode.mirrored)


def _nothing() -> None:
    """A moment needs no work."""


class Content:
    """A change of a range of a file that is not given as bytes: a copy, a hole, an allocation."""

    __slots__ = ("_length",)

    leaves_holes = True
    """Whether blocks of the range may take no room, or hold nothing that was written."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def put(self, store: ObjectStore, fd: int, extent: Extent) -> None:
        """Do so to one part of the range, in one object, by a descriptor to write to it.

        Raises:
            Damage: an object that is read from is missing or too short.
            OSError: a call on a backing directory failed.
        """
        raise NotImplementedError


class FlashFull(Exception):
    """Flash has no room for these bytes: they belong on disk."""


class Tiers:
    """The bytes of files, split at their prefix.

    ``replaced``: beside each store, what truncations have replaced in it. Without these, objects
    are shortened.

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
        replaced: tuple[ReplacedObjects, ...] = (),
    ) -> None:
        self._os = os_
        self.replaced = replaced
        self._made_from = made_from
        self.flash = flash
        self.disk = disk
        self.stores = flash, disk
        self._read = {store.name: metrics.read_bytes.labels(store.name) for store in (flash, disk)}
        self.read_adopted: Callable[[Inode, Extent], bytes] = lambda inode, extent: load(
            disk, inode.ino, extent
        )
        """Reads what of an adopted file is on disk, and checks that it is as it was."""
        self._written = [metrics.written_bytes.labels(store.name) for store in self.stores]
        self._moved = {
            source: metrics.moved_bytes.labels(source.name, target.name)
            for source, target in ((flash, disk), (disk, flash))
        }

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

    def open_to_write(self, at: int, inode: Inode, holds: int, *, first: bool) -> tuple[int, int]:
        """``ObjectStore.open_to_write`` of object ``at`` of a file.

        ``first``: the file never had a byte, so no object can be its own.

        Raises:
            Damage: the object is missing or too short.
        """
        try:
            return self.stores[at].open_to_write(
                inode.ino, holds, fresh=first and inode.ino >= self._made_from
            )
        except ObjectLost as exc:
            raise Damage(inode.ino, str(exc)) from None

    def write(
        self, at: int, ino: int, fd: int, offset: int, data: Buffer, holds: int, *, now: bool
    ) -> None:
        """Write all of ``data`` by a descriptor of the object on tier ``at``.

        ``holds``: bytes that the object must have; 0: nothing is checked. ``now``: only if it waits
        for nothing.

        Raises:
            WouldBlock: with ``now``; some bytes may have been written.
            Damage: the object is missing or too short, and a write would hide that.
        """
        store = self.stores[at]
        try:
            if holds:
                store.check(fd, holds)
            if not now:
                store.write_by(fd, offset, data)
            elif not store.write_nowait(fd, offset, data):
                raise WouldBlock
        except ObjectLost as exc:
            raise Damage(ino, str(exc)) from None
        self._written[at].inc(len(data))

    def apply(
        self, at: int, ino: int, fd: int, extent: Extent, content: Content, holds: int
    ) -> None:
        """Do what ``content`` says to an extent of object ``at``; raises as ``write`` does."""
        store = self.stores[at]
        self._check(store, ino, fd, holds)
        content.put(store, fd, extent)

    def extend(self, at: int, ino: int, fd: int, length: int, holds: int) -> None:
        """Extend object ``at`` with a hole by its descriptor; raises as ``write`` does."""
        store = self.stores[at]
        self._check(store, ino, fd, holds)
        store.extend_by(fd, length)

    @staticmethod
    def _check(store: ObjectStore, ino: int, fd: int, holds: int) -> None:
        if holds:
            try:
                store.check(fd, holds)
            except ObjectLost as exc:
                raise Damage(ino, str(exc)) from None

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
        checked = self.read_adopted if inode.adopted else None
        return Copy(inode, self.disk, self.flash, extent, lengths_of(inode).flash, checked)

    def down(self, inode: Inode, extent: Extent) -> Copy:
        """The copying of an extent from flash to disk."""
        return Copy(inode, self.flash, self.disk, extent, lengths_of(inode).disk)

    def moved(self, copy: Copy, length: int) -> None:
        """Count bytes copied."""
        self._moved[copy.source].inc(length)

    def step(self, label: str) -> None:
        """A moment of a move, through the seam: a call that does nothing."""
        self._os.call(label, _nothing)

    def mirror_is_whole(self, inode: Inode) -> bool:
        """Whether the copy on disk is there, as far as a look at its length tells."""
        return (self.disk.length(inode.ino) or 0) >= inode.size

    def trim(self, inode: Inode) -> None:
        """Free what the objects hold beyond what the index says.

        Of an adopted file the one on disk is as long as its owner makes it.
        """
        for store, length in zip((self.flash, self.disk), lengths_of(inode), strict=True):
            if length == 0:
                store.remove(inode.ino)
            elif not (inode.adopted and store is self.disk):
                try:
                    store.trim(inode.ino, length)
                except ObjectShared:
                    store.separate(inode.ino, length)

    @contextmanager
    def removal(self) -> Iterator[Callable[[int], None]]:
        """A block with a ``remove`` for both objects of each of many files."""
        with self.flash.removal() as from_flash, self.disk.removal() as from_disk:

            def remove(ino: int) -> None:
                from_flash(ino)
                from_disk(ino)

            yield remove

    def flush(self) -> None:
        """Make the bytes of every file survive a power cut; only for ``Syncer.flush``."""
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

    def _read_from(self, store: ObjectStore, inode: Inode, extent: Extent) -> bytes:
        if inode.adopted and store is self.disk:
            data = self.read_adopted(inode, extent)
        else:
            data = load(store, inode.ino, extent, keep=False)
        self._read[store.name].inc(len(data))
        return data
