"""Rename: the one call that touches two directories and up to two inodes.

Rules and the order of the checks: rename(2), and ``vfs_rename`` in fs/namei.c of Linux.
"""

from __future__ import annotations

import errno

from tierfs.common.errors import FsError
from tierfs.fs.directories import Directories, check_name, is_directory
from tierfs.metadata.dentries import DentryKey
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import ROOT, Inode

NOREPLACE = 1
EXCHANGE = 2
WHITEOUT = 4


class Renames:
    """Renames on one index; inside a transaction."""

    def __init__(self, index: Index, directories: Directories) -> None:
        self._index = index
        self._directories = directories

    def rename(self, source: DentryKey, target: DentryKey, flags: int) -> Inode | None:
        """Do it; returns the inode that lost the target name, if any did.

        The whiteout of RENAME_WHITEOUT is the caller's to make, under the name that is now free.

        Raises:
            FsError: as rename(2).
        """
        if flags & ~(NOREPLACE | EXCHANGE | WHITEOUT) or (flags & EXCHANGE and flags != EXCHANGE):
            raise FsError(errno.EINVAL)
        self._directories.get(source[0])
        inode = self._directories.entry(*source)
        self._check_target(target)
        other = self._directories.find(*target) if flags & (NOREPLACE | EXCHANGE) else None
        if other is not None and flags & NOREPLACE:
            raise FsError(errno.EEXIST)
        if other is None and flags == EXCHANGE:
            raise FsError(errno.ENOENT)
        if is_directory(inode) and self._is_inside(target[0], inode.ino):
            raise FsError(errno.EINVAL)
        if other is not None:
            self._exchange(source, inode, target, other)
            return None
        return self._move(source, inode, target)

    def _check_target(self, target: DentryKey) -> None:
        directory = self._directories.get(target[0])
        check_name(target[1])
        if directory.nlink == 0:
            raise FsError(errno.ENOENT)

    def _is_inside(self, directory: int, ancestor: int) -> bool:
        """Whether ``directory`` is ``ancestor`` or below it."""
        while directory not in {ancestor, ROOT}:
            directory = self._index.inodes.present(directory).parent
        return directory == ancestor

    def _move(self, source: DentryKey, inode: Inode, target: DentryKey) -> Inode | None:
        if source == target:
            return None
        replaced = None
        if not self._move_entry(source, target, inode):
            other = self._directories.entry(*target)
            if other.ino == inode.ino:
                return None  # two names of one file: nothing is done
            replaced = self._replace(source, inode, target, other)
        self._directories.mark_changed(inode, parent=target[0])
        self._touch_both(source, inode, target, replaced)
        return replaced

    def _move_entry(self, source: DentryKey, target: DentryKey, inode: Inode) -> bool:
        """Give it a free name, or return False; within a directory it keeps its place in a listing.

        So an entry that a program renames while it lists the directory is not listed again.
        """
        if source[0] == target[0]:
            return self._index.dentries.rename(*source, target[1], inode.ino)
        if self._directories.find(*target) is not None:
            return False
        self._index.dentries.move(source, target, inode.ino, self._index.new_serial())
        return True

    def _replace(self, source: DentryKey, inode: Inode, target: DentryKey, other: Inode) -> Inode:
        if is_directory(inode):
            self._directories.check_removable(other)
        elif is_directory(other):
            raise FsError(errno.EISDIR)
        self._index.dentries.delete(*source)
        self._index.dentries.point(*target, inode.ino)
        return self._directories.drop_link(other)

    def _touch_both(
        self, source: DentryKey, inode: Inode, target: DentryKey, replaced: Inode | None
    ) -> None:
        """Times and link counts of both directories: .. of a moved directory links its parent."""
        moved = is_directory(inode)
        gone = replaced is not None and is_directory(replaced)
        if source[0] == target[0]:
            self._directories.touch(source[0], links=-gone)
        else:
            self._directories.touch(source[0], links=-moved)
            self._directories.touch(target[0], links=moved - gone)

    def _exchange(self, source: DentryKey, inode: Inode, target: DentryKey, other: Inode) -> None:
        if other.ino == inode.ino:
            return
        if is_directory(other) and self._is_inside(source[0], other.ino):
            raise FsError(errno.EINVAL)
        self._index.dentries.point(*source, other.ino)
        self._index.dentries.point(*target, inode.ino)
        self._directories.mark_changed(inode, parent=target[0])
        self._directories.mark_changed(other, parent=source[0])
        balance = is_directory(other) - is_directory(inode)
        self._directories.touch(source[0], links=balance)
        self._directories.touch(target[0], links=-balance)
