"""Directory listings that go on where they were, whatever was made or removed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

from tierfs.fs.directories import as_directory
from tierfs.fs.references import References
from tierfs.metadata.dentries import Dentry
from tierfs.metadata.index import Index

DOT = b"."
DOTDOT = b".."
DOT_COOKIE = 1
DOTDOT_COOKIE = 2


class Listing:
    """Entries by directory and cookie; a cookie stays good for as long as the directory lives."""

    def __init__(self, index: Index, references: References) -> None:
        self._index = index
        self._references = references

    def after(self, ino: int, cookie: int = 0) -> Iterator[Dentry]:
        """The entries behind ``cookie``; 0: all of them, ``.`` and ``..`` first (getdents(2)).

        No reference is taken: ``refer`` to each entry that the kernel is told of.

        Raises:
            FsError: ENOTDIR, ESTALE.
        """
        yield from (entry for entry in self._dots(ino) if entry.cookie > cookie)
        yield from self._index.dentries.after(ino, max(cookie, DOTDOT_COOKIE))

    def publish(self, ino: int, cookie: int) -> None:
        """Publish the page of entries behind ``cookie``.

        Raises:
            FsError: ENOTDIR, ESTALE.
        """
        dots = [
            (entry.name, entry.cookie, entry.inode.ino, entry.inode.mode)
            for entry in self._dots(ino)
            if entry.cookie > cookie
        ]
        self._index.dentries.fill_listing(ino, cookie, dots)

    def refer(self, entry: Dentry) -> None:
        """Take a reference on a listed inode, as READDIRPLUS does; not on ``.`` and ``..``."""
        if entry.cookie > DOTDOT_COOKIE:
            self._references.add(entry.inode.ino)

    def _dots(self, ino: int) -> tuple[Dentry, Dentry]:
        directory = as_directory(self._index.inodes.get(ino))
        parent = self._index.inodes.find(directory.parent) or directory
        return Dentry(DOT, DOT_COOKIE, directory), Dentry(DOTDOT, DOTDOT_COOKIE, parent)
