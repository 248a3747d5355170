"""A POSIX filesystem in memory, as root sees it on Linux.

Where POSIX leaves a choice, this does what the Linux VFS does; the test against a native
filesystem proves it. Every symlink must be dangling: one within a path ends it with ENOENT.
"""

import errno
import stat
from collections.abc import Iterator
from itertools import count

from tests.model.driver import (
    NAME_MAX,
    XATTR_SIZE_MAX,
    FallocateMode,
    Path,
    RenameFlags,
    XattrFlags,
    os_error,
)
from tests.model.nodes import Directory, Node, Regular, Special, Symlink
from tests.model.renames import rename


class PosixModel:
    """The tree, and the files that are open."""

    def __init__(self) -> None:
        self._numbers: Iterator[int] = count(1)
        self.root = Directory(next(self._numbers), stat.S_IFDIR | 0o755, nlink=2)
        self.handles: dict[int, Regular] = {}

    # Names

    def create(self, path: Path, mode: int) -> None:
        """open(O_CREAT | O_EXCL), and close."""
        parent, name = self._vacancy(path)
        self._add(parent, name, Regular(next(self._numbers), stat.S_IFREG | mode))

    def mkdir(self, path: Path, mode: int) -> None:
        """mkdir(2): set-group-ID is not taken, but inherited from the parent."""
        parent, name = self._vacancy(path)
        mode = stat.S_IFDIR | (mode & 0o1777) | (parent.mode & stat.S_ISGID)
        self._add(parent, name, Directory(next(self._numbers), mode, nlink=2))

    def mknod(self, path: Path, mode: int) -> None:
        """mknod(2) of a FIFO or a socket."""
        parent, name = self._vacancy(path)
        self._add(parent, name, Special(next(self._numbers), mode))

    def symlink(self, target: bytes, path: Path) -> None:
        """symlink(2)."""
        parent, name = self._vacancy(path)
        mode = stat.S_IFLNK | 0o777
        self._add(parent, name, Symlink(next(self._numbers), mode, target=target))

    def link(self, existing: Path, path: Path) -> None:
        """link(2): the new name is looked at before the kind of file is."""
        node = self.node(existing)
        parent, name = self._vacancy(path)
        if isinstance(node, Directory):
            raise os_error(errno.EPERM)
        parent.put(name, node)
        node.nlink += 1

    def unlink(self, path: Path) -> None:
        """unlink(2): a directory is EISDIR on Linux."""
        parent, name, node = self._entry(path)
        if isinstance(node, Directory):
            raise os_error(errno.EISDIR)
        parent.take(name)
        node.nlink -= 1

    def rmdir(self, path: Path) -> None:
        """rmdir(2)."""
        parent, name, node = self._entry(path)
        if not isinstance(node, Directory):
            raise os_error(errno.ENOTDIR)
        if node.entries:
            raise os_error(errno.ENOTEMPTY)
        parent.take(name)
        node.nlink = 0

    def rename(self, source: Path, target: Path, flags: RenameFlags) -> None:
        """renameat2(2)."""
        if flags == RenameFlags.NOREPLACE | RenameFlags.EXCHANGE:
            raise os_error(errno.EINVAL)
        old, new = self.parent(source), self.parent(target)
        checked_name(source[-1])
        if source[-1] not in old.entries:
            raise os_error(errno.ENOENT)
        checked_name(target[-1])
        rename(old, source[-1], new, target[-1], flags)

    def readlink(self, path: Path) -> bytes:
        """readlink(2)."""
        node = self.node(path)
        if not isinstance(node, Symlink):
            raise os_error(errno.EINVAL)
        return node.target

    def readdir(self, path: Path) -> list[bytes]:
        """The names in a directory, sorted."""
        node = self.node(path)
        if not isinstance(node, Directory):
            raise os_error(errno.ENOTDIR)
        return sorted(node.entries)

    # Bytes

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """pread(2) until `length` bytes or the end."""
        node = self.node(path)
        if isinstance(node, Directory):
            raise os_error(errno.EISDIR)
        return _regular(node).data.read(offset, length)

    def write(self, path: Path, offset: int, data: bytes) -> int:
        """pwrite(2)."""
        return self._write(_regular(self.node(path)), offset, data)

    def append(self, path: Path, data: bytes) -> int:
        """write(2) at the end."""
        file = _regular(self.node(path))
        return self._write(file, file.size, data)

    def rewrite(self, path: Path, data: bytes) -> int:
        """open(O_WRONLY | O_CREAT | O_TRUNC, 0644) and write(2)."""
        parent, name = self.parent(path), checked_name(path[-1])
        if name not in parent.entries:
            self.create(path, 0o644)
        file = _regular(parent.entries[name])
        file.truncate(0)
        return self._write(file, 0, data)

    def truncate(self, path: Path, size: int) -> None:
        """truncate(2), which follows a symlink, and that is dangling."""
        node = self.node(path)
        if isinstance(node, Symlink):
            raise os_error(errno.ENOENT)
        _regular(node).truncate(size)

    # Attributes

    def chmod(self, path: Path, mode: int) -> None:
        """chmod(2), which follows a symlink, and that is dangling."""
        node = self.node(path)
        if isinstance(node, Symlink):
            raise os_error(errno.ENOENT)
        node.mode = stat.S_IFMT(node.mode) | mode

    def chown(self, path: Path, uid: int, gid: int) -> None:
        """lchown(2): it takes away set-user-ID, and set-group-ID of what the group may execute."""
        node = self.node(path)
        node.uid = node.uid if uid == -1 else uid
        node.gid = node.gid if gid == -1 else gid
        if not isinstance(node, Directory):
            node.clear_set_id()

    def utimens(self, path: Path, atime_ns: int, mtime_ns: int) -> None:
        """utimensat(2)."""
        node = self.node(path)
        node.atime, node.mtime = frozenset({atime_ns}), frozenset({mtime_ns})

    def setxattr(self, path: Path, name: bytes, value: bytes, flags: XattrFlags) -> None:
        """lsetxattr(2)."""
        if len(value) > XATTR_SIZE_MAX:
            raise os_error(errno.E2BIG)
        xattrs = self._writable_xattrs(path, name)
        if name in xattrs and flags & XattrFlags.CREATE:
            raise os_error(errno.EEXIST)
        if name not in xattrs and flags & XattrFlags.REPLACE:
            raise os_error(errno.ENODATA)
        xattrs[name] = value

    def getxattr(self, path: Path, name: bytes) -> bytes:
        """lgetxattr(2)."""
        xattrs = self.node(path).xattrs
        if name not in xattrs:
            raise os_error(errno.ENODATA)
        return xattrs[name]

    def removexattr(self, path: Path, name: bytes) -> None:
        """lremovexattr(2)."""
        xattrs = self._writable_xattrs(path, name)
        if name not in xattrs:
            raise os_error(errno.ENODATA)
        del xattrs[name]

    def listxattr(self, path: Path) -> list[bytes]:
        """llistxattr(2), sorted."""
        return sorted(self.node(path).xattrs)

    # Open files

    def open(self, path: Path, handle: int) -> None:
        """open(O_RDWR)."""
        self.handles[handle] = _regular(self.node(path))

    def pread(self, handle: int, offset: int, length: int) -> bytes:
        """pread(2)."""
        return self.handles[handle].data.read(offset, length)

    def pwrite(self, handle: int, offset: int, data: bytes) -> int:
        """pwrite(2)."""
        return self._write(self.handles[handle], offset, data)

    def ftruncate(self, handle: int, size: int) -> None:
        """ftruncate(2)."""
        self.handles[handle].truncate(size)

    def fallocate(self, handle: int, mode: FallocateMode, offset: int, length: int) -> None:
        """fallocate(2)."""
        if length <= 0:
            raise os_error(errno.EINVAL)
        self.handles[handle].fallocate(mode, offset, length)

    def copy_range(self, source: int, offset: int, target: int, to: int, length: int) -> int:
        """copy_file_range(2)."""
        data = self.handles[source].data.read(offset, length)
        overlap = to + len(data) > offset and to < offset + len(data)
        if self.handles[source] is self.handles[target] and overlap:
            raise os_error(errno.EINVAL)
        return self._write(self.handles[target], to, data)

    def fsync(self, handle: int) -> None:
        """fsync(2), which changes nothing that can be seen."""

    def close(self, handle: int) -> None:
        """close(2)."""
        del self.handles[handle]

    def _write(self, file: Regular, offset: int, data: bytes) -> int:
        return file.write(offset, data)

    # Walking

    def node(self, path: Path) -> Node:
        """The inode at a path; ENOENT, ENOTDIR or ENAMETOOLONG."""
        return self._entry(path)[2] if path else self.root

    def parent(self, path: Path) -> Directory:
        """The directory that the last name of a path is in, or would be."""
        node = self.node(path[:-1])
        if isinstance(node, Symlink):
            raise os_error(errno.ENOENT)
        if not isinstance(node, Directory):
            raise os_error(errno.ENOTDIR)
        return node

    def paths(self) -> list[Path]:
        """Every path in the tree, parents first; that of the root is not among them."""
        found: list[Path] = []
        todo: list[tuple[Path, Directory]] = [((), self.root)]
        while todo:
            path, directory = todo.pop()
            for name, node in sorted(directory.entries.items()):
                found.append((*path, name))
                if isinstance(node, Directory):
                    todo.append(((*path, name), node))
        return found

    def _entry(self, path: Path) -> tuple[Directory, bytes, Node]:
        parent, name = self.parent(path), checked_name(path[-1])
        if name not in parent.entries:
            raise os_error(errno.ENOENT)
        return parent, name, parent.entries[name]

    def _vacancy(self, path: Path) -> tuple[Directory, bytes]:
        parent, name = self.parent(path), checked_name(path[-1])
        if name in parent.entries:
            raise os_error(errno.EEXIST)
        return parent, name

    def _add(self, parent: Directory, name: bytes, node: Node) -> None:
        """Give a new inode its name; it is root's, or of the directory's group if that is set."""
        node.gid = parent.gid if parent.mode & stat.S_ISGID else 0
        parent.put(name, node)

    def _writable_xattrs(self, path: Path, name: bytes) -> dict[bytes, bytes]:
        """The attributes of an inode that may have `name`.

        Only regular files and directories have attributes of the namespace "user": xattr(7).
        """
        node = self.node(path)
        if name.startswith(b"user.") and not isinstance(node, Regular | Directory):
            raise os_error(errno.EPERM)
        return node.xattrs


def checked_name(name: bytes) -> bytes:
    """A name that is not too long."""
    if len(name) > NAME_MAX:
        raise os_error(errno.ENAMETOOLONG)
    return name


def _regular(node: Node) -> Regular:
    """A file that has bytes. A FIFO or socket is never asked for them: that is not the disk's."""
    if isinstance(node, Directory):
        raise os_error(errno.EISDIR)
    if isinstance(node, Symlink):
        raise os_error(errno.ELOOP)
    if not isinstance(node, Regular):
        raise os_error(errno.EINVAL)
    return node
