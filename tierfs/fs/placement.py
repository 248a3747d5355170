"""What the index and both stores have of an inode, at one moment of a mount."""

from __future__ import annotations

from typing import NamedTuple

from tierfs.common.times import to_stored
from tierfs.fs.dirty import DirtySet
from tierfs.fs.tiers import Tiers
from tierfs.metadata.checksums import Checksum
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode


class Placement(NamedTuple):
    """Of one inode number; lengths in bytes."""

    inode: Inode | None
    flash: int | None
    """The length of its flash object; None: there is none."""
    disk: int | None
    dirty: int | None
    """Of a file of the dirty set: bytes that are synced."""
    checksum: Checksum | None
    may_be_longer: bool
    """Whether objects may be longer than the file needs: they are to be trimmed, or migrated."""
    changed_outside: bool
    """Whether the original of an adopted file is not what it was."""
    is_arriving: bool
    """Whether an adoption is just making the objects of such numbers."""


class Placements:
    """By inode number. Thread-safe.

    Raises from every method:
        FsError: the index could not be read.
        OSError: an object could not be looked at.
    """

    def __init__(self, index: Index, tiers: Tiers, dirty: DirtySet) -> None:
        self._index = index
        self._tiers = tiers
        self._dirty = dirty

    def find(self, ino: int) -> Placement:
        """All of an inode, while nobody changes its bytes; waits for who does."""
        locks = self._dirty.locks
        with locks.hold(ino):
            inode, dirty = self._index.inodes.find(ino), self._dirty.get(ino)
            checksums = self._index.checksums
            begun = self._index.originals.begun()
            return Placement(
                inode,
                self._tiers.flash.length(ino),
                self._tiers.disk.length(ino),
                None if dirty is None else dirty.synced_size,
                None if inode is None else checksums.find(ino, inode.version),
                locks.migrations.holds(ino) or self._index.pending_truncations.has(ino),
                inode is not None and inode.adopted > 0 and self._is_changed(ino),
                any(first <= ino < end for first, end in begun),
            )

    def _is_changed(self, ino: int) -> bool:
        original = self._index.originals.get(ino)
        size, mtime = self._tiers.disk.length_and_mtime(ino)
        return original is not None and (size, to_stored(mtime)) != (original.size, original.mtime)
