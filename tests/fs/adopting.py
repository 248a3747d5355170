"""Trees that are adopted into a loose volume, without a mount."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tests.support.volumes import LooseVolume
from tierfs.common.tree_report import Report, Step


def steps_of(tree: Path) -> Iterator[Step]:
    """Every directory of a tree with what else is in it, by rising inode number."""
    for path, _, _ in os.walk(os.fsencode(tree)):
        below = os.path.relpath(path, os.fsencode(tree))
        files: list[bytes] = []
        others: list[bytes] = []
        for entry in sorted(os.scandir(path), key=lambda entry: entry.inode()):
            if not entry.is_dir(follow_symlinks=False):
                (files if entry.is_file(follow_symlinks=False) else others).append(entry.name)
        yield Step(b"" if below == b"." else below, files, others)


def adopt(volume: LooseVolume, tree: Path, *, take: bool = False, heads: bool = False) -> Report:
    """Adopt all of a tree into the root of the volume, and settle that."""
    outcome = volume.fs.adoption.run(
        os.fsencode(tree), b"/", list(steps_of(tree)), take=take, heads=heads
    )
    volume.fs.adoption.settle()
    return outcome


def content_of(volume: LooseVolume, ino: int) -> bytes:
    size = volume.fs.attributes.get(ino).size
    return volume.fs.reads.read(ino, 0, size)


def paths(
    volume: LooseVolume, parent: int = 1, above: bytes = b""
) -> dict[bytes, tuple[object, ...]]:
    """Every name of a volume, with what belongs to it."""
    found: dict[bytes, tuple[object, ...]] = {}
    for entry in volume.index.dentries.after(parent, 2):
        inode, path = volume.fs.attributes.get(entry.inode.ino), above + b"/" + entry.name
        is_file = stat.S_ISREG(inode.mode)
        xattrs = [
            (name, volume.fs.xattrs.get(inode.ino, name))
            for name in volume.fs.xattrs.names(inode.ino)
        ]
        found[path] = (
            *(inode.mode, inode.uid, inode.gid, inode.nlink, inode.size, inode.rdev, inode.mtime),
            inode.target,
            content_of(volume, inode.ino) if is_file else b"",
            tuple(sorted(xattrs)),
        )
        if stat.S_ISDIR(inode.mode):
            found |= paths(volume, inode.ino, path)
    return found
