"""The router's side of what the core tells: the view that it answers from, and its references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tierfs.common.extents import BLOCK

if TYPE_CHECKING:
    from tierfs.fs.filesystem import StatFs
    from tierfs.native._router import Router

STATFS_S: Final = 1.0
"""Seconds for which statvfs(3) may be answered without asking, unless something is changed."""

NOTHING: Final = (0, 0, 0, 0, 0, 0, 0, 0)


class PublishedView:
    """The index's ``MetadataCache``, kept in the router's table."""

    def __init__(self, router: Router) -> None:
        # Called for every row: the router's own methods, not some that call them.
        self.put_inode = router.put_inode
        self.change_inode = router.change_inode
        self.drop_inode = router.drop_inode
        self.put_dentry = router.put_dentry
        self.drop_dentry = router.drop_dentry
        self.put_xattrs = router.put_xattrs
        self.drop_xattrs = router.drop_xattrs
        self.begin_fill = router.begin_fill
        self.complete_fill = router.complete_fill
        self.put_listing = router.put_listing
        self.clear = router.clear
        self.drop_listing = router.drop_listing
        self._router = router
        self._told_room = False

    def committed(self) -> None:
        """Who has just written or removed something wants to see that in df."""
        if self._told_room:
            self._told_room = False
            self._router.put_statfs(NOTHING, 0.0)

    def put_room(self, room: StatFs) -> None:
        """Let statvfs(3) be answered with ``room`` for a while."""
        blocks, free, available, files, files_free, name_max = room
        fields = (blocks, free, available, files, files_free, BLOCK, name_max, BLOCK)
        self._router.put_statfs(fields, STATFS_S)
        self._told_room = True


class RouterReferences:
    """References counted by the router, whose own answers make most of them."""

    def __init__(self, router: Router) -> None:
        self.add = router.add_lookups
        self.orphan = router.orphan
        self.count = router.lookup_count

    def drop(self, ino: int, count: int) -> bool:  # noqa: ARG002 - the router has counted
        """Only for the last FORGET of an unlinked inode: no other gets here."""
        return self.count(ino) == 0
