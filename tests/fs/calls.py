"""Short ways to say what the tests of the core do often."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.volumes import LooseVolume
from tierfs.common.errors import FsError
from tierfs.fs.namespace import Owner
from tierfs.metadata.inodes import ROOT, Inode

ME = Owner(1000, 1001)
NOBODY = 65534
FILE = stat.S_IFREG | 0o644
DIRECTORY = stat.S_IFDIR | 0o755
SYMLINK = stat.S_IFLNK | 0o777
FIFO = stat.S_IFIFO | 0o600


class Somebody:
    """A caller without any capability, in these groups."""

    def __init__(self, *groups: int, uid: int = NOBODY) -> None:
        self._groups = groups
        self._uid = uid

    def keeps_set_id(self) -> bool:
        return False

    def in_group(self, gid: int) -> bool:
        return gid in self._groups

    def owns(self, uid: int) -> bool:
        return uid == self._uid

    def administers(self) -> bool:
        return False


@contextmanager
def fails(code: int) -> Iterator[None]:
    """What is inside ends with this errno."""
    with pytest.raises(FsError) as failed:
        yield
    assert errno.errorcode[failed.value.errno] == errno.errorcode[code]


def make(volume: LooseVolume, name: bytes, mode: int = FILE, parent: int = ROOT) -> Inode:
    """Make something; the kernel goes on knowing it."""
    target = b"target" if stat.S_ISLNK(mode) else None
    return volume.fs.names.make(parent, name, mode, ME, target=target)


def file_of(volume: LooseVolume, data: bytes, name: bytes = b"file") -> int:
    """Make a file with these bytes; returns its inode number."""
    ino = make(volume, name).ino
    volume.fs.data.write(ino, 0, data)
    return ino


def names_in(volume: LooseVolume, ino: int = ROOT, cookie: int = 0) -> list[bytes]:
    """The names in a directory, without . and .., from ``cookie`` on."""
    listed = [entry.name for entry in volume.fs.listing.after(ino, cookie)]
    return [name for name in listed if name not in {b".", b".."}]
