"""A volume whose core is asked the way the kernel asks it, and what its objects must be."""

import errno
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path as OsPath
from typing import ParamSpec, TypeVar

from tests.model.driver import Path, os_error
from tierfs.common.errors import FsError, errno_of
from tierfs.common.extents import object_lengths
from tierfs.common.metrics import Metrics
from tierfs.fs.volume import HEADS, OBJECTS, format_volume, open_volume
from tierfs.metadata.dentries import Dentry
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.metadata.usage import IndexUsage
from tierfs.policy.volume_file import LogSettings, VolumeFile
from tierfs.storage.layout import object_path

P = ParamSpec("P")
T = TypeVar("T")

PAGE = 3
"""Entries that one listing call takes, few, so that a directory needs several."""


def ask(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the core; it fails with the errno that the mount would answer.

    Raises:
        OSError: the core raised what has an errno.
        WouldBlock: it was asked not to wait.
    """
    try:
        return function(*args, **kwargs)
    except (FsError, OSError) as error:
        raise os_error(errno_of(error)) from error


class CoreVolume:
    """An open volume, and how often the kernel would know each of its inodes.

    A `forgetful` kernel remembers nothing from one change of a directory to the next, but for
    the inodes that are open, so that what is unlinked was forgotten before.
    """

    def __init__(self, directory: OsPath, head: int, *, forgetful: bool) -> None:
        self.held: Counter[int] = Counter()
        self._forgetful = forgetful
        for name in ("flash", "disk"):
            (directory / name).mkdir(0o755)
        self._settings = VolumeFile(
            path=directory / "volume.yaml",
            flash=directory / "flash",
            disk=directory / "disk",
            index=directory / "flash" / "index.db",
            head=head,
            policy=None,
            metrics_listen=None,
            log=LogSettings(format="text", level="info", file=None),
        )
        format_volume(self._settings)
        self._references: Counter[int] = Counter()
        self.open()

    def open(self) -> None:
        """Open the volume, which is not open."""
        self._volume = open_volume(self._settings, metrics=Metrics())
        self.fs = self._volume.fs

    def close(self) -> None:
        """Close the volume as an unmount does: the kernel forgets nothing one by one."""
        self._references.clear()
        self.held.clear()
        self._volume.close()

    def abandon(self) -> None:
        """Let go of the volume as a killed daemon does: nothing is freed or made durable."""
        self._references.clear()
        self.held.clear()
        self._volume._resources.close()

    def last_inode(self) -> int:
        """The largest inode number there is."""
        return int(self._volume.index._database.rows("SELECT max(ino) FROM inode")[0][0])

    def find(self, path: Path) -> Inode:
        """Walk a path by lookups; a symlink on the way is dangling, as in the model."""
        inode = self.fs.attributes.get(ROOT)
        for name in path:
            if stat.S_ISLNK(inode.mode):
                raise os_error(errno.ENOENT)
            inode = self.known(ask(self.fs.names.lookup, inode.ino, name))
        return inode

    def parent(self, path: Path) -> int:
        """The number of the directory that the last name of a path is in."""
        if self._forgetful:
            self._give_back()
        inode = self.find(path[:-1])
        if stat.S_ISLNK(inode.mode):
            raise os_error(errno.ENOENT)
        if not stat.S_ISDIR(inode.mode):
            raise os_error(errno.ENOTDIR)
        return inode.ino

    def known(self, inode: Inode) -> Inode:
        """Count that the core told of an inode once more."""
        self._references[inode.ino] += 1
        return inode

    def listing(self, ino: int) -> list[Dentry]:
        """The entries of a directory without `.` and `..`, some at a time as READDIRPLUS."""
        entries: list[Dentry] = []
        while page := self._page(ino, entries[-1].cookie if entries else 0):
            entries += page
        assert [entry.name for entry in entries[:2]] == [b".", b".."]
        for entry in entries[2:]:
            self.fs.listing.count_lookup(entry)
            self.known(entry.inode)
        return entries[2:]

    def forget(self) -> None:
        """Give back every reference but those on open inodes, then free what is free."""
        self._give_back()
        self.fs.reclaimer.drain()
        self._check_objects()

    def _give_back(self) -> None:
        for ino in set(self._references) - set(self.held):
            self._forget_one(ino, self._references.pop(ino))

    def _forget_one(self, ino: int, count: int) -> None:
        """Give references back in two portions, since the kernel may do that too."""
        for portion in (count // 2, count - count // 2):
            if portion:
                self.fs.names.forget(ino, portion)
        assert self.fs.lookup_counts.count(ino) == 0, (
            f"inode {ino}: the core counts more references"
        )

    def _page(self, ino: int, cookie: int) -> list[Dentry]:
        return ask(lambda: list(islice(self.fs.listing.after(ino, cookie), PAGE)))

    def _check_objects(self) -> None:
        """Assert that the index and both stores hold what the tree and open files need, no more."""
        alive = {inode.ino: inode for inode in self._tree(self.fs.attributes.get(ROOT))}
        alive |= {ino: self.fs.attributes.get(ino) for ino in self.held}
        assert self._volume.index.pending_truncations.all() == [], "truncations are left"
        while self._volume.index.recount():
            pass
        kept = self._volume.usage().counts
        counted = _counted(alive.values())
        assert kept == counted, f"the index keeps {kept}, the inodes alive come to {counted}"
        for place, (root, kind) in enumerate(
            ((self._settings.flash, HEADS), (self._settings.disk, OBJECTS))
        ):
            lengths = {ino: _lengths(inode)[place] for ino, inode in alive.items()}
            expected = {ino: length for ino, length in lengths.items() if length}
            actual = _objects(root / kind)
            assert actual == expected, f"{kind} are {actual}, not {expected}"

    def _tree(self, directory: Inode) -> list[Inode]:
        found = [directory]
        for entry in islice(self.fs.listing.after(directory.ino), 2, None):
            is_directory = stat.S_ISDIR(entry.inode.mode)
            found += self._tree(entry.inode) if is_directory else [entry.inode]
        return found


def _lengths(inode: Inode) -> tuple[int, int]:
    """The lengths that the objects of an inode have when nothing waits to be trimmed."""
    return (
        object_lengths(inode.size, inode.prefix, mirrored=inode.mirrored)
        if stat.S_ISREG(inode.mode)
        else (0, 0)
    )


def _objects(root: OsPath) -> dict[int, int]:
    """Length by inode number of every object; each must be at its place."""
    found = {}
    for path in root.glob("*/*/*"):
        assert path == root / object_path(int(path.name)), f"{path} is at the wrong place"
        found[int(path.name)] = path.stat().st_size
    return found


def _counted(inodes: Iterable[Inode]) -> IndexUsage:
    """What `Index.usage` is to tell."""
    rows = list(inodes)
    files = [row for row in rows if stat.S_ISREG(row.mode)]
    flash = [min(row.size, row.prefix) for row in files]
    disk = [max(row.size - row.prefix, 0) for row in files]
    alone = [min(row.size, row.prefix) for row in files if not row.mirrored]
    parts = sum(flash), sum(disk), sum(map(bool, flash)), sum(map(bool, disk))
    return IndexUsage(len(rows), len(files), *parts, sum(map(bool, alone)), sum(alone))
