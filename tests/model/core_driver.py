"""The core of tierfs as a filesystem under test, without a mount.

It does what the kernel does between a system call and a FUSE request: walks paths, opens, knows
which inodes it was told of, and refuses what never reaches a filesystem.
"""

import errno
import shutil
import stat
from collections import Counter
from pathlib import Path as OsPath

from tests.model.core_volume import CoreVolume, ask
from tests.model.driver import (
    TIERFS,
    XATTR_SIZE_MAX,
    FallocateMode,
    Path,
    RenameFlags,
    Stat,
    XattrFlags,
    os_error,
)
from tierfs.fs.attributes import Changes
from tierfs.fs.filesystem import FileSystem
from tierfs.fs.locks import WouldBlock
from tierfs.fs.namespace import Owner
from tierfs.metadata.inodes import Inode

_ROOT_USER = Owner(0, 0)


class CoreDriver:
    """A fresh volume in a directory that it makes and takes away."""

    traits = TIERFS

    def __init__(self, directory: OsPath, head: int, *, forgetful: bool) -> None:
        self._directory = directory / "core"
        self._directory.mkdir(0o755)
        self._volume = CoreVolume(self._directory, head, forgetful=forgetful)
        self._handles: dict[int, int] = {}

    # Names

    def create(self, path: Path, mode: int) -> None:
        """open(O_CREAT | O_EXCL), and close."""
        self._make(path, stat.S_IFREG | mode)

    def mkdir(self, path: Path, mode: int) -> None:
        """mkdir(2); the kernel masks the mode."""
        self._make(path, stat.S_IFDIR | (mode & 0o1777))

    def mknod(self, path: Path, mode: int) -> None:
        """mknod(2) of a FIFO or a socket."""
        self._make(path, mode)

    def symlink(self, target: bytes, path: Path) -> None:
        """symlink(2)."""
        self._make(path, stat.S_IFLNK | 0o777, target)

    def link(self, existing: Path, path: Path) -> None:
        """link(2); the kernel looks the new name up before it asks for the link."""
        ino, parent = self._volume.find(existing).ino, self._volume.parent(path)
        if self._exists(path):
            raise os_error(errno.EEXIST)
        self._volume.known(ask(self._fs.names.link, ino, parent, path[-1]))

    def unlink(self, path: Path) -> None:
        """unlink(2)."""
        ask(self._fs.names.unlink, self._volume.parent(path), path[-1])

    def rmdir(self, path: Path) -> None:
        """rmdir(2)."""
        ask(self._fs.names.rmdir, self._volume.parent(path), path[-1])

    def rename(self, source: Path, target: Path, flags: RenameFlags) -> None:
        """renameat2(2)."""
        if flags == RenameFlags.NOREPLACE | RenameFlags.EXCHANGE:
            raise os_error(errno.EINVAL)
        old, new = self._volume.parent(source), self._volume.parent(target)
        self._check_rename(source, target, flags)
        ask(self._fs.names.rename, old, source[-1], new, target[-1], int(flags))

    def readlink(self, path: Path) -> bytes:
        """readlink(2)."""
        return ask(self._fs.attributes.readlink, self._volume.find(path).ino)

    def readdir(self, path: Path) -> list[bytes]:
        """The names in a directory, sorted."""
        return sorted(entry.name for entry in self._volume.listing(self._volume.find(path).ino))

    # Bytes

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """open(O_RDONLY) and pread(2)."""
        return self._read(self._opened(path), offset, length)

    def write(self, path: Path, offset: int, data: bytes) -> int:
        """open(O_WRONLY) and pwrite(2)."""
        return self._write(self._opened(path), offset, data)

    def append(self, path: Path, data: bytes) -> int:
        """The kernel knows where the end is: it appends by writing there."""
        ino = self._opened(path)
        return self._write(ino, self._fs.attributes.get(ino).size, data)

    def rewrite(self, path: Path, data: bytes) -> int:
        """O_TRUNC is a truncation of its own."""
        try:
            ino = self._opened(path)
        except FileNotFoundError:
            ino = self._make(path, stat.S_IFREG | 0o644)
        else:
            self._set(ino, Changes(size=0))
        return self._write(ino, 0, data)

    def truncate(self, path: Path, size: int) -> None:
        """truncate(2) follows a symlink, and that is dangling."""
        inode = self._followed(path)
        if stat.S_ISDIR(inode.mode):
            raise os_error(errno.EISDIR)
        self._set(inode.ino, Changes(size=size))

    # Attributes

    def stat(self, path: Path) -> Stat:
        """lstat(2)."""
        return _stat(self._volume.find(path))

    def chmod(self, path: Path, mode: int) -> None:
        """chmod(2) follows a symlink, and that is dangling."""
        inode = self._followed(path)
        self._set(inode.ino, Changes(mode=stat.S_IFMT(inode.mode) | mode))

    def chown(self, path: Path, uid: int, gid: int) -> None:
        """lchown(2); for a FIFO or socket the core leaves set-user-ID to the kernel's request."""
        inode = self._volume.find(path)
        changes = Changes(uid=None if uid == -1 else uid, gid=None if gid == -1 else gid)
        if stat.S_ISFIFO(inode.mode) or stat.S_ISSOCK(inode.mode):
            changes = changes._replace(mode=_without_set_id(inode.mode))
        self._set(inode.ino, changes)

    def utimens(self, path: Path, atime_ns: int, mtime_ns: int) -> None:
        """utimensat(2)."""
        self._set(self._volume.find(path).ino, Changes(atime=atime_ns, mtime=mtime_ns))

    def setxattr(self, path: Path, name: bytes, value: bytes, flags: XattrFlags) -> None:
        """lsetxattr(2)."""
        if len(value) > XATTR_SIZE_MAX:
            raise os_error(errno.E2BIG)
        ino = self._with_writable_xattr(path, name)
        ask(self._fs.xattrs.set, ino, name, value, int(flags))

    def getxattr(self, path: Path, name: bytes) -> bytes:
        """lgetxattr(2)."""
        return ask(self._fs.xattrs.get, self._volume.find(path).ino, name)

    def removexattr(self, path: Path, name: bytes) -> None:
        """lremovexattr(2)."""
        ask(self._fs.xattrs.remove, self._with_writable_xattr(path, name), name)

    def listxattr(self, path: Path) -> list[bytes]:
        """llistxattr(2), sorted."""
        return sorted(ask(self._fs.xattrs.names, self._volume.find(path).ino))

    # Open files

    def open(self, path: Path, handle: int) -> None:
        """open(O_RDWR) keeps the inode known."""
        self._handles[handle] = self._opened(path)
        self._volume.held[self._handles[handle]] += 1

    def pread(self, handle: int, offset: int, length: int) -> bytes:
        """pread(2)."""
        return self._read(self._handles[handle], offset, length)

    def pwrite(self, handle: int, offset: int, data: bytes) -> int:
        """pwrite(2)."""
        return self._write(self._handles[handle], offset, data)

    def ftruncate(self, handle: int, size: int) -> None:
        """ftruncate(2)."""
        self._set(self._handles[handle], Changes(size=size))

    def fallocate(self, handle: int, mode: FallocateMode, offset: int, length: int) -> None:
        """fallocate(2)."""
        args = self._handles[handle], offset, length, mode
        try:
            ask(self._fs.ranges.fallocate, *args, wait=False)
        except WouldBlock:
            ask(self._fs.ranges.fallocate, *args)

    def copy_range(self, source: int, offset: int, target: int, to: int, length: int) -> int:
        """copy_file_range(2)."""
        inos = self._handles[source], self._handles[target]
        return ask(self._fs.ranges.copy, inos[0], offset, inos[1], to, length)

    def fstat(self, handle: int) -> Stat:
        """fstat(2)."""
        return _stat(ask(self._fs.attributes.get, self._handles[handle]))

    def fsync(self, handle: int) -> None:
        """fsync(2)."""
        ask(self._fs.data.sync, self._handles[handle])

    def close(self, handle: int) -> None:
        """close(2); the inode stays known until the next `forget`."""
        ino = self._handles.pop(handle)
        self._volume.held -= Counter([ino])

    # The filesystem

    def remount(self) -> None:
        """Close the volume and open it again."""
        self._volume.close()
        self._volume.open()

    def crash(self) -> None:
        """Abandon the volume and open it again, which frees what was unlinked while open."""
        self._handles.clear()
        self._volume.abandon()
        self._volume.open()
        self._volume.forget()

    def forget(self) -> None:
        """Forget every inode that is not open; what was unlinked must be gone then."""
        self._volume.forget()

    def verify(self) -> None:
        """Nothing of an unlinked file may be left when no file is open."""
        assert not self._handles
        self._volume.forget()

    def finish(self) -> None:
        """Close the volume and remove it."""
        self._volume.close()
        shutil.rmtree(self._directory)

    @property
    def _fs(self) -> FileSystem:
        return self._volume.fs

    def _make(self, path: Path, mode: int, target: bytes | None = None) -> int:
        parent = self._volume.parent(path)
        make = self._fs.names.make
        inode = ask(make, parent, path[-1], mode, _ROOT_USER, target=target)
        return self._volume.known(inode).ino

    def _exists(self, path: Path) -> bool:
        """Look the path up, as the kernel does before it asks for anything to be made there."""
        try:
            self._volume.find(path)
        except FileNotFoundError:
            return False
        return True

    def _check_rename(self, source: Path, target: Path, flags: RenameFlags) -> None:
        """What do_renameat2 of the kernel refuses before it asks, in its order."""
        self._volume.find(source)
        exists = self._exists(target)
        if exists and flags & RenameFlags.NOREPLACE:
            raise os_error(errno.EEXIST)
        if not exists and flags & RenameFlags.EXCHANGE:
            raise os_error(errno.ENOENT)
        if target[:-1][: len(source)] == source:
            raise os_error(errno.EINVAL)
        if source[:-1][: len(target)] == target:
            raise os_error(errno.EINVAL if flags & RenameFlags.EXCHANGE else errno.ENOTEMPTY)

    def _opened(self, path: Path) -> int:
        inode = self._volume.find(path)
        if stat.S_ISDIR(inode.mode):
            raise os_error(errno.EISDIR)
        if stat.S_ISLNK(inode.mode):
            raise os_error(errno.ELOOP)
        return inode.ino

    def _followed(self, path: Path) -> Inode:
        inode = self._volume.find(path)
        if stat.S_ISLNK(inode.mode):
            raise os_error(errno.ENOENT)
        return inode

    def _with_writable_xattr(self, path: Path, name: bytes) -> int:
        """The kernel lets only regular files and directories have attributes of "user"."""
        inode = self._volume.find(path)
        may = stat.S_ISREG(inode.mode) or stat.S_ISDIR(inode.mode)
        if name.startswith(b"user.") and not may:
            raise os_error(errno.EPERM)
        return inode.ino

    def _read(self, ino: int, offset: int, length: int) -> bytes:
        """Ask without waiting first, as the mount does."""
        try:
            return ask(self._fs.reads.read, ino, offset, length, wait=False)
        except WouldBlock:
            return ask(self._fs.reads.read, ino, offset, length)

    def _write(self, ino: int, offset: int, data: bytes) -> int:
        try:
            return ask(self._fs.data.write, ino, offset, data, wait=False)
        except WouldBlock:
            return ask(self._fs.data.write, ino, offset, data)

    def _set(self, ino: int, changes: Changes) -> None:
        try:
            ask(self._fs.attributes.set, ino, changes, wait=False)
        except WouldBlock:
            ask(self._fs.attributes.set, ino, changes)


def _without_set_id(mode: int) -> int:
    """The mode that the kernel sends along with a change of owner (fuse_setattr, fs/fuse/dir.c)."""
    executable_by_group = mode & stat.S_IXGRP
    return mode & ~stat.S_ISUID & ~(stat.S_ISGID if executable_by_group else 0)


def _stat(inode: Inode) -> Stat:
    return Stat(
        ino=inode.ino,
        mode=inode.mode,
        nlink=inode.nlink,
        uid=inode.uid,
        gid=inode.gid,
        size=inode.size,
        atime_ns=inode.atime,
        mtime_ns=inode.mtime,
        ctime_ns=inode.ctime,
    )
