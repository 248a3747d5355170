"""Bytes of one file on their way from one store to the other, and into or out of one store.

Byte N of a file is at offset N of either object, so a copy never shifts an offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tierfs.common.errors import Damage
from tierfs.common.extents import Extent
from tierfs.metadata.inodes import Inode
from tierfs.storage.objects import ObjectLost, ObjectStore

COPY_CHUNK = 1024 * 1024
"""Bytes read at a time: one access of a spinning disk."""

PUT_CHUNK = 256 * 1024
"""Bytes that a move writes at a time: it rests in between, so that a read which is to run on the
same processor does not wait for a full chunk."""


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

    def chunks(self) -> Iterator[Extent]:
        """What is to be copied, in order, ``COPY_CHUNK`` bytes at most.

        A hole is left out, unless the target has something else there.
        """
        for start, end in self._pieces() if self.inode.sparse else [self._range]:
            for offset in range(start, end, COPY_CHUNK):
                yield Extent(offset, min(COPY_CHUNK, end - offset))

    def load(self, chunk: Extent) -> bytes:
        """The bytes of a chunk, from the source."""
        return load(self.source, self.inode.ino, chunk)

    def parts(self, chunk: Extent) -> Iterator[Extent]:
        """A chunk in parts of ``PUT_CHUNK`` bytes at most."""
        for offset in range(chunk.offset, chunk.end, PUT_CHUNK):
            yield Extent(offset, min(PUT_CHUNK, chunk.end - offset))

    def put(self, offset: int, data: bytes | memoryview) -> None:
        """Bytes of the source to the target."""
        ino = self.inode.ino
        try:
            self.target.write(ino, offset, data, holds=self.holds, then=self._then)
        except ObjectLost as exc:
            raise Damage(ino, str(exc)) from None

    def finish(self) -> None:
        """Give the target its length, where the copy ends with a hole."""
        ino, end = self.inode.ino, self.extent.end
        if self.inode.sparse and (self.target.length(ino) or 0) < end:
            try:
                self.target.resize(ino, end, holds=self.holds, then=self._then)
            except ObjectLost as exc:
                raise Damage(ino, str(exc)) from None

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
