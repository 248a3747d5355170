"""Names: lookup, create, link, unlink, rename. Each change is one transaction on the index.

Checks that the kernel's VFS makes first are repeated here, so that this layer is complete by
itself and can be tested without a mount.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

from tierfs.common.errors import FsError
from tierfs.common.tierfs_xattrs import VIEW_CLASS
from tierfs.common.times import Clock
from tierfs.fs import acl
from tierfs.fs.allocation import Allocator
from tierfs.fs.directory import (
    LINK_MAX,
    Directories,
    as_directory,
    as_present,
    check_name,
    is_directory,
)
from tierfs.fs.dirty import DirtySet
from tierfs.fs.lookup_counts import LookupCounts
from tierfs.fs.reclaim import Reclaimer
from tierfs.metadata.dentries import DentryKey
from tierfs.metadata.index import UNLINKED, Index
from tierfs.metadata.inodes import DIRECTORY_SIZE, ROOT, Inode, make_inode

BY_NUMBER = frozenset({b".", b"..", b"/"})
"""Names that no directory holds, and that ``Namespace.lookup`` takes for an inode number."""

LARGEST_NUMBER = 2**63 - 1
"""Of an inode: what SQLite has as an integer."""

WHITEOUT_MODE = stat.S_IFCHR
"""Of the device 0:0 that hides a name in an overlay's upper layer (include/linux/fs.h)."""

NOREPLACE = 1
EXCHANGE = 2
WHITEOUT = 4


class Owner(NamedTuple):
    """The owner of a new inode, and the umask(2) of the process.

    ``umask`` is 0 where the kernel has applied it already.
    """

    uid: int
    gid: int
    umask: int = 0


ROOT_OWNER = Owner(0, 0)
_VIEW_CLASS = VIEW_CLASS.encode()


