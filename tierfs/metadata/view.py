"""What is published of the index, for one who answers requests without asking the index.

The view holds rows that the index has at this moment, never others: every change reaches it
after its commit and before the reply to whoever made it. Of what it does not hold it knows
nothing; it may drop anything at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tierfs.metadata.inodes import Inode

ABSENT = 0
"""In place of an inode number: there is no such name."""


Line = tuple[bytes, int, int, int]
"""Of a listing: name, cookie (where the next line begins), inode number, mode."""


class View(Protocol):
    """Called under the index's lock, so in the order of the commits; may be read at any time."""

    def put_inode(self, row: Inode, /) -> None:
        """The inode is this; what is known of its extended attributes stays."""

    def change_inode(self, row: Inode, /) -> None:
        """The inode was changed to this, by a commit; whoever remembers what it was is told."""

    def drop_inode(self, ino: int, /) -> None:
        """Nothing is known of the inode, its names and extended attributes any longer."""

    def put_entry(self, parent: int, name: bytes, ino: int, /) -> None:
        """The name leads to the inode, or with ``ABSENT`` there is none."""

    def drop_entry(self, parent: int, name: bytes, /) -> None:
        """Nothing is known of the name any longer."""

    def put_xattrs(self, ino: int, pairs: Sequence[tuple[bytes, bytes]], /) -> None:
        """These are all extended attributes of an inode that was put, in order of their names."""

    def drop_xattrs(self, ino: int, /) -> None:
        """Nothing is known of the inode's extended attributes any longer."""

    def begin_directory(self, ino: int, /) -> bool:
        """Every name of a directory is going to be put; False: all are known already."""

    def complete_directory(self, ino: int, /) -> bool:
        """Every name was put; False: some were dropped meanwhile."""

    def put_listing(self, ino: int, cookie: int, rows: list[Line], end: bool, /) -> None:  # noqa: FBT001 - a row of C
        """A directory lists these behind ``cookie``, in this order; ``end``: and no more."""

    def drop_listing(self, ino: int, /) -> None:
        """A directory lists other names than before."""

    def committed(self) -> None:
        """Something changed: what was derived from the rows is old."""

    def clear(self) -> None:
        """Nothing is known of anything any longer."""


class NullView:
    """Holds nothing."""

    def put_inode(self, row: Inode, /) -> None:
        """See ``View``."""

    def change_inode(self, row: Inode, /) -> None:
        """See ``View``."""

    def drop_inode(self, ino: int, /) -> None:
        """See ``View``."""

    def put_entry(self, parent: int, name: bytes, ino: int, /) -> None:
        """See ``View``."""

    def drop_entry(self, parent: int, name: bytes, /) -> None:
        """See ``View``."""

    def put_xattrs(self, ino: int, pairs: Sequence[tuple[bytes, bytes]], /) -> None:
        """See ``View``."""

    def drop_xattrs(self, ino: int, /) -> None:
        """See ``View``."""

    def begin_directory(self, ino: int, /) -> bool:  # noqa: ARG002 - as in View
        """See ``View``; there is nothing to publish to."""
        return False

    def complete_directory(self, ino: int, /) -> bool:  # noqa: ARG002 - as in View
        """See ``View``."""
        return False

    def put_listing(self, ino: int, cookie: int, rows: list[Line], end: bool, /) -> None:  # noqa: FBT001
        """See ``View``."""

    def drop_listing(self, ino: int, /) -> None:
        """See ``View``."""

    def committed(self) -> None:
        """See ``View``."""

    def clear(self) -> None:
        """See ``View``."""
