"""pyfuse3's requests, handed to the backing directory; reads and writes wait for the head.

The file handle is a descriptor of the backing file.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import stat
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

import pyfuse3

from tests.benchmarks.disk.head import Head
from tests.benchmarks.disk.layout import Layout
from tests.benchmarks.disk.model import Counters, SimulatedDisk
from tests.benchmarks.disk.nodes import ROOT, Nodes

P = ParamSpec("P")
T = TypeVar("T")

COUNTERS: Final = b"user.disk.counters"
"""Virtual, on the root: what the head has done, as JSON; setting it begins again from 0."""
SCALE: Final = b"user.disk.scale"
"""Virtual, on the root: the factor of every delay."""

VALID_S: Final = 86400.0
"""Seconds for which the kernel may trust what it was told: every change passes through it."""

NOT_FOR_BACKING: Final = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND | os.O_DIRECT
"""Flags that the kernel has heeded: it says with each write where the file ended."""

Handler = Callable[Concatenate["Operations", P], Coroutine[Any, Any, T]]


def request(handler: Handler[P, T]) -> Handler[P, T]:
    """Make a handler of ``handler``: OSError leaves it as pyfuse3.FUSEError."""

    @functools.wraps(handler)
    async def handle(self: Operations, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(self, *args, **kwargs)
        except OSError as exc:
            raise pyfuse3.FUSEError(exc.errno or errno.EIO) from None

    return cast("Handler[P, T]", handle)


class Operations(pyfuse3.Operations):
    """Serves a backing directory."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, nodes: Nodes, layout: Layout, disk: SimulatedDisk, head: Head) -> None:
        super().__init__()
        self._nodes = nodes
        self._layout = layout
        self._disk = disk
        self._head = head
        self._listings: dict[int, list[bytes]] = {}

    # ---------------------------------------------------------------- names

    @request
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """LOOKUP."""
        try:
            return self._entry(self._nodes.look_up(parent_inode, name))
        except FileNotFoundError:
            absent = pyfuse3.EntryAttributes()
            absent.st_ino = 0
            absent.entry_timeout = VALID_S
            return absent

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """FORGET and BATCH_FORGET."""
        for ino, count in inode_list:
            self._nodes.forget(ino, count)

    @request
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """MKNOD."""
        os.mknod(name, mode, rdev, dir_fd=self._nodes.fd(parent_inode))
        return self._made(parent_inode, name, ctx)

    @request
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """MKDIR."""
        os.mkdir(name, mode, dir_fd=self._nodes.fd(parent_inode))
        return self._made(parent_inode, name, ctx)

    @request
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """SYMLINK."""
        os.symlink(target, name, dir_fd=self._nodes.fd(parent_inode))
        return self._made(parent_inode, name, ctx)

    @request
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """LINK."""
        directory = self._nodes.fd(new_parent_inode)
        os.link(self._nodes.path(inode), new_name, dst_dir_fd=directory, follow_symlinks=True)
        return self._entry(self._nodes.look_up(new_parent_inode, new_name))

    @request
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """UNLINK."""
        self._nodes.unlink(parent_inode, name)

    @request
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """RMDIR."""
        os.rmdir(name, dir_fd=self._nodes.fd(parent_inode))

    @request
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        """RENAME2."""
        self._nodes.rename((parent_inode_old, name_old), (parent_inode_new, name_new), flags)

    @request
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """OPENDIR."""
        return os.open(self._nodes.path(inode), os.O_RDONLY | os.O_DIRECTORY)

    @request
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """READDIRPLUS: the names are those of the last time it was read from the beginning."""
        if start_id == 0 or fh not in self._listings:
            self._listings[fh] = [os.fsencode(name) for name in os.listdir(fh)]
        parent = self._nodes.number(os.fstat(fh))
        for cookie, name in enumerate(self._listings[fh][start_id:], start_id + 1):
            try:
                found = self._nodes.look_up(parent, name)
            except FileNotFoundError:
                continue
            if not pyfuse3.readdir_reply(token, name, self._entry(found), cookie):
                self._nodes.forget(self._nodes.number(found), 1)
                return

    @request
    async def releasedir(self, fh: int) -> None:
        """RELEASEDIR."""
        self._listings.pop(fh, None)
        os.close(fh)

    @request
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """FSYNCDIR."""
        os.fsync(fh)

    # ---------------------------------------------------------------- attributes

    @request
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """GETATTR."""
        return self._entry(self._nodes.stat(inode))

    @request
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """SETATTR: truncate, chown, chmod and utimens, each of which may change the later ones."""
        path = self._nodes.path(inode)
        if fields.update_size:
            os.truncate(path if fh is None else fh, attr.st_size)
            self._layout.cut(inode, attr.st_size)
        if fields.update_uid or fields.update_gid:
            uid = attr.st_uid if fields.update_uid else -1
            os.chown(path, uid, attr.st_gid if fields.update_gid else -1)
        if fields.update_mode:
            self._nodes.chmod(inode, attr.st_mode)
        if fields.update_atime or fields.update_mtime:
            self._touch(inode, attr, fields)
        return self._entry(self._nodes.stat(inode))

    @request
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """READLINK."""
        return os.readlink(b"", dir_fd=self._nodes.fd(inode))

    @request
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """STATFS."""
        found, data = os.fstatvfs(self._nodes.fd(ROOT)), pyfuse3.StatvfsData()
        for name in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail"):
            setattr(data, f"f_{name}", getattr(found, f"f_{name}"))
        data.f_namemax = found.f_namemax
        return data

    # ---------------------------------------------------------------- bytes

    @request
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """OPEN; with O_TRUNC, which libfuse asks the kernel to leave to us."""
        fd = self._reopened(inode, flags)
        if flags & os.O_TRUNC:
            self._layout.cut(inode, 0)
        return pyfuse3.FileInfo(fh=fd, keep_cache=True)

    @request
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """CREATE: the kernel holds the directory locked and knows that the name is free."""
        os.mknod(name, stat.S_IFREG | stat.S_IMODE(mode), dir_fd=self._nodes.fd(parent_inode))
        entry = self._made(parent_inode, name, ctx)
        return pyfuse3.FileInfo(fh=self._reopened(entry.st_ino, flags), keep_cache=True), entry

    @request
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """READ: the head goes over the bytes, and then they are there."""
        await self._head.read(os.fstat(fh).st_ino, off, size)
        return os.pread(fh, size, off)

    @request
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """WRITE: into the write-back cache, as fast as the drive can follow."""
        written = os.pwrite(fh, buf, off)
        await self._head.write(os.fstat(fh).st_ino, off, written)
        return written

    @request
    async def flush(self, fh: int) -> None:
        """FLUSH: there is nothing to flush on close(2), and answered so it is not asked again."""
        raise pyfuse3.FUSEError(errno.ENOSYS)

    @request
    async def fsync(self, fh: int, datasync: bool) -> None:
        """FSYNC."""
        (os.fdatasync if datasync else os.fsync)(fh)
        self._layout.settle()

    @request
    async def release(self, fh: int) -> None:
        """RELEASE."""
        os.close(fh)

    # ---------------------------------------------------------------- extended attributes

    @request
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """GETXATTR."""
        if inode == ROOT and name == COUNTERS:
            return json.dumps(asdict(self._disk.counters)).encode()
        if inode == ROOT and name == SCALE:
            return f"{self._disk.scale:g}".encode()
        return os.getxattr(self._nodes.path(inode), name)

    @request
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> list[bytes]:
        """LISTXATTR, without the virtual ones, which a copy should not take along."""
        return [os.fsencode(name) for name in os.listxattr(self._nodes.path(inode))]

    @request
    async def setxattr(
        self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        """SETXATTR; pyfuse3 has checked XATTR_CREATE and XATTR_REPLACE, the inode being locked."""
        if inode == ROOT and name == COUNTERS:
            self._disk.counters = Counters()
        elif inode == ROOT and name == SCALE:
            self._disk.scale = _scale(value)
        else:
            os.setxattr(self._nodes.path(inode), name, value)

    @request
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """REMOVEXATTR."""
        os.removexattr(self._nodes.path(inode), name)

    # ---------------------------------------------------------------- replies

    def _made(
        self, parent: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        self._nodes.own(parent, name, ctx.uid, ctx.gid)
        return self._entry(self._nodes.look_up(parent, name))

    def _reopened(self, ino: int, flags: int) -> int:
        return os.open(self._nodes.path(ino), flags & ~NOT_FOR_BACKING)

    def _touch(
        self, ino: int, attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields
    ) -> None:
        now = self._nodes.stat(ino)
        atime = attr.st_atime_ns if fields.update_atime else now.st_atime_ns
        mtime = attr.st_mtime_ns if fields.update_mtime else now.st_mtime_ns
        os.utime(self._nodes.path(ino), ns=(atime, mtime))

    def _entry(self, found: os.stat_result) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        for name in ("mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks"):
            setattr(entry, f"st_{name}", getattr(found, f"st_{name}"))
        for name in ("atime", "mtime", "ctime"):
            setattr(entry, f"st_{name}_ns", getattr(found, f"st_{name}_ns"))
        entry.st_ino = self._nodes.number(found)
        entry.entry_timeout = entry.attr_timeout = VALID_S
        return entry


def _scale(value: bytes) -> float:
    try:
        scale = float(value)
    except ValueError:
        raise OSError(errno.EINVAL, "no number") from None
    if not 0 <= scale < float("inf"):
        raise OSError(errno.EINVAL, "no factor of a delay")
    return scale
