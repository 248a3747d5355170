"""Whether both objects of a number are what the inode needs; pure."""

from __future__ import annotations

from collections.abc import Iterator

from tierfs.base.extents import Lengths, object_lengths
from tierfs.fsck import kinds
from tierfs.fsck.check import Fault
from tierfs.fsck.faults import Case
from tierfs.index.inodes import Inode


def required(inode: Inode) -> Lengths:
    """How long the objects must be for every byte to be there, the mirror left out."""
    return object_lengths(inode.size, inode.prefix)


def expected(inode: Inode) -> Lengths:
    """How long they are when nothing is wrong: a mirrored file is on disk whole."""
    return object_lengths(inode.size, inode.prefix, mirrored=inode.mirrored)


def faults(case: Case) -> Iterator[Fault]:
    """What is wrong with the objects of the number."""
    inode = case.inode
    if inode is None or not case.is_file:
        for tier, length in (("flash", case.flash), ("disk", case.disk)):
            if length is not None:
                nobodys = inode is None and not case.name_count
                what = f"a {tier} object of {length} bytes"
                yield Fault(kinds.UNOWNED_OBJECT, what, int(nobodys))
    elif inode.nlink and min(inode.size, inode.prefix) >= 0:
        if case.dirty is not None:
            # The next mount takes its size from its objects; less than what was synced is a loss.
            inode = inode._replace(size=min(case.dirty, inode.size), mirrored=0)
        yield from _losses(inode, case)
        if not case.cut and case.dirty is None:
            yield from _leftovers(inode, case)


def _losses(inode: Inode, case: Case) -> Iterator[Fault]:
    flash, disk = required(inode)
    mirror_is_whole = inode.mirrored and (case.disk or 0) >= inode.size
    if (case.flash or 0) < flash:
        if mirror_is_whole:
            yield Fault(kinds.HEAD_LOST, _told("flash", case.flash, flash), case.ino)
        else:
            yield _loss("flash", case.flash, flash)
    if (case.disk or 0) < disk:
        yield _loss("disk", case.disk, disk)
    elif inode.mirrored and not mirror_is_whole and (case.flash or 0) >= flash:
        yield Fault(kinds.STALE_MIRROR, _told("disk", case.disk, inode.size), case.ino)


def _loss(tier: str, found: int | None, needed: int) -> Fault:
    kind = kinds.MISSING_OBJECT if found is None else kinds.SHORT_OBJECT
    return Fault(kind, _told(tier, found, needed))


def _told(tier: str, found: int | None, needed: int) -> str:
    if found is None:
        return f"its {tier} object of {needed} bytes is missing"
    return f"its {tier} object has {found} of {needed} bytes"


def _leftovers(inode: Inode, case: Case) -> Iterator[Fault]:
    if case.flash is None and case.disk is None:
        return
    for tier, found, wanted in zip(
        Lengths._fields, (case.flash, case.disk), expected(inode), strict=True
    ):
        if found is not None and (found > wanted or not wanted):
            what = f"its {tier} object has {found} bytes, and needs {wanted}"
            yield Fault(kinds.LEFTOVER, what, case.ino)
