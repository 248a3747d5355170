"""Bytes that change below: the copies of a file's bytes, and a bit of one of them flipped."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import NamedTuple

from tests.support.volumes import LooseVolume
from tierfs.common.extents import object_lengths
from tierfs.fs.verification import Outcome
from tierfs.metadata.inodes import Inode


class Place(NamedTuple):
    """A byte of one copy; ``has_copy``: there is another one that is right."""

    path: Path
    offset: int
    has_copy: bool


def flip(path: Path, offset: int) -> None:
    """Change one bit, as a device does: nobody is told, and no time changes."""
    before = path.stat()
    with path.open("r+b", buffering=0) as stream:
        stream.seek(offset)
        (byte,) = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte ^ 1 << offset % 8]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def copies(volume: LooseVolume, inode: Inode) -> list[tuple[str, Path, range, bool]]:
    """Each copy of bytes: its name, its object, the offsets, and whether it is one of two."""
    below = min(inode.size, inode.prefix)
    flash, disk = volume.flash_object(inode.ino), volume.disk_object(inode.ino)
    mirrored = bool(inode.mirrored)
    found = [("head", flash, range(below), mirrored)]
    if mirrored:
        found.append(("mirror", disk, range(below), True))
    if object_lengths(inode.size, inode.prefix).disk:
        found.append(("tail", disk, range(below, inode.size), False))
    return [each for each in found if each[2]]


def any_byte(volume: LooseVolume, inode: Inode, chance: random.Random) -> Place:
    """A byte of any copy."""
    _, path, offsets, has_copy = chance.choice(copies(volume, inode))
    return Place(path, chance.choice(offsets), has_copy)


def verify(volume: LooseVolume, *names: bytes) -> list[Outcome]:
    """Verify files of the root."""
    inos = [volume.find(name).ino for name in names]
    return [each.outcome for each in volume.fs.verifier.verify(inos, paced=lambda _: None)]
