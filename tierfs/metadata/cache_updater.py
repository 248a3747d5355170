"""The metadata cache as the index sees it, and its updater, which keeps it true.

The cache answers requests without the index. It holds only rows that equal the present ones of the
index: every change reaches it after its commit and before its reply. An entry that it does not hold
is unknown, not absent; it may evict anything at any time.

The updater works under the database's lock. So commits reach the cache in their order, and a
row that was read before a commit never reaches it after that. A row that is read inside a
transaction may be rolled back, and does not reach it.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from typing import Protocol

from tierfs.metadata.inodes import Inode

ABSENT = 0
"""In place of an inode number: a negative entry."""


ListingLine = tuple[bytes, int, int, int]
"""Of a listing: name, cookie (where the next line begins), inode number, mode."""

MAX_CACHED_XATTRS = 8192
"""Bytes of names and values of one inode: with more, its attributes are not read ahead."""

Pairs = list[tuple[bytes, bytes]]


class MetadataCache(Protocol):
    """Called under the index's lock, so in the order of the commits; may be read at any time."""

    def put_inode(self, row: Inode, /) -> None:
        """The inode is this; what is known of its extended attributes stays."""

    def make_inode(self, row: Inode, /) -> None:
        """The inode is new: no thread has its attributes but the one that makes it."""

    def change_inode(self, row: Inode, /) -> None:
        """A commit changed the inode to this: attributes that the kernel may hold are outdated."""

    def drop_inode(self, ino: int, /) -> None:
        """Nothing is known of the inode, its names and extended attributes any longer."""

    def put_dentry(self, parent: int, name: bytes, ino: int, /) -> None:
        """The name leads to the inode, or with ``ABSENT`` there is none."""

    def drop_dentry(self, parent: int, name: bytes, /) -> None:
        """Nothing is known of the name any longer."""

    def put_xattrs(self, ino: int, pairs: Sequence[tuple[bytes, bytes]], /) -> None:
        """These are all extended attributes of an inode that was put, in order of their names."""

    def drop_xattrs(self, ino: int, /) -> None:
        """Nothing is known of the inode's extended attributes any longer."""

    def begin_fill(self, ino: int, /) -> bool:
        """Every name of a directory is going to be put; False: all are known already."""

    def complete_fill(self, ino: int, /) -> bool:
        """Every name was put; False: some were dropped meanwhile."""

    def put_listing(self, ino: int, cookie: int, rows: list[ListingLine], end: bool, /) -> None:  # noqa: FBT001 - a row of C
        """A directory lists these behind ``cookie``, in this order; ``end``: and no more."""

    def drop_listing(self, ino: int, /) -> None:
        """A directory lists other names than before."""

    def committed(self) -> None:
        """Something changed: what was derived from the rows is outdated."""

    def clear(self) -> None:
        """Nothing is known of anything any longer."""


class NoMetadataCache:
    """Holds nothing."""

    def put_inode(self, row: Inode, /) -> None:
        """See ``MetadataCache``."""

    def make_inode(self, row: Inode, /) -> None:
        """See ``MetadataCache``."""

    def change_inode(self, row: Inode, /) -> None:
        """See ``MetadataCache``."""

    def drop_inode(self, ino: int, /) -> None:
        """See ``MetadataCache``."""

    def put_dentry(self, parent: int, name: bytes, ino: int, /) -> None:
        """See ``MetadataCache``."""

    def drop_dentry(self, parent: int, name: bytes, /) -> None:
        """See ``MetadataCache``."""

    def put_xattrs(self, ino: int, pairs: Sequence[tuple[bytes, bytes]], /) -> None:
        """See ``MetadataCache``."""

    def drop_xattrs(self, ino: int, /) -> None:
        """See ``MetadataCache``."""

    def begin_fill(self, ino: int, /) -> bool:  # noqa: ARG002 - as in MetadataCache
        """See ``MetadataCache``; there is nothing to fill."""
        return False

    def complete_fill(self, ino: int, /) -> bool:  # noqa: ARG002 - as in MetadataCache
        """See ``MetadataCache``."""
        return False

    def put_listing(self, ino: int, cookie: int, rows: list[ListingLine], end: bool, /) -> None:  # noqa: FBT001
        """See ``MetadataCache``."""

    def drop_listing(self, ino: int, /) -> None:
        """See ``MetadataCache``."""

    def committed(self) -> None:
        """See ``MetadataCache``."""

    def clear(self) -> None:
        """See ``MetadataCache``."""


