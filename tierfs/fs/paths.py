"""From an inode back to a path, for messages; not for anything that must be fast."""

from __future__ import annotations

import os

from tierfs.metadata.index import Index
from tierfs.metadata.inodes import ROOT, Inode

UNKNOWN = "(unlinked)"


def path_of(index: Index, inode: Inode) -> str:
    """A path of the inode from the root of the volume, or ``(unlinked)`` when no name is known."""
    names: list[bytes] = []
    current: Inode | None = inode
    while current is not None and current.ino != ROOT:
        name = index.dentries.name_of(current)
        if name is None:
            return UNKNOWN
        names.append(name)
        current = index.inodes.find(current.parent)
    return "/" + "/".join(os.fsdecode(name) for name in reversed(names))
