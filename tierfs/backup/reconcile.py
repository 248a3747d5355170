"""What the objects that are found mean for an index that was restored; decides, and does nothing.

The index may be older than the objects, and a directory may be new and empty. Of a file whose
bytes are all somewhere the row is made right. Otherwise the row stays: reads of what is missing
give EIO, never a hole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from tierfs.common.extents import WHOLE_FILE, object_lengths
from tierfs.fsck.faults import Case
from tierfs.metadata.inodes import Inode

Tier = Literal["flash", "disk"]

IsWhole = Callable[[Tier, int, int, int], bool]
"""Whether the object of a tier and an inode has bytes, and no hole, from one offset to another."""

ChangedAt = Callable[[int], int]
"""When an object of the inode was last written to, in nanoseconds, as far as programs say so."""

MadeAt = Callable[[int], int]
"""When its disk object was last changed in any way, in nanoseconds."""

IsOld = Callable[[Inode], bool]
"""Whether the mirror of a file may be older than its head."""

HEAD_STEP: Final = 4096


class Circumstances(NamedTuple):
    """What is known beside the objects themselves."""

    flash_lost: bool
    """The flash directory is new: that an object is not there says nothing about its file."""
    head: int
    """The length of the heads of new files, in bytes."""
    known_until: int
    """Changes before this time, in nanoseconds since the epoch, are in the index."""
    is_whole: IsWhole
    changed_at: ChangedAt
    made_at: MadeAt
    is_old: IsOld


class Placement(NamedTuple):
    """The row of a file as it must be: size, P, whether it is mirrored, whether it is to be cut."""

    size: int
    prefix: int
    mirrored: int
    trim: bool = False


class Missing(NamedTuple):
    """Bytes of a file that are nowhere."""

    what: str


class Found(NamedTuple):
    """Objects that belong to no file: one is made for them, of ``size`` bytes."""

    size: int
    prefix: int


def decide(case: Case, known: Circumstances) -> Placement | Missing | Found | None:
    """What is to be done about one inode number; None: nothing."""
    if case.inode is None:
        return _found(case, known)
    inode = case.inode
    if not case.is_file or not inode.nlink:
        return None
    if inode.adopted and case.disk is not None:
        return _adopted(inode, case)
    size = inode.size
    if case.dirty is not None:
        if not known.flash_lost and size and case.flash is None and case.disk is None:
            return Missing(f"no object of its {size} bytes is left")
        if not known.flash_lost:
            return None  # the next mount reconciles it, as after a crash
        size = _size_of_dirty(inode, case, case.dirty)
    elif (grown := _length(inode, case)) > size and known.changed_at(case.ino) > known.known_until:
        size = grown
    return _placed(inode, case, size, known)


def _adopted(inode: Inode, case: Case) -> Placement | None:
    """Of an adopted file: the disk object is all of it, whose length is its owner's affair."""
    head = case.flash or 0
    if head >= object_lengths(inode.size, inode.prefix).flash:
        return None
    return Placement(inode.size, 0, 0, head > 0 and not case.pending_truncation)


def _placed(
    inode: Inode, case: Case, size: int, known: Circumstances
) -> Placement | Missing | None:
    """Where the bytes are, by what the row says or what the objects show."""
    flash, disk = case.flash or 0, case.disk or 0
    needs = object_lengths(size, inode.prefix)
    mirror_is_whole = bool(inode.mirrored) and disk >= size
    if mirror_is_whole and flash >= needs.flash > 0:
        mirror_is_whole = not known.is_old(inode)  # or an eviction would keep it
    prefix, mirrored = inode.prefix, int(bool(inode.mirrored) and (mirror_is_whole or not size))
    if flash < needs.flash and _was_mirrored(inode, case, size, known):
        size, prefix, mirrored = disk, 0, 0
    elif flash < needs.flash:
        if not mirror_is_whole and not _was_demoted(inode, case, size, known):
            return Missing(f"flash had {needs.flash} bytes of it, {flash} are left")
        prefix = mirrored = 0
    elif disk < needs.disk:
        if flash < size or not known.is_whole("flash", case.ino, inode.prefix, size):
            return Missing(f"the disk object has {disk} of {needs.disk} bytes")
        prefix, mirrored = WHOLE_FILE, 0
    wanted = object_lengths(size, prefix, mirrored=mirrored)
    excess = flash > wanted.flash or disk > wanted.disk
    placement = Placement(size, prefix, mirrored, excess and not case.pending_truncation)
    same = (inode.size, inode.prefix, inode.mirrored, False)
    return None if placement == same else placement


def _was_demoted(inode: Inode, case: Case, size: int, known: Circumstances) -> bool:
    """Whether its head went to disk, and the index does not know it yet.

    Where flash was not lost its object is freed for that only. A part of it that is left is of
    another change, after which the disk may hold older bytes.
    """
    return (
        not known.flash_lost
        and case.flash is None
        and (case.disk or 0) >= size
        and known.is_whole("disk", case.ino, 0, min(inode.prefix, size))
    )


def _was_mirrored(inode: Inode, case: Case, size: int, known: Circumstances) -> bool:
    """Whether all of it was copied to disk after the index was saved, and flash is lost.

    Of what is longer than its head the disk may hold an older one.
    """
    disk = case.disk or 0
    return (
        known.flash_lost
        and not inode.mirrored
        and size <= disk <= inode.prefix
        and known.made_at(case.ino) > known.known_until
        and known.is_whole("disk", case.ino, 0, disk)
    )


def _size_of_dirty(inode: Inode, case: Case, synced: int) -> int:
    """Its size where its head may be lost: at least what was synced, and what the disk has."""
    if not inode.prefix or (case.disk or 0) > inode.prefix:
        return max(synced, case.disk or 0)
    return max(synced, inode.size)


def _length(inode: Inode, case: Case) -> int:
    """The length that the objects give the file."""
    tail = case.disk or 0
    return tail if tail > inode.prefix else min(case.flash or 0, inode.prefix)


def _found(case: Case, known: Circumstances) -> Found | None:
    """Of an object that no file has. Bytes below the first one on disk are flash's, or lost."""
    flash, disk = case.flash or 0, case.disk or 0
    if case.name_count or not (flash or disk):
        return None
    if disk <= flash:
        return Found(flash, WHOLE_FILE)
    if flash or not known.flash_lost:
        return Found(disk, flash - flash % HEAD_STEP)
    head = min(known.head, disk)
    return Found(disk, 0 if known.is_whole("disk", case.ino, 0, head) else known.head)