class CacheUpdater:
    """What the present transaction changes, kept until it is committed; and what reads find."""

    def __init__(self) -> None:
        self._cache: MetadataCache = NoMetadataCache()
        self.enabled = False
        """Whether there is a cache that keeps rows; otherwise reads need not fill it."""
        self.withheld: dict[int, int] = {}
        """Inodes whose rows the cache is not given: see ``InodeTable.unreconciled``."""
        self.inodes: dict[int, Inode | None] = {}
        """Rows that were changed, for who changes one to put there; None: it was deleted."""
        self.dentries: dict[tuple[int, bytes], int] = {}
        """Names that lead to another inode now, likewise; ``ABSENT``: to none."""
        self._xattrs: dict[int, dict[bytes, bytes] | None] = {}
        self._directories: list[int] = []
        self._made: set[int] = set()
        self._crowded: set[int] = set()
        """Directories that got many names."""

    def attach_cache(self, cache: MetadataCache) -> None:
        """Update ``cache``, which holds nothing yet, from now on."""
        self._cache, self.enabled = cache, not isinstance(cache, NoMetadataCache)

    # ---------------------------------------------------------------- inside a transaction

    def made(self, inode: Inode) -> None:
        """An inode is new: it has no attribute, and no name in it, but those that follow."""
        self.inodes[inode.ino] = inode
        self._xattrs[inode.ino] = {}
        self._made.add(inode.ino)
        if stat.S_ISDIR(inode.mode):
            self._directories.append(inode.ino)

    def names_added(self, directories: Iterable[int]) -> None:
        """Directories whose rows change got many names, of which the cache is to keep none."""
        self._crowded.update(directories)

    def removed(self, ino: int) -> None:
        """A row was deleted."""
        self.inodes[ino] = None
        if ino in self._directories:
            self._directories.remove(ino)

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
        """Put the changes into the cache; if that fails, clear it, since it may be outdated."""
        if not (self.inodes or self.dentries or self._xattrs):
            return
        try:
            self._tell()
        except BaseException:
            self._cache.clear()
            raise
        finally:
            self._forget()

    @property
    def inodes_touched(self) -> set[int]:
        """Inodes of which the present transaction has changed the row or the attributes."""
        return {*self.inodes, *self._xattrs}

    @property
    def names_touched(self) -> list[tuple[int, bytes]]:
        """Names that it has changed, with their directories."""
        return list(self.dentries)

    def roll_back(self) -> None:
        """Drop what was to be changed: a COMMIT that failed may have taken effect."""
        for ino in self.inodes:
            self._cache.drop_inode(ino)
        for parent, name in self.dentries:
            self._cache.drop_dentry(parent, name)
            self._cache.drop_listing(parent)
        for ino in self._xattrs:
            self._cache.drop_xattrs(ino)
        self._forget()

    def _tell(self) -> None:
        """Inodes first: names and attributes of one that the cache does not hold are not kept."""
        cache = self._cache
        for ino in self._crowded:
            cache.drop_inode(ino)
            cache.drop_listing(ino)
        for ino, inode in self.inodes.items():
            if inode is None or ino in self.withheld:
                cache.drop_inode(ino)
            elif ino in self._made:
                cache.make_inode(inode)
            else:
                cache.change_inode(inode)
        for ino in self._directories:
            cache.begin_fill(ino)
            cache.complete_fill(ino)
        for (parent, name), ino in self.dentries.items():
            cache.put_dentry(parent, name, ino)
            cache.drop_listing(parent)
        for ino, pairs in self._xattrs.items():
            if pairs is None:
                cache.drop_xattrs(ino)
            else:
                cache.put_xattrs(ino, sorted(pairs.items()))
        cache.committed()

    def _forget(self) -> None:
        self.inodes.clear()
        self.dentries.clear()
        self._xattrs.clear()
        if self._made:
            self._directories.clear()
            self._made.clear()
        if self._crowded:
            self._crowded.clear()

    # ---------------------------------------------------------------- outside a transaction

    def deferred(self, inode: Inode) -> None:
        """A row was changed in memory alone."""
        self._cache.change_inode(inode)
        self._cache.committed()

    def fill_inode(self, inode: Inode) -> None:
        """A row was read."""
        if inode.ino not in self.withheld:
            self._cache.put_inode(inode)

    def fill_dentry(self, parent: int, name: bytes, inode: Inode) -> None:
        """A name was read with its inode."""
        self.fill_inode(inode)
        self._cache.put_dentry(parent, name, inode.ino)

    def fill_negative(self, parent: int, name: bytes) -> None:
        """A name was looked up that does not exist."""
        self._cache.put_dentry(parent, name, ABSENT)

    def fill_xattrs(self, ino: int, pairs: Pairs) -> None:
        """All extended attributes of an inode were read."""
        self._cache.put_xattrs(ino, pairs)

    def fill_listing(self, ino: int, cookie: int, rows: list[ListingLine], *, end: bool) -> None:
        """A page of a listing was read, and each name on it put into the cache."""
        self._cache.put_listing(ino, cookie, rows, end)

    def begin_fill(self, ino: int) -> bool:
        """Every name of a directory is going to be read; False: the cache holds all already."""
        return self._cache.begin_fill(ino)

    def complete_fill(self, ino: int) -> bool:
        """Every name was read and put into the cache; False: it has evicted some meanwhile."""
        return self._cache.complete_fill(ino)
