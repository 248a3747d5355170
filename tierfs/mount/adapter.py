"""pyfuse3's requests, handed to the core: a few lines each.

Metadata and flash are served on the event loop, where a thread would cost more than the work.
What must wait for the disk runs in threads, so that a slow read delays nobody else.

There is no per-open state: the file handle is the inode number, and one bit.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

import pyfuse3
import trio

from tierfs.base.errors import FsError
from tierfs.base.metrics import Metrics
from tierfs.core.dirty import Unreconciled
from tierfs.core.filesystem import FileSystem
from tierfs.core.locks import WouldBlock
from tierfs.core.names import BY_NUMBER, Owner
from tierfs.mount.callers import ProcessCaller
from tierfs.mount.direct import Direct
from tierfs.mount.fast_path import SPECIAL, FastPath
from tierfs.mount.misses import Misses
from tierfs.mount.replies import (
    absent,
    changes,
    entry_attributes,
    statvfs_data,
)
from tierfs.mount.requests import AnsweredNatively, request

log = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

SYMLINK_MODE = stat.S_IFLNK | 0o777
DISK_THREADS = 64
"""Calls on the disk tier at a time; further ones wait their turn."""

SYNC_THREADS = 16
"""Calls of fsync(2) and statfs(2) at a time."""

AROUND_CACHE = 1 << 62
"""In a file handle, without the fast path: the file was opened with O_DIRECT."""

FORGET_PAGES_S = 0.05
"""How long a WRITE to such a file waits at most until its pages are dropped: many times what that
takes, unless READs are under way, or the WRITE itself writes such a page back."""


class Waiting(Protocol[T_co]):
    """A call of the core that can be told not to wait."""

    def __call__(self, *, wait: bool) -> T_co:
        """Raises WouldBlock when it would have to wait and ``wait`` is False."""


class Adapter(pyfuse3.Operations):
    """Serves one mounted volume."""

    supports_dot_lookup = True  # file handles outlive the kernel's memory, and the mount
    enable_acl = True

    def __init__(
        self,
        fs: FileSystem,
        metrics: Metrics,
        *,
        writeback: bool,
        masks: bool,
        initialised: Callable[[], None],
        mountpoint: Path,
        fast_path: FastPath | None = None,
    ) -> None:
        """``masks``: the kernel leaves the umask to us."""
        super().__init__()
        self.fs = fs
        self.metrics = metrics
        self.enable_writeback_cache = writeback
        self.misses = Misses(fs.publication)
        self.direct = Direct(fs, metrics, masks=masks)
        self._masks = masks
        self._initialised = initialised
        self._mountpoint = os.fsencode(mountpoint)
        self._fast_path = fast_path
        self._disk = trio.CapacityLimiter(DISK_THREADS)
        self._syncs = trio.CapacityLimiter(SYNC_THREADS)

    def init(self) -> None:
        """The kernel has agreed on the protocol: the mount answers."""
        self.fs.dirty.never_waits = threading.get_ident()
        self._initialised()

    # ---------------------------------------------------------------- names

    @request
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """LOOKUP; that there is no such name is remembered by the kernel as well.

        Some names are numbers in truth, for a file handle.
        """
        if self._fast_path and name not in BY_NUMBER:
            self.misses.within(parent_inode)
        try:
            found = self.fs.names.lookup(parent_inode, name)
        except FsError as exc:
            if exc.errno != errno.ENOENT:
                raise
            return absent()
        if name == b"." and not stat.S_ISDIR(found.mode):
            await self._in_thread(self._disk, functools.partial(self._name, found.ino))
        return entry_attributes(found)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """FORGET and BATCH_FORGET; has no reply, and what it raised would end pyfuse3's loop."""
        for ino, count in inode_list:
            try:
                self.fs.names.forget(ino, count)
            except Exception:
                self.metrics.handler_failures.inc()
                log.exception("forgetting inode %d failed unexpectedly", ino)

    @request
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """MKNOD."""
        made = self.fs.names.make(parent_inode, name, mode, self._owner(ctx), rdev=rdev)
        return entry_attributes(made)

    @request
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """MKDIR."""
        return entry_attributes(self.fs.names.make(parent_inode, name, mode, self._owner(ctx)))

    @request
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """SYMLINK."""
        made = self.fs.names.make(parent_inode, name, SYMLINK_MODE, self._owner(ctx), target=target)
        return entry_attributes(made)

    @request
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """LINK."""
        return entry_attributes(self.fs.names.link(inode, new_parent_inode, new_name))

    @request
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """UNLINK."""
        self.fs.names.unlink(parent_inode, name)

    @request
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """RMDIR."""
        self.fs.names.rmdir(parent_inode, name)

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
        self.fs.names.rename(
            parent_inode_old, name_old, parent_inode_new, name_new, flags, self._owner(ctx)
        )

    @request
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """OPENDIR."""
        return inode

    @request
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """READDIRPLUS; the fast path wants the names published, unless there are too many."""
        ino = fh & ~SPECIAL
        if self._fast_path and ino == fh:
            self.fs.listing.publish(ino, start_id)
            raise AnsweredNatively
        while True:
            try:
                for entry in self.fs.listing.after(ino, start_id):
                    attributes = entry_attributes(entry.inode)
                    if not pyfuse3.readdir_reply(token, entry.name, attributes, entry.cookie):
                        return
                    self.fs.listing.refer(entry)
                    start_id = entry.cookie
            except Unreconciled as exc:
                await self._in_thread(
                    self._disk, functools.partial(self.fs.dirty.reconcile, exc.ino)
                )
            else:
                return

    @request
    async def releasedir(self, fh: int) -> None:
        """RELEASEDIR; there is nothing to release."""

    @request
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """FSYNCDIR."""
        await self._in_thread(self._syncs, self.fs.sync_index)

    # ---------------------------------------------------------------- attributes

    @request
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """GETATTR; only here blocks are counted that holes leave out.

        The size is that of when it was asked for: see ``fastpath/src/changing.h``.
        """
        self._missed(inode)
        row = self.fs.attributes.get(inode)
        blocks = await self._soon(functools.partial(self.fs.attributes.blocks, inode))
        return entry_attributes(row, blocks)

    @request
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        """SETATTR: chmod, chown, truncate, utimens."""
        change = functools.partial(
            self.fs.attributes.set, inode, changes(attr, fields), caller=ProcessCaller(ctx)
        )
        return entry_attributes(await self._soon(change))

    @request
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """READLINK."""
        return self.fs.attributes.readlink(inode)

    @request
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """STATFS."""
        room = await self._in_thread(self._syncs, self.fs.statfs)
        if self._fast_path:
            self._fast_path.put_room(room)
        return statvfs_data(room)

    # ---------------------------------------------------------------- bytes

    @request
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """OPEN; with O_TRUNC, which libfuse asks the kernel to leave to us."""
        if flags & os.O_TRUNC:
            caller = ProcessCaller(ctx)
            cut = functools.partial(self.fs.data.truncate, inode, 0, caller=caller)
            await self._soon(cut)
        return self._opened(inode, flags)

    @request
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """CREATE: the kernel holds the directory locked and knows that the name is free."""
        inode = self.fs.names.make(parent_inode, name, mode, self._owner(ctx))
        return self._opened(inode.ino, flags), entry_attributes(inode)

    @request
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """READ; the fast path only wants to know where the bytes are, unless it failed to read."""
        ino = fh & ~(SPECIAL | AROUND_CACHE)
        self._missed(ino)
        if self._fast_path and ino == fh:
            self.fs.attributes.get(ino)  # publishes it
            raise AnsweredNatively
        return await self._soon(functools.partial(self.fs.data.read, ino, off, size))

    @request
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """WRITE; with the fast path, long bytes do not come through the socket."""
        data: bytes | memoryview = buf
        if self._fast_path:
            fh, data = self._fast_path.written(fh, buf)
        ino = fh & ~AROUND_CACHE
        written = await self._soon(functools.partial(self.fs.data.write, ino, off, data))
        if ino != fh:
            # The WRITE may be the write-back of a mapped page, which the invalidation waits for:
            # then it goes on when this is answered.
            with trio.move_on_after(FORGET_PAGES_S):
                await trio.to_thread.run_sync(
                    functools.partial(_forget_pages, ino), abandon_on_cancel=True
                )
        return written

    @request
    async def fsync(self, fh: int, datasync: bool) -> None:
        """FSYNC; must never be answered ENOSYS, which the kernel would take for success."""
        await self._in_thread(self._syncs, functools.partial(self.fs.data.sync, fh & ~AROUND_CACHE))

    @request
    async def release(self, fh: int) -> None:
        """RELEASE; there is nothing to release."""

    # ---------------------------------------------------------------- extended attributes

    @request
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """GETXATTR."""
        self._missed(inode)
        return self.fs.xattrs.get(inode, name)

    @request
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> list[bytes]:
        """LISTXATTR."""
        self._missed(inode)
        return self.fs.xattrs.names(inode, ProcessCaller(ctx))

    @request
    async def setxattr(
        self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        """SETXATTR; pyfuse3 has checked XATTR_CREATE and XATTR_REPLACE, the inode being locked."""
        self.fs.xattrs.set(inode, name, value, caller=ProcessCaller(ctx))

    @request
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """REMOVEXATTR."""
        self.fs.xattrs.remove(inode, name, caller=ProcessCaller(ctx))

    # ---------------------------------------------------------------- who asks, and where it runs

    def _owner(self, ctx: pyfuse3.RequestContext) -> Owner:
        """Whom an inode made by this request belongs to."""
        return Owner(ctx.uid, ctx.gid, ctx.umask if self._masks else 0)

    def _name(self, ino: int) -> None:
        """Let the kernel look up a path of an inode before it gets to know it by number.

        Else it has an entry without a name for it, which it believes to be old each time that it
        looks at it (Linux 6.16 and later: ``d_time`` and ``fc->epoch`` in fs/fuse/dir.c), and an
        overlay that found a file of its lower layer by number answers ESTALE from then on.
        """
        path = self.fs.names.path_of(ino)
        if path is not None:
            with suppress(OSError):  # moved meanwhile, too long, or another filesystem lies over it
                os.lstat(self._mountpoint + b"/" + path)

    def _opened(self, ino: int, flags: int) -> pyfuse3.FileInfo:
        direct = flags & os.O_DIRECT and not self._fast_path
        return pyfuse3.FileInfo(fh=ino | AROUND_CACHE if direct else ino, keep_cache=True)

    def _missed(self, ino: int) -> None:
        if self._fast_path:
            self.misses.of(ino)

    async def _soon(self, call: Waiting[T]) -> T:
        """The result of ``call``: at once when it need not wait, else from a thread."""
        try:
            return call(wait=False)
        except WouldBlock:
            return await self._in_thread(self._disk, functools.partial(call, wait=True))

    @staticmethod
    async def _in_thread(limiter: trio.CapacityLimiter, call: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(call, limiter=limiter)


def _forget_pages(ino: int) -> None:
    """Drop what reads brought in while the file was written around the page cache.

    libfuse agrees with the kernel on asynchronous direct I/O, and then the kernel does not drop it
    behind a write of libaio. The router does not agree on that. Waits for READs under way.
    """
    with suppress(OSError):  # the kernel has forgotten the inode, or the connection is over
        pyfuse3.invalidate_inode(ino)