class Namespace:
    """The tree of names. A returned inode counts as looked up, until ``forget``.

    Raises from every method:
        FsError: with the errno that the man page of the system call names.
    """

    def __init__(
        self,
        index: Index,
        allocator: Allocator,
        lookup_counts: LookupCounts,
        reclaimer: Reclaimer,
        dirty: DirtySet,
        clock: Clock,
    ) -> None:
        self._index = index
        self._dirty = dirty
        self._allocator = allocator
        self._lookup_counts = lookup_counts
        self._reclaimer = reclaimer
        self._clock = clock
        self._directories = Directories(index, clock)
        self._renames = Renames(index, self._directories)

    def lookup(self, parent: int, name: bytes) -> Inode:
        """What ``name`` is in the directory (path_resolution(7)).

        ``.`` is the inode ``parent`` itself, of any type, and ``..`` the directory that a directory
        is in: so the kernel finds what it has forgotten and a file handle names
        (open_by_handle_at(2), fs/fuse/inode.c, ``fuse_get_dentry``). What it has found so has no
        name yet but ``/`` (``d_obtain_alias``), and by that it is looked up again when an overlay
        uses it. An inode without a name is not found again (ESTALE): it is about to be freed.
        """
        if name in BY_NUMBER:
            return self._looked_up(self._by_number(parent, name))
        inode = self.find(parent, name)
        if inode is None:
            raise FsError(errno.ENOENT)
        return self._looked_up(inode)

    def find(self, parent: int, name: bytes) -> Inode | None:
        """What ``name`` is in the directory, without a lookup count; None: nothing.

        The metadata cache gets the answer, too. Outside of a transaction.
        """
        as_directory(self._index.inodes.get(parent))
        check_name(name)
        return self._index.dentries.find(parent, name)

    def path_of(self, ino: int) -> bytes | None:
        """A path of the inode from the root, without a slash before it; None: none is known."""
        path = self._index.path_of(self._index.inodes.get(ino))
        return None if path == UNLINKED else os.fsencode(path[1:])

    def make(
        self,
        parent: int,
        name: bytes,
        mode: int,
        owner: Owner,
        *,
        rdev: int = 0,
        target: bytes | None = None,
    ) -> Inode:
        """Make an inode of the type in ``mode`` under a new name.

        Serves open(2) with O_CREAT, mkdir(2), mknod(2) and symlink(2).
        """
        dirty = None
        try:
            with self._index.transaction():
                directory = self._directories.with_room_for(parent, name)
                inode = self._add(directory, name, mode, owner, rdev=rdev, target=target)
                kind = stat.S_IFMT(mode)
                if kind == stat.S_IFREG:
                    dirty = self._dirty.begin(inode)
                if kind == stat.S_IFDIR:
                    self._directories.touch(parent, links=1)
                else:
                    self._index.inodes.defer_times(directory, inode.btime)
        except BaseException:
            if dirty:
                self._dirty.undo(dirty)
            raise
        self._lookup_counts.add(inode.ino)
        return inode

    def make_nameless(self, parent: int, mode: int, owner: Owner, *, exclusive: bool) -> Inode:
        """Make a file without a name, as ``make`` would in the directory (O_TMPFILE of open(2)).

        It lives until the kernel forgets it, or the next mount, unless ``link`` gives it a name;
        ``exclusive``, it gets none (O_EXCL).
        """
        dirty = None
        try:
            with self._index.transaction():
                directory = as_present(self._directories.get(parent))
                inode = self._add(directory, None, mode, owner)
                self._index.inodes.change(inode, mode=inode.mode)  # no name tells the feed of it
                dirty = self._dirty.begin(inode)
        except BaseException:
            if dirty:
                self._dirty.undo(dirty)
            raise
        self._looked_up(inode)
        self._lookup_counts.orphan(inode.ino)
        if not exclusive:
            self._index.inodes.linkable.add(inode.ino)
        return inode

    def link(self, ino: int, parent: int, name: bytes) -> Inode:
        """Give an inode a further name (link(2)), or one without a name its first.

        It then counts as being in that directory, unless the directory is in a view.
        """
        self._index.inodes.get(ino)  # reconciled now, if need be: inside a transaction it is not
        with self._index.transaction():
            self._directories.with_room_for(parent, name)
            inode = self._linkable(ino)
            in_view = self._index.xattrs.find_within(parent, _VIEW_CLASS) is not None
            inode = self._index.inodes.change(
                inode,
                nlink=inode.nlink + 1,
                ctime=self._clock(),
                parent=inode.parent if in_view and inode.nlink else parent,
            )
            self._index.dentries.insert(parent, name, ino, self._index.new_serial())
            self._directories.touch(parent)
        self._index.inodes.linkable.discard(ino)
        return self._looked_up(inode)

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove a name of anything but a directory (unlink(2))."""
        with self._index.transaction():
            directory = self._directories.get(parent)
            inode = self._directories.entry(parent, name)
            if is_directory(inode):
                raise FsError(errno.EISDIR)
            self._index.dentries.delete(parent, name)
            dropped = self._directories.drop_link(inode)
            self._directories.touch_as_read(directory)
        self._release(dropped)

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory (rmdir(2))."""
        with self._index.transaction():
            self._directories.get(parent)
            inode = self._directories.entry(parent, name)
            self._directories.check_removable(inode)
            self._index.dentries.delete(parent, name)
            dropped = self._directories.drop_link(inode)
            self._directories.touch(parent, links=-1)
        self._release(dropped)

    def rename(
        self,
        parent: int,
        name: bytes,
        new_parent: int,
        new_name: bytes,
        flags: int = 0,
        owner: Owner = ROOT_OWNER,
    ) -> None:
        """Move a name, replacing what has the new one (rename(2), renameat2(2)).

        ``flags``: RENAME_EXCHANGE, or any of RENAME_NOREPLACE and RENAME_WHITEOUT; the whiteout
        belongs to ``owner``.
        """
        with self._index.transaction():
            replaced = self._renames.rename((parent, name), (new_parent, new_name), flags)
            if flags & WHITEOUT and self._directories.find(parent, name) is None:
                self._add(self._directories.get(parent), name, WHITEOUT_MODE, owner)
        self._release(replaced)

    def take_over(self, nameless: Iterable[int]) -> None:
        """Continue with the inodes without a name that an earlier daemon left.

        Which of them may be given one the kernel knows as well (``I_LINKABLE``, fs/namei.c).
        """
        self._index.inodes.linkable.update(nameless)

    def forget(self, ino: int, count: int = 1) -> None:
        """Lower the lookup count by ``count``; the reclaimer frees an unlinked inode at 0."""
        self._lookup_counts.drop(ino, count)

    def _by_number(self, ino: int, name: bytes) -> Inode:
        if ino > LARGEST_NUMBER:  # a handle holds any 64 bits
            raise FsError(errno.ESTALE)
        inode = self._index.inodes.get(ino)
        if name == b"..":
            inode = self._index.inodes.get(as_directory(inode).parent)
        if inode.nlink == 0:
            raise FsError(errno.ESTALE)
        return inode

    def _looked_up(self, inode: Inode) -> Inode:
        self._lookup_counts.add(inode.ino)
        return inode

    def _release(self, inode: Inode | None) -> None:
        """Free an inode that lost its last name, now or when the kernel forgets it."""
        if inode is not None and inode.nlink == 0 and self._lookup_counts.orphan(inode.ino):
            self._reclaimer.add_unlinked(inode.ino)

    def _linkable(self, ino: int) -> Inode:
        inode = self._index.inodes.find_within(ino)
        if is_directory(inode):
            raise FsError(errno.EPERM)
        if inode.nlink == 0 and ino not in self._index.inodes.linkable:
            raise FsError(errno.ENOENT)
        if inode.nlink >= LINK_MAX:
            raise FsError(errno.EMLINK)
        return inode

    def _add(
        self,
        directory: Inode,
        name: bytes | None,
        mode: int,
        owner: Owner,
        *,
        rdev: int = 0,
        target: bytes | None = None,
    ) -> Inode:
        """A new inode under a free name or none; it inherits what the directory has to pass on."""
        index = self._index
        default = index.xattrs.find_within(directory.ino, acl.DEFAULT)
        inherited = None
        if default is not None:  # it takes the place of the umask (acl(5))
            inherited = acl.inherit(default, mode)
            mode = inherited.mode
        elif target is None:
            mode &= ~owner.umask
        inode = self._new_inode(directory, mode, owner, rdev=rdev, target=target)
        if name is None:
            inode = inode._replace(nlink=0)
        index.inodes.insert(inode)
        index.xattrs.begin(inode.ino)
        if name is not None:
            index.dentries.insert(directory.ino, name, inode.ino, inode.ino)
        if inherited:
            for key, value in ((acl.ACCESS, inherited.access), (acl.DEFAULT, inherited.default)):
                if value is not None:
                    index.xattrs.put(inode.ino, key, value)
        return inode

    def _new_inode(
        self, directory: Inode, mode: int, owner: Owner, *, rdev: int, target: bytes | None
    ) -> Inode:
        """A new row; a set-group-ID directory passes its group on (inode_init_owner)."""
        now = self._clock()
        gid = owner.gid
        is_dir = stat.S_ISDIR(mode)
        if directory.mode & stat.S_ISGID:
            gid = directory.gid
            mode |= stat.S_ISGID if is_dir else 0
        return make_inode(  # by name it takes 2 microseconds more
            (
                self._index.new_serial(),
                mode,
                owner.uid,
                gid,
                2 if is_dir else 1,  # nlink
                DIRECTORY_SIZE if is_dir else len(target or b""),
                rdev,
                now,  # atime
                now,  # mtime
                now,  # ctime
                self._allocator.head,
                0,  # version
                directory.ino,
                target,
                0,  # sparse
                0,  # mirrored
                now,  # btime
                0,  # adopted
            )
        )


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
        parent, name = target
        directory = self._directories.get(parent)
        check_name(name)
        if directory.nlink == 0:
            raise FsError(errno.ENOENT)
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

    def _is_inside(self, directory: int, ancestor: int) -> bool:
        """Whether ``directory`` is ``ancestor`` or below it."""
        while directory not in {ancestor, ROOT}:
            directory = self._index.inodes.find_within(directory).parent
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
