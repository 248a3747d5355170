"""A metadata cache as the router keeps one, in Python, which compares its rows with the index."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tierfs.metadata.cache_updater import ABSENT, ListingLine
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode, inode_of

Pairs = list[tuple[bytes, bytes]]
_COLUMNS = ", ".join(Inode._fields)


class CheckedCache:
    """A metadata cache that is compared with the index on demand and at each call."""

    def __init__(self) -> None:
        self.index: Index | None = None
        """Compared with at each call, once it is set."""
        self.inodes: dict[int, Inode] = {}
        self.dentries: dict[tuple[int, bytes], int] = {}
        self.xattrs: dict[int, Pairs] = {}
        self.complete: set[int] = set()
        self.listings: dict[tuple[int, int], tuple[list[ListingLine], bool]] = {}
        self.calls = 0
        self.fail_at: int | None = None
        """The call that fails, counted from 0."""
        self._building: set[int] = set()

    # ---------------------------------------------------------------- MetadataCache

    def put_inode(self, row: Inode, /) -> None:
        self._call()
        self.inodes[row.ino] = row
        self._check(lambda index: self._check_inode(index, row.ino))

    def make_inode(self, row: Inode, /) -> None:
        self.put_inode(row)

    def change_inode(self, row: Inode, /) -> None:
        self.put_inode(row)

    def drop_inode(self, ino: int, /) -> None:
        self._call()
        self.inodes.pop(ino, None)
        self.xattrs.pop(ino, None)
        self._forget_names(lambda parent, child: ino in {parent, child})

    def put_dentry(self, parent: int, name: bytes, ino: int, /) -> None:
        self._call()
        self.dentries[parent, name] = ino
        self._check(lambda index: self._check_entry(index, parent, name))

    def drop_dentry(self, parent: int, name: bytes, /) -> None:
        self._call()
        self._forget_dentry(parent, name)

    def put_xattrs(self, ino: int, pairs: Sequence[tuple[bytes, bytes]], /) -> None:
        self._call()
        if ino in self.inodes:
            self.xattrs[ino] = list(pairs)
            self._check(lambda index: self._check_xattrs(index, ino))

    def drop_xattrs(self, ino: int, /) -> None:
        self._call()
        self.xattrs.pop(ino, None)

    def begin_fill(self, ino: int, /) -> bool:
        self._call()
        if ino in self.complete:
            return False
        self._building.add(ino)
        return True

    def complete_fill(self, ino: int, /) -> bool:
        self._call()
        if ino not in self._building:
            return False
        self._building.remove(ino)
        self.complete.add(ino)
        self._check(lambda index: self._check_directory(index, ino))
        return True

    def put_listing(self, ino: int, cookie: int, rows: list[ListingLine], end: bool, /) -> None:  # noqa: FBT001
        self._call()
        self.listings[ino, cookie] = (rows, end)

    def drop_listing(self, ino: int, /) -> None:
        self._call()
        self.listings = {key: page for key, page in self.listings.items() if key[0] != ino}

    def committed(self) -> None:
        self._call()

    def clear(self) -> None:
        for rows in (self.inodes, self.dentries, self.xattrs, self.listings):
            rows.clear()
        self.complete.clear()
        self._building.clear()

    # ---------------------------------------------------------------- what a router does by itself

    def lookup(self, parent: int, name: bytes) -> int | None:
        """What a LOOKUP is answered: an inode number, ABSENT, or None when it is passed on."""
        ino = self.dentries.get((parent, name))
        if ino is None:
            return ABSENT if parent in self.complete else None
        return ino if ino == ABSENT or ino in self.inodes else None

    def evict(self, number: int) -> None:
        """Drop one record or another."""
        if number % 2 and self.inodes:
            ino = sorted(self.inodes)[number % len(self.inodes)]
            del self.inodes[ino]
            self.xattrs.pop(ino, None)
        elif self.dentries:
            self._forget_dentry(*sorted(self.dentries)[number % len(self.dentries)])

    # ---------------------------------------------------------------- against the index

    def check(self, index: Index) -> None:
        """Assert that all that is held is what the index holds."""
        for ino in self.inodes:
            self._check_inode(index, ino)
        for parent, name in self.dentries:
            self._check_entry(index, parent, name)
        for ino in self.xattrs:
            self._check_xattrs(index, ino)
        for ino in self.complete:
            self._check_directory(index, ino)
        for (ino, cookie), (rows, _) in self.listings.items():
            self._check_listing(index, ino, cookie, rows)

    def _check_inode(self, index: Index, ino: int) -> None:
        query = f"SELECT {_COLUMNS} FROM inode WHERE ino = ?"  # noqa: S608
        row = index._database.row(query, ino)
        assert row is not None
        assert index.inodes.latest(inode_of(row)) == self.inodes[ino]

    def _check_entry(self, index: Index, parent: int, name: bytes) -> None:
        query = "SELECT ino FROM entry WHERE parent = ? AND name = ?"
        row = index._database.row(query, parent, name)
        assert (ABSENT if row is None else row[0]) == self.dentries[parent, name]

    def _check_xattrs(self, index: Index, ino: int) -> None:
        query = "SELECT name, value FROM xattr WHERE ino = ? ORDER BY name"
        assert index._database.rows(query, ino) == self.xattrs[ino]

    def _check_directory(self, index: Index, ino: int) -> None:
        query = "SELECT name FROM entry WHERE parent = ?"
        names = {name for (name,) in index._database.rows(query, ino)}
        assert names == {
            name for (parent, name), child in self.dentries.items() if parent == ino and child
        }

    def _check_listing(self, index: Index, ino: int, cookie: int, rows: list[ListingLine]) -> None:
        """``.`` and ``..`` have no entry; cookies are as ``Entries.after`` gives them."""
        listed = [(entry.name, entry.cookie) for entry in index.dentries.after(ino, max(cookie, 2))]
        assert [line[:2] for line in rows if line[1] > 2] == listed[: len(rows)]

    # ---------------------------------------------------------------- inside

    def _check(self, comparison: Callable[[Index], None]) -> None:
        if self.index is not None:
            comparison(self.index)

    def _call(self) -> None:
        self.calls += 1
        if self.fail_at is not None and self.calls > self.fail_at:
            self.fail_at = None
            raise MemoryError

    def _forget_dentry(self, parent: int, name: bytes) -> None:
        self.dentries.pop((parent, name), None)
        self.complete.discard(parent)
        self._building.discard(parent)

    def _forget_names(self, which: Callable[[int, int], bool]) -> None:
        for (parent, name), child in list(self.dentries.items()):
            if which(parent, child):
                self._forget_dentry(parent, name)
