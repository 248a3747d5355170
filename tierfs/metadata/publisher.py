"""Tells the view what changed, and what was read.

All of it happens under the database's lock. So the view is told of commits in their order, before
the reply to whoever made the change, and a row that was read before a commit is never published
after it. What is read inside a transaction may be undone, and is not published.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from tierfs.metadata.view import ABSENT, Line, NullView, View

if TYPE_CHECKING:
    from tierfs.metadata.inodes import Inode

XATTRS_MAX = 8192
"""Bytes of names and values of one inode: with more, its attributes are not read ahead."""

Pairs = list[tuple[bytes, bytes]]


class Publisher:
    """What the present transaction changes, kept until it is committed; and what reads find."""

    def __init__(self) -> None:
        self._view: View = NullView()
        self.on = False
        """Whether the view keeps what it is told: else reads need not be published."""
        self.withheld: dict[int, int] = {}
        """Inodes whose rows are not published: see ``Inodes.unreconciled``."""
        self._inodes: dict[int, Inode | None] = {}
        self._entries: dict[tuple[int, bytes], int] = {}
        self._xattrs: dict[int, dict[bytes, bytes] | None] = {}
        self._directories: list[int] = []
        self._made: set[int] = set()

    def publish_to(self, view: View) -> None:
        """From now on; ``view`` holds nothing yet."""
        self._view, self.on = view, not isinstance(view, NullView)

    # ---------------------------------------------------------------- inside a transaction

    def made(self, inode: Inode) -> None:
        """An inode is new: it has no attribute, and no name in it, but those that follow."""
        self._inodes[inode.ino] = inode
        self._xattrs[inode.ino] = {}
        self._made.add(inode.ino)
        if stat.S_ISDIR(inode.mode):
            self._directories.append(inode.ino)

    def changed(self, inode: Inode) -> None:
        """A row was changed."""
        self._inodes[inode.ino] = inode

    def removed(self, ino: int) -> None:
        """A row was deleted."""
        self._inodes[ino] = None
        if ino in self._directories:
            self._directories.remove(ino)

    def named(self, parent: int, name: bytes, ino: int) -> None:
        """A name leads to the inode now; ``ABSENT``: to none."""
        self._entries[parent, name] = ino

    def xattr_changed(self, ino: int, name: bytes, value: bytes | None) -> None:
        """An extended attribute was set, or with None removed."""
        known = self._xattrs.setdefault(ino, None)
        if known is not None and value is not None:
            known[name] = value
        elif known is not None:
            known.pop(name, None)

    def xattrs_removed(self, ino: int) -> None:
        """An inode has no extended attribute any longer."""
        self._xattrs[ino] = {}

    # ---------------------------------------------------------------- its end

    def commit(self) -> None:
        """Tell what was changed; if that fails, the view is emptied, since it may be old."""
        if not (self._inodes or self._entries or self._xattrs):
            return
        try:
            self._tell()
        except BaseException:
            self._view.clear()
            raise
        finally:
            self._forget()

    @property
    def inodes_touched(self) -> set[int]:
        """Inodes of which the present transaction has changed the row or the attributes."""
        return {*self._inodes, *self._xattrs}

    @property
    def names_touched(self) -> list[tuple[int, bytes]]:
        """Names that it has changed, with their directories."""
        return list(self._entries)

    def roll_back(self) -> None:
        """Withdraw what was to be changed: a COMMIT that failed may have been made all the same."""
        for ino in self._inodes:
            self._view.drop_inode(ino)
        for parent, name in self._entries:
            self._view.drop_entry(parent, name)
            self._view.drop_listing(parent)
        for ino in self._xattrs:
            self._view.drop_xattrs(ino)
        self._forget()

    def _tell(self) -> None:
        """Inodes first: names and attributes of one that is not published are not kept."""
        view = self._view
        for ino, inode in self._inodes.items():
            if inode is None or ino in self.withheld:
                view.drop_inode(ino)
            elif ino in self._made:
                view.put_inode(inode)  # nobody has heard of it yet
            else:
                view.change_inode(inode)
        for ino in self._directories:
            view.begin_directory(ino)
            view.complete_directory(ino)
        for (parent, name), ino in self._entries.items():
            view.put_entry(parent, name, ino)
            view.drop_listing(parent)
        for ino, pairs in self._xattrs.items():
            if pairs is None:
                view.drop_xattrs(ino)
            else:
                view.put_xattrs(ino, sorted(pairs.items()))
        view.committed()

    def _forget(self) -> None:
        self._inodes.clear()
        self._entries.clear()
        self._xattrs.clear()
        self._directories.clear()
        self._made.clear()

    # ---------------------------------------------------------------- outside a transaction

    def noted(self, inode: Inode) -> None:
        """A row was changed in memory."""
        self._view.change_inode(inode)
        self._view.committed()

    def found_inode(self, inode: Inode) -> None:
        """A row was read."""
        if inode.ino not in self.withheld:
            self._view.put_inode(inode)

    def found(self, parent: int, name: bytes, inode: Inode) -> None:
        """A name was read with its inode."""
        self.found_inode(inode)
        self._view.put_entry(parent, name, inode.ino)

    def found_absent(self, parent: int, name: bytes) -> None:
        """A name was asked for that is not there."""
        self._view.put_entry(parent, name, ABSENT)

    def found_xattrs(self, ino: int, pairs: Pairs) -> None:
        """All extended attributes of an inode were read."""
        self._view.put_xattrs(ino, pairs)

    def found_listing(self, ino: int, cookie: int, rows: list[Line], *, end: bool) -> None:
        """A page of a listing was read, and each name on it published."""
        self._view.put_listing(ino, cookie, rows, end)

    def begin_directory(self, ino: int) -> bool:
        """Every name of a directory is going to be read; False: all are published already."""
        return self._view.begin_directory(ino)

    def complete_directory(self, ino: int) -> bool:
        """Every name was read and published; False: some were dropped again meanwhile."""
        return self._view.complete_directory(ino)
