"""pyfuse3's handlers: each calls its function of ``operations.py``, in a line or two.

With the fast path they get only what the router forwards; without it, every request. Metadata and
flash are served on the event loop, where a thread would cost more than the work. What must wait for
the disk runs in threads, so that a slow read delays no other request.

There is no per-open state: the file handle is the inode number, and one bit.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import pyfuse3
import trio

from tierfs.common.extents import BLOCK
from tierfs.common.metrics import Metrics
from tierfs.daemon.operations import Caller, Operations, error_number
from tierfs.fs.attributes import Changes, StatFs, blocks_of
from tierfs.fs.filesystem import FileSystem
from tierfs.fs.locks import WouldBlock
from tierfs.fs.recovery import Unreconciled
from tierfs.metadata.inodes import Inode

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DISK_THREADS = 64
"""Calls on the disk tier at a time; further ones wait their turn."""

SYNC_THREADS = 16
"""Calls of fsync(2) and statfs(2) at a time."""

DIRECT = 1 << 62
"""In a file handle, without the fast path: the file was opened with O_DIRECT."""

DROP_PAGES_S = 0.05
"""How long a WRITE to such a file waits at most until its pages are dropped: many times what that
takes, unless READs are under way, or the WRITE itself writes such a page back."""


class Waiting(Protocol[T_co]):
    """A function of ``Operations`` with the argument ``wait``."""

    def __call__(self, *, wait: bool) -> T_co:
        """Raises WouldBlock if it would have to wait and ``wait`` is False."""


class Measured(Protocol):
    """What a handler's class has."""

    fs: FileSystem
    metrics: Metrics


S = TypeVar("S", bound=Measured)
Handler = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


def request(handler: Handler[S, P, T]) -> Handler[S, P, T]:
    """Measure a handler, and raise its exceptions as FUSEError.

    Any other exception would end pyfuse3's loop, and so the mount.
    """
    operation = handler.__name__

    @functools.wraps(handler)
    async def handle(self: S, *args: P.args, **kwargs: P.kwargs) -> T:
        started = time.perf_counter()
        result = "ok"
        try:
            while True:
                try:
                    return await handler(self, *args, **kwargs)
                except Unreconciled as exc:
                    await trio.to_thread.run_sync(self.fs.recovery.reconcile, exc.ino)
        except Exception as exc:  # noqa: BLE001 - one bug must not end the mount
            number = error_number(exc, operation, self.metrics)
            result = errno.errorcode.get(number, str(number))
            raise pyfuse3.FUSEError(number) from None
        finally:
            seconds = time.perf_counter() - started
            self.metrics.requests.labels(operation, result).inc()
            self.metrics.request_seconds.labels(operation).observe(seconds)

    return cast("Handler[S, P, T]", handle)


