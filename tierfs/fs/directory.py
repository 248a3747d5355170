"""Directories: the checks and steps of every change to one, listings, and paths.

A listing continues at its position, whatever is created or removed meanwhile.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from functools import partial

from tierfs.common.errors import FsError
from tierfs.common.times import Clock
from tierfs.fs.lookup_counts import LookupCounts
from tierfs.metadata.dentries import Dentry
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode

NAME_MAX = 255
"""Bytes of a name (limits.h)."""

LINK_MAX = 2**31 - 1
"""Hard links of an inode: XFS_MAXLINK of Linux."""

DOT = b"."
DOTDOT = b".."
DOT_COOKIE = 1
DOTDOT_COOKIE = 2


def is_directory(inode: Inode) -> bool:
    """Whether the inode is a directory."""
    return stat.S_ISDIR(inode.mode)


def as_directory(inode: Inode) -> Inode:
    """The inode, which is a directory.

    Raises:
        FsError: ENOTDIR, it is none.
    """
    if not stat.S_ISDIR(inode.mode):
        raise FsError(errno.ENOTDIR)
    return inode


def as_present(directory: Inode) -> Inode:
    """The directory, in which something may be made.

    Raises:
        FsError: ENOENT, it is removed.
    """
    if directory.nlink == 0:
        raise FsError(errno.ENOENT)
    return directory


def check_name(name: bytes) -> None:
    """Refuse what no directory may hold.

    Raises:
        FsError: ENAMETOOLONG, or EINVAL for a name that is empty, ``.``, ``..`` or holds / or NUL.
    """
    if len(name) > NAME_MAX:
        raise FsError(errno.ENAMETOOLONG)
    if name in {b"", b".", b".."} or b"/" in name or b"\0" in name:
        raise FsError(errno.EINVAL)


class Directories:
    """Directories of one index, and the link counts and times that go with their entries."""

    def __init__(self, index: Index, clock: Clock) -> None:
        self._index = index
        self._clock = clock
        changer = partial(index.inodes.changer, with_a_name=True)
        self._touch = changer("mtime", "ctime")
        self._touch_and_link = changer("nlink", "mtime", "ctime")
        self._name = changer("ctime", "parent")
        self._unlink = changer("nlink", "ctime")

    def get(self, ino: int) -> Inode:
        """The directory (ENOTDIR, ESTALE)."""
        return as_directory(self._index.inodes.find_within(ino))

    def find(self, parent: int, name: bytes) -> Inode | None:
        """What ``name`` is, or None (ENAMETOOLONG, EINVAL)."""
        check_name(name)
        return self._index.dentries.find_within(parent, name)

    def entry(self, parent: int, name: bytes) -> Inode:
        """What ``name`` is (ENOENT, ENAMETOOLONG, EINVAL)."""
        inode = self.find(parent, name)
        if inode is None:
            raise FsError(errno.ENOENT)
        return inode

    def with_room_for(self, parent: int, name: bytes) -> Inode:
        """The directory, where ``name`` may be made (ENOENT when it is removed).

        That it is free (EEXIST) the index finds out when the entry is inserted.
        """
        directory = as_directory(self._index.inodes.find_within(parent))
        check_name(name)
        return as_present(directory)

    def check_removable(self, inode: Inode) -> None:
        """Refuse to remove what is not a directory (ENOTDIR) or not empty (ENOTEMPTY)."""
        if not is_directory(inode):
            raise FsError(errno.ENOTDIR)
        if not self._index.dentries.is_empty(inode.ino):
            raise FsError(errno.ENOTEMPTY)

    def touch(self, ino: int, *, links: int = 0) -> None:
        """Mark a directory changed; ``links`` subdirectories were added or removed."""
        self.touch_as_read(self._index.inodes.find_within(ino), links=links)

    def touch_as_read(self, directory: Inode, *, links: int = 0) -> None:
        """The same of one whose row was read in the same transaction and not changed since."""
        now = self._clock()
        if links:
            self._touch_and_link(directory, directory.nlink + links, now, now)
        else:
            self._touch(directory, now, now)

    def mark_changed(self, inode: Inode, *, parent: int) -> None:
        """Set the ctime of an inode that got a name in ``parent``."""
        self._name(inode, self._clock(), parent)

    def drop_link(self, inode: Inode) -> Inode:
        """One name less; a directory, whose only name it was, loses . too."""
        nlink = 0 if is_directory(inode) else inode.nlink - 1
        return self._unlink(inode, nlink, self._clock())


class Listing:
    """Entries by directory and cookie; a cookie stays good for as long as the directory lives."""

    def __init__(self, index: Index, lookup_counts: LookupCounts) -> None:
        self._index = index
        self._lookup_counts = lookup_counts

    def after(self, ino: int, cookie: int = 0) -> Iterator[Dentry]:
        """The entries behind ``cookie``; 0: all of them, ``.`` and ``..`` first (getdents(2)).

        Lookups are not counted: call ``count_lookup`` for each entry that the kernel gets.

        Raises:
            FsError: ENOTDIR, ESTALE.
        """
        yield from (entry for entry in self._dots(ino) if entry.cookie > cookie)
        yield from self._index.dentries.after(ino, max(cookie, DOTDOT_COOKIE))

    def fill(self, ino: int, cookie: int) -> None:
        """Put the page of entries behind ``cookie`` into the metadata cache.

        Raises:
            FsError: ENOTDIR, ESTALE.
        """
        dots = [
            (entry.name, entry.cookie, entry.inode.ino, entry.inode.mode)
            for entry in self._dots(ino)
            if entry.cookie > cookie
        ]
        self._index.dentries.fill_listing(ino, cookie, dots)

    def count_lookup(self, entry: Dentry) -> None:
        """Count a lookup of a listed inode, as READDIRPLUS does; not of ``.`` and ``..``."""
        if entry.cookie > DOTDOT_COOKIE:
            self._lookup_counts.add(entry.inode.ino)

    def _dots(self, ino: int) -> tuple[Dentry, Dentry]:
        directory = as_directory(self._index.inodes.get(ino))
        parent = self._index.inodes.find(directory.parent) or directory
        return Dentry(DOT, DOT_COOKIE, directory), Dentry(DOTDOT, DOTDOT_COOKIE, parent)
