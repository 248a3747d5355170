"""Rename: the one call that touches two directories and up to two inodes.

Rules and the order of the checks: rename(2), and ``vfs_rename`` in fs/namei.c of Linux.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from tierfs.base.errors import FsError
from tierfs.core.directories import Directories, is_directory
from tierfs.index.index import Index
from tierfs.index.inodes import ROOT, Inode

NOREPLACE = 1
EXCHANGE = 2
WHITEOUT = 4

Place = tuple[int, bytes]
"""A directory's inode number and a name in it."""


class _Move(NamedTuple):
    """``source`` holds ``inode``; ``target`` holds ``other``, or nothing."""

    source: Place
    inode: Inode
    target: Place
    other: Inode | None


class Renames:
    """Renames on one index; inside a transaction."""

    def __init__(self, index: Index, directories: Directories) -> None:
        self._index = index
        self._directories = directories

    def rename(self, source: Place, target: Place, flags: int) -> Inode | None:
        """Do it; returns the inode that lost the target name, if any did.

        The whiteout of RENAME_WHITEOUT is the caller's to make, under the name that is now free.

        Raises:
            FsError: as rename(2).
        """
        if flags & ~(NOREPLACE | EXCHANGE | WHITEOUT) or (flags & EXCHANGE and flags != EXCHANGE):
            raise FsError(errno.EINVAL)
        move = self._plan(source, target)
        if move.other is not None and flags & NOREPLACE:
            raise FsError(errno.EEXIST)
        if move.other is None and flags == EXCHANGE:
            raise FsError(errno.ENOENT)
        if is_directory(move.inode) and self._is_inside(target[0], move.inode.ino):
            raise FsError(errno.EINVAL)
        if flags == EXCHANGE:
            self._exchange(move)
            return None
        return self._move(move)

    def _plan(self, source: Place, target: Place) -> _Move:
        self._directories.get(source[0])
        inode = self._directories.entry(*source)
        directory = self._directories.get(target[0])
        other = self._directories.find(*target)
        if directory.nlink == 0:
            raise FsError(errno.ENOENT)
        return _Move(source, inode, target, other)

    def _is_inside(self, directory: int, ancestor: int) -> bool:
        """Whether ``directory`` is ``ancestor`` or below it."""
        while directory not in {ancestor, ROOT}:
            directory = self._index.inodes.get(directory).parent
        return directory == ancestor

    def _move(self, move: _Move) -> Inode | None:
        source, inode, target, other = move
        if other is not None and other.ino == inode.ino:
            return None  # two names of one file: nothing is done
        if other is None:
            self._move_entry(source, target, inode)
        else:
            other = self._replace(move, other)
        self._directories.mark_changed(inode, parent=target[0])
        self._touch_both(move, replaced=other)
        return other

    def _move_entry(self, source: Place, target: Place, inode: Inode) -> None:
        """Give it a free name; within a directory it keeps its place in the listing.

        So an entry that a program renames while it lists the directory is not listed again.
        """
        if source[0] == target[0]:
            self._index.entries.rename(*source, target[1], inode.ino)
        else:
            self._index.entries.delete(*source)
            self._index.entries.insert(*target, inode.ino, self._index.new_serial())

    def _replace(self, move: _Move, other: Inode) -> Inode:
        if is_directory(move.inode):
            self._directories.check_removable(other)
        elif is_directory(other):
            raise FsError(errno.EISDIR)
        self._index.entries.delete(*move.source)
        self._index.entries.point(*move.target, move.inode.ino)
        return self._directories.drop_link(other)

    def _touch_both(self, move: _Move, *, replaced: Inode | None) -> None:
        """Times and link counts of both directories: .. of a moved directory links its parent."""
        moved = is_directory(move.inode)
        gone = replaced is not None and is_directory(replaced)
        self._directories.touch(move.source[0], links=-moved)
        self._directories.touch(move.target[0], links=moved - gone)

    def _exchange(self, move: _Move) -> None:
        source, inode, target, other = move
        if other is None or other.ino == inode.ino:
            return
        if is_directory(other) and self._is_inside(source[0], other.ino):
            raise FsError(errno.EINVAL)
        self._index.entries.point(*source, other.ino)
        self._index.entries.point(*target, inode.ino)
        self._directories.mark_changed(inode, parent=target[0])
        self._directories.mark_changed(other, parent=source[0])
        balance = is_directory(other) - is_directory(inode)
        self._directories.touch(source[0], links=balance)
        self._directories.touch(target[0], links=-balance)
