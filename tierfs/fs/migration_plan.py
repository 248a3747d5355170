"""What a migration of one file copies and frees, and what may become of it: arithmetic alone.

P is the prefix: bytes ``[0, P)`` are on flash, the others on disk. A *mirror* is a disk object that
holds ``[0, P)`` as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from tierfs.common.extents import Extent, object_lengths
from tierfs.metadata.inodes import Inode

Outcome = Literal["moved", "changed", "gone", "no-room", "nothing", "failed"]
"""``changed``: given up, the file was changed or is being migrated; ``gone``: it has no name any
more; ``no-room``: the target is full; ``nothing``: it is as asked for, or no file; ``failed``: one
of several failed, and the log says why."""

Paced = Callable[[int], None]
"""Called with the number of bytes to copy next: may sleep; raises ``MigrationStopped`` to stop."""


class MigrationStopped(Exception):
    """``paced`` abandons the migration; nothing has changed then."""


class Migrated(NamedTuple):
    """What became of one file; ``copied`` between the tiers and ``freed`` on flash in bytes."""

    ino: int
    outcome: Outcome
    copied: int = 0
    freed: int = 0


class Plan(NamedTuple):
    """What one migration of one file has to copy, and what it frees."""

    prefix: int
    """P afterwards."""
    mirrored: int
    """Whether there is a mirror afterwards."""
    way: Literal["up", "down"]
    """To flash or to disk."""
    extent: Extent
    """What is to be copied; its length may be 0."""
    freed: int
    """Bytes of flash that are free afterwards."""
    frees: bool
    """Whether an object is too long, or superfluous, afterwards."""
    spreads: bool
    """Whether the copy makes an object longer than it must be until the migration is committed."""


def plan_place(inode: Inode, prefix: int, *, keep_mirror: bool) -> Plan:
    """How ``prefix`` becomes the file's P.

    With ``keep_mirror`` a disk object that is the whole file then is kept as the mirror.
    """
    below = min(inode.size, inode.prefix)
    if prefix > inode.prefix:
        whole = bool(inode.mirrored) or (inode.prefix == 0 and inode.size > 0)
        extent = Extent(below, min(inode.size, prefix) - below)
        return _plan(inode, prefix, mirrored=whole and keep_mirror, way="up", extent=extent)
    mirrored = bool(inode.mirrored) and keep_mirror and prefix > 0
    start = min(prefix, below)
    extent = Extent(start, 0 if inode.mirrored else below - start)
    return _plan(inode, prefix, mirrored=mirrored, way="down", extent=extent)


def plan_mirror(inode: Inode) -> Plan | None:
    """How the file gets a mirror; None: it has one, or nothing on flash."""
    below = min(inode.size, inode.prefix)
    if inode.mirrored or not below:
        return None
    return _plan(inode, inode.prefix, mirrored=True, way="down", extent=Extent(0, below))


def _plan(
    inode: Inode, prefix: int, *, mirrored: bool, way: Literal["up", "down"], extent: Extent
) -> Plan:
    old = object_lengths(inode.size, inode.prefix, mirrored=inode.mirrored)
    new = object_lengths(inode.size, prefix, mirrored=mirrored)
    target = old.flash if way == "up" else old.disk
    return Plan(
        prefix=prefix,
        mirrored=int(mirrored),
        way=way,
        extent=extent,
        freed=max(0, old.flash - new.flash),
        frees=new.flash < old.flash or new.disk < old.disk,
        spreads=extent.length > 0 and extent.end > target,
    )
