"""What must hold of every volume, whatever went wrong on it before."""

from __future__ import annotations

import stat
from collections import Counter

from tests.support.volumes import LooseVolume
from tierfs.common.extents import object_lengths
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.storage.objects import ObjectStore


def check(volume: LooseVolume, *, trimmed: bool = False) -> None:
    """Assert that names, links, inodes and objects fit; ``trimmed``: that objects hold no more."""
    rows = volume.index._database.rows("SELECT parent, name, ino FROM entry")
    inodes = {ino: volume.fs.attributes.get(ino) for ino in all_inodes(volume)}
    named = Counter(ino for _, _, ino in rows)
    assert set(named) <= set(inodes), "an entry of an inode that is not there"
    for ino, inode in inodes.items():
        assert inode.nlink == expected_links(inode, rows, inodes, named), f"links of {ino}"
        if stat.S_ISREG(inode.mode) and inode.nlink:
            check_objects(volume, inode, trimmed=trimmed)
    regular = {ino for ino, inode in inodes.items() if stat.S_ISREG(inode.mode)}
    for store in stores(volume):
        assert {int(path.name) for path in store.root.glob("*/*/*")} <= regular, (
            f"a {store.name} object of no file"
        )
    if trimmed:
        assert volume.index.pending_truncations.all() == []


def all_inodes(volume: LooseVolume) -> list[int]:
    return [ino for (ino,) in volume.index._database.rows("SELECT ino FROM inode")]


def stores(volume: LooseVolume) -> tuple[ObjectStore, ObjectStore]:
    return volume.volume._flash, volume.volume._disk


def expected_links(
    inode: Inode, rows: list[tuple[int, bytes, int]], inodes: dict[int, Inode], named: Counter[int]
) -> int:
    if not stat.S_ISDIR(inode.mode):
        return named[inode.ino]
    if inode.ino != ROOT and not named[inode.ino]:
        return 0
    return 2 + sum(
        parent == inode.ino and stat.S_ISDIR(inodes[ino].mode) for parent, _, ino in rows
    )


def check_objects(volume: LooseVolume, inode: Inode, *, trimmed: bool) -> None:
    wanted = object_lengths(inode.size, inode.prefix, mirrored=inode.mirrored)
    for store, length in zip(stores(volume), wanted, strict=True):
        found = store.length(inode.ino) or 0
        where = f"{store.name} object of {inode.ino}: {found} bytes, {length} needed"
        assert found >= length, where
        if trimmed:
            assert found == length, where
    if inode.mirrored:
        check_mirror(volume, inode)


def check_mirror(volume: LooseVolume, inode: Inode) -> None:
    """Assert that the disk object holds what flash holds."""
    flash, disk = stores(volume)
    length = min(inode.size, inode.prefix)
    if length:
        copy, original = disk.read(inode.ino, 0, length), flash.read(inode.ino, 0, length)
        assert copy == original, f"the mirror of {inode.ino} is not what flash holds"


def content(volume: LooseVolume, *names: bytes) -> bytes:
    """All bytes of a file, read in one piece and again in small pieces."""
    inode = volume.find(*names)
    whole = volume.fs.reads.read(inode.ino, 0, inode.size + 10)
    assert len(whole) == inode.size
    step = 1000
    pieces = [volume.fs.reads.read(inode.ino, at, step) for at in range(0, inode.size, step)]
    assert b"".join(pieces) == whole
    return whole