class Adapter(pyfuse3.Operations):
    """Serves one mounted volume."""

    supports_dot_lookup = True  # file handles outlive the kernel's memory, and the mount
    enable_acl = True

    def __init__(
        self,
        fs: FileSystem,
        metrics: Metrics,
        operations: Operations,
        *,
        writeback: bool,
        initialised: Callable[[], None],
        fast_path: bool = False,
    ) -> None:
        """``fast_path``: the router stands between the kernel and pyfuse3."""
        super().__init__()
        self.fs = fs
        self.metrics = metrics
        self.operations = operations
        self.enable_writeback_cache = writeback
        self._initialised = initialised
        self._fast_path = fast_path
        self._disk = trio.CapacityLimiter(DISK_THREADS)
        self._syncs = trio.CapacityLimiter(SYNC_THREADS)

    def init(self) -> None:
        """The kernel has agreed on the protocol: the mount answers."""
        self.fs.recovery.never_wait.add(threading.get_ident())
        self._initialised()

    # ---------------------------------------------------------------- names

    @request
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """LOOKUP; the kernel caches the absence of a name as well."""
        find = functools.partial(self.operations.lookup, parent_inode, name, again=True)
        found = await self._soon(find)
        return entry_attributes(found) if found else absent()

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """FORGET and BATCH_FORGET; without a reply, and an exception would end pyfuse3's loop."""
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
        caller = _caller(ctx)
        made = self.operations.mknod(parent_inode, mode, rdev, ctx.umask, name, caller=caller)
        return entry_attributes(made)

    @request
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """MKDIR."""
        made = self.operations.mkdir(parent_inode, mode, ctx.umask, name, caller=_caller(ctx))
        return entry_attributes(made)

    @request
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """SYMLINK."""
        made = self.operations.symlink(parent_inode, name, target, caller=_caller(ctx))
        return entry_attributes(made)

    @request
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """LINK."""
        return entry_attributes(self.operations.link(new_parent_inode, inode, new_name))

    @request
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """UNLINK."""
        self.operations.unlink(parent_inode, name)

    @request
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """RMDIR."""
        self.operations.rmdir(parent_inode, name)

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
        self.operations.rename2(
            parent_inode_old, parent_inode_new, flags, name_old, name_new, caller=_caller(ctx)
        )

    @request
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """OPENDIR."""
        return inode

    @request
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """READDIRPLUS."""
        while True:
            try:
                for entry in self.fs.listing.after(fh, start_id):
                    attributes = entry_attributes(entry.inode)
                    if not pyfuse3.readdir_reply(token, entry.name, attributes, entry.cookie):
                        return
                    self.fs.listing.count_lookup(entry)
                    start_id = entry.cookie
            except Unreconciled as exc:
                await self._in_thread(
                    self._disk, functools.partial(self.fs.recovery.reconcile, exc.ino)
                )
            else:
                return

    @request
    async def releasedir(self, fh: int) -> None:
        """RELEASEDIR; there is nothing to release."""

    @request
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """FSYNCDIR."""
        await self._in_thread(self._syncs, functools.partial(self.operations.fsyncdir, fh))

    # ---------------------------------------------------------------- attributes

    @request
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """GETATTR; see ``Operations.getattr``."""
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
            self.operations.change, inode, changes(attr, fields), caller=_caller(ctx)
        )
        return entry_attributes(await self._soon(change))

    @request
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """READLINK."""
        return self.operations.readlink(inode)

    @request
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """STATFS."""
        return statvfs_data(await self._in_thread(self._syncs, self.fs.statfs))

    # ---------------------------------------------------------------- bytes

    @request
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """OPEN; with O_TRUNC, since libfuse asks the kernel to leave that to the daemon."""
        if flags & os.O_TRUNC:
            truncate = functools.partial(self.operations.truncate, inode, caller=_caller(ctx))
            await self._soon(truncate)
        return self._opened(inode, flags)

    @request
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """CREATE: the kernel holds the directory locked and knows that the name is free."""
        caller = _caller(ctx)
        inode = self.operations.mknod(parent_inode, mode, 0, ctx.umask, name, caller=caller)
        return self._opened(inode.ino, flags), entry_attributes(inode)

    @request
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """READ."""
        return await self._soon(functools.partial(self.fs.reads.read, fh & ~DIRECT, off, size))

    @request
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """WRITE."""
        ino = fh & ~DIRECT
        written = await self._soon(functools.partial(self.operations.write, ino, off, buf))
        if ino != fh:
            # The WRITE may be the write-back of a mapped page, which the invalidation waits for:
            # it then continues when this is answered.
            with trio.move_on_after(DROP_PAGES_S):
                await trio.to_thread.run_sync(
                    functools.partial(_drop_pages, ino), abandon_on_cancel=True
                )
        return written

    @request
    async def fsync(self, fh: int, datasync: bool) -> None:
        """FSYNC; see ``Operations.fsync``."""
        await self._in_thread(self._syncs, functools.partial(self.operations.fsync, fh & ~DIRECT))

    @request
    async def release(self, fh: int) -> None:
        """RELEASE; there is nothing to release."""

    # ---------------------------------------------------------------- extended attributes

    @request
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """GETXATTR."""
        return self.operations.getxattr(inode, name, caller=_caller(ctx))

    @request
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> list[bytes]:
        """LISTXATTR."""
        return self.operations.listxattr(inode, caller=_caller(ctx)).split(b"\0")[:-1]

    @request
    async def setxattr(
        self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        """SETXATTR; pyfuse3 has checked XATTR_CREATE and XATTR_REPLACE, the inode being locked."""
        self.operations.setxattr(inode, 0, name, value, caller=_caller(ctx))

    @request
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        """REMOVEXATTR."""
        self.operations.removexattr(inode, name, caller=_caller(ctx))

    # ---------------------------------------------------------------- where it runs

    def _opened(self, ino: int, flags: int) -> pyfuse3.FileInfo:
        direct = flags & os.O_DIRECT and not self._fast_path
        return pyfuse3.FileInfo(fh=ino | DIRECT if direct else ino, keep_cache=True)

    async def _soon(self, call: Waiting[T]) -> T:
        """The result of ``call``: at once when it need not wait, else from a thread."""
        try:
            return call(wait=False)
        except WouldBlock:
            return await self._in_thread(self._disk, functools.partial(call, wait=True))

    @staticmethod
    async def _in_thread(limiter: trio.CapacityLimiter, call: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(call, limiter=limiter)


def _caller(ctx: pyfuse3.RequestContext) -> Caller:
    return ctx.uid, ctx.gid, ctx.pid


def _drop_pages(ino: int) -> None:
    """Drop the pages that reads brought in while the file was written with O_DIRECT.

    libfuse agrees with the kernel on asynchronous direct I/O, and then the kernel does not drop
    them after a write of libaio. The router does not agree on that. Waits for READs under way.
    """
    with suppress(OSError):  # the kernel has forgotten the inode, or the connection is over
        pyfuse3.invalidate_inode(ino)


# ------------------------------------------------------------------ replies

VALID_S = 86400.0
"""Seconds for which the kernel may keep names and attributes: every change passes through it."""

COUNTED_VALID_S = 1.0
"""Seconds for blocks that were counted in the objects: the filesystems below change them, too."""

IO_SIZE = 128 * 1024
"""st_blksize: the buffer size of cp(1) and cat(1)."""


def entry_attributes(inode: Inode, blocks: int | None = None) -> pyfuse3.EntryAttributes:
    """What stat(2) shows of an inode.

    The blocks of a sparse file are counted by GETATTR only, which passes ``blocks``: after any
    other reply the kernel sends GETATTR before it shows the attributes.
    """
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = inode.ino
    entry.generation = 0  # inode numbers are never reused
    entry.entry_timeout = entry.attr_timeout = VALID_S
    entry.st_mode = inode.mode
    entry.st_nlink = inode.nlink
    entry.st_uid = inode.uid
    entry.st_gid = inode.gid
    entry.st_rdev = inode.rdev
    entry.st_size = inode.size
    entry.st_blksize = IO_SIZE
    entry.st_blocks = blocks_of(inode)
    if inode.sparse:
        entry.attr_timeout = 0 if blocks is None else COUNTED_VALID_S
        entry.st_blocks = entry.st_blocks if blocks is None else blocks
    entry.st_atime_ns = inode.atime
    entry.st_mtime_ns = inode.mtime
    entry.st_ctime_ns = inode.ctime
    return entry


def absent() -> pyfuse3.EntryAttributes:
    """The reply that a name does not exist, which the kernel may cache."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = 0
    entry.entry_timeout = VALID_S
    return entry


def changes(attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields) -> Changes:
    """The changes of a SETATTR."""
    return Changes(
        mode=attr.st_mode if fields.update_mode else None,
        uid=attr.st_uid if fields.update_uid else None,
        gid=attr.st_gid if fields.update_gid else None,
        size=attr.st_size if fields.update_size else None,
        atime=attr.st_atime_ns if fields.update_atime else None,
        # With a size comes the current time, which a truncation sets by itself.
        mtime=attr.st_mtime_ns if fields.update_mtime and not fields.update_size else None,
    )


def statvfs_data(room: StatFs) -> pyfuse3.StatvfsData:
    """What statvfs(3) shows."""
    data = pyfuse3.StatvfsData()
    data.f_bsize = data.f_frsize = BLOCK
    data.f_blocks = room.blocks
    data.f_bfree = room.blocks_free
    data.f_bavail = room.blocks_available
    data.f_files = room.files
    data.f_ffree = data.f_favail = room.files_free
    data.f_namemax = room.name_max
    return data
