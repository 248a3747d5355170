"""The requests: a function for each kind, called by the router and by pyfuse3's handlers.

The router finds a function by its name: the table in ``tierfs/native/src/operations.c`` has a row
for each kind of request, with the function here, its arguments in the message, and what it returns.
A new kind takes a row there, a function here, a name in ``counters.h`` and ``counters.c``, and
where pyfuse3 has it a handler in ``adapter.py``. The first argument is the inode number; ``caller``
is the user, group and thread of the caller.

* ``wait`` False: raise ``WouldBlock`` where a disk or another change of the same file is needed.
  The function is then called again with ``wait`` True, in a thread that may wait. If it raises
  ``Waits``, it continues there with ``Waits.resume`` instead.
* ``again`` False: fill the metadata cache, and return None: the router then answers from there. If
  that did not help, as when the cache is full, the function is called again with ``again`` True,
  and returns the answer.

An inode that is returned for a name has a lookup count added; ``()`` is no name (``NO_NAME``).
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tierfs.common.errors import FsError, TierfsError, errno_of
from tierfs.common.extents import BLOCK
from tierfs.common.metrics import Metrics
from tierfs.common.own_mount import call_own_mount
from tierfs.daemon.callers import ProcessCaller
from tierfs.fs.attributes import Changes, StatFs
from tierfs.fs.filesystem import FileSystem
from tierfs.fs.locks import WouldBlock
from tierfs.fs.namespace import BY_NUMBER, Owner
from tierfs.metadata.dentries import Dentry
from tierfs.metadata.inodes import Inode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tierfs.daemon.native import CacheFiller

log = logging.getLogger(__name__)

NO_NAME: Final[tuple[()]] = ()
Caller = tuple[int, int, int]
"""User, group and thread."""
Found = Inode | tuple[()]
"""The inode of a name, or ``NO_NAME``."""

SYMLINK_MODE: Final = stat.S_IFLNK | 0o777
MAX_COPIED: Final = 2**32 - BLOCK
"""Bytes of a copy: its reply has 32 bits."""
LISTED: Final = 1024
"""Entries of a directory that the router gets at a time where it cannot list by itself."""

PASSED_TO_CALLERS: Final = frozenset({errno.EFBIG, errno.ENOSPC, errno.EDQUOT})
"""Errors of a backing directory that the caller gets, and no log: a line for each request would
only fill another disk."""


FieldsOfSetattr = tuple[int, int, int, int, int, int, int, int, int]
"""The fields of ``struct fuse_setattr_in`` that count: see ``changes``."""

FATTR_MODE, FATTR_UID, FATTR_GID, FATTR_SIZE, FATTR_ATIME, FATTR_MTIME = (1 << i for i in range(6))
FATTR_ATIME_NOW, FATTR_MTIME_NOW = 1 << 7, 1 << 8
_ATIMES: Final = FATTR_ATIME | FATTR_ATIME_NOW
_MTIMES: Final = FATTR_MTIME | FATTR_MTIME_NOW
SECOND: Final = 1_000_000_000


class Waits(WouldBlock):
    """A function must wait, and then continues with ``resume`` instead of being called again."""

    def __init__(self, resume: Callable[[], object]) -> None:
        super().__init__()
        self.resume = resume


class Operations:
    """Serves one volume. Thread-safe; raises what `tierfs.fs` raises."""

    def __init__(
        self,
        fs: FileSystem,
        metrics: Metrics,
        *,
        masks: bool,
        mountpoint: Path,
        writeback: bool = False,
        filler: CacheFiller | None = None,
        put_statfs: Callable[[StatFs], None] | None = None,
    ) -> None:
        """``masks``: the kernel leaves the umask to the daemon; ``writeback``: it caches writes.

        ``filler``, ``put_statfs``: the router's; None without it.
        """
        self._fs = fs
        self._metrics = metrics
        self._masks = masks
        self._writeback = writeback
        self._mountpoint = os.fsencode(mountpoint)
        self._filler = filler
        self._put_statfs = put_statfs
        self.ready = fs.is_free
        self.write = partial(fs.data.write, buffered=filler is not None)
        self.unlink = fs.names.unlink
        self.rmdir = fs.names.rmdir
        self.readlink = fs.attributes.readlink
        self.fallocate = fs.ranges.fallocate
        self.copy_file_range_64 = fs.ranges.copy

    # ---------------------------------------------------------------- for the router

    def never_waits(self) -> None:
        """The calling thread serves all clients: it must not wait for a disk."""
        self._fs.recovery.never_wait.add(threading.get_ident())

    def failed(
        self, operation: str, exc: Exception, seconds: float
    ) -> int | Callable[[], object] | None:
        """The errno of a request that failed after ``seconds``; counts and logs it.

        None: it must wait. A function: it must wait, and then continues with that.
        """
        if isinstance(exc, WouldBlock):
            return exc.resume if isinstance(exc, Waits) else None
        number = error_number(exc, operation, self._metrics)
        self._metrics.requests.labels(operation, errno.errorcode.get(number, str(number))).inc()
        self._metrics.request_seconds.labels(operation).observe(seconds)
        return number

    # ---------------------------------------------------------------- names

    def lookup(self, parent: int, name: bytes, *, again: bool, wait: bool) -> Found | None:
        """LOOKUP. Some names stand for inode numbers, of a file handle."""
        if name in BY_NUMBER:
            return self._by_number(parent, name, wait=wait)
        if not again:
            self._fs.names.find(parent, name)
            if self._filler:
                self._filler.missed_in(parent)
            return None
        try:
            return self._fs.names.lookup(parent, name)
        except FsError as exc:
            if exc.errno != errno.ENOENT:
                raise
            return NO_NAME

    def mknod(
        self, parent: int, mode: int, rdev: int, umask: int, name: bytes, *, caller: Caller
    ) -> Inode:
        """MKNOD; without OPEN, the kernel creates regular files with it as well."""
        return self._fs.names.make(parent, name, mode, self._owner(caller, umask), rdev=rdev)

    def tmpfile(self, parent: int, flags: int, mode: int, umask: int, *, caller: Caller) -> Inode:
        """TMPFILE; the file is open then, and RELEASE has nothing to do."""
        owner, exclusive = self._owner(caller, umask), bool(flags & os.O_EXCL)
        mode = stat.S_IFREG | stat.S_IMODE(mode)
        return self._fs.names.make_nameless(parent, mode, owner, exclusive=exclusive)

    def mkdir(self, parent: int, mode: int, umask: int, name: bytes, *, caller: Caller) -> Inode:
        """MKDIR."""
        mode = stat.S_IFDIR | stat.S_IMODE(mode)
        return self._fs.names.make(parent, name, mode, self._owner(caller, umask))

    def symlink(self, parent: int, name: bytes, target: bytes, *, caller: Caller) -> Inode:
        """SYMLINK."""
        owner = self._owner(caller, 0)
        return self._fs.names.make(parent, name, SYMLINK_MODE, owner, target=target)

    def link(self, parent: int, ino: int, name: bytes) -> Inode:
        """LINK."""
        return self._fs.names.link(ino, parent, name)

    def rename(
        self, parent: int, new_parent: int, name: bytes, new_name: bytes, *, caller: Caller
    ) -> None:
        """RENAME."""
        self.rename2(parent, new_parent, 0, name, new_name, caller=caller)

    def rename2(
        self,
        parent: int,
        new_parent: int,
        flags: int,
        name: bytes,
        new_name: bytes,
        *,
        caller: Caller,
    ) -> None:
        """RENAME2."""
        owner = self._owner(caller, 0)
        self._fs.names.rename(parent, name, new_parent, new_name, flags, owner)

    def readdir(self, ino: int, cookie: int, _size: int = 0, *, again: bool) -> list[Dentry] | None:
        """READDIRPLUS; no lookup count is added."""
        if not again:
            self._fs.listing.fill(ino, cookie)
            return None
        return list(islice(self._fs.listing.after(ino, cookie), LISTED))

    def fsyncdir(self, _ino: int, _flags: int = 0, *, wait: bool = True) -> None:
        """FSYNCDIR."""
        self._fs.sync_index(wait=wait)

    # ---------------------------------------------------------------- attributes

    def getattr(self, ino: int, *, again: bool, wait: bool) -> Inode | tuple[Inode, int] | None:
        """GETATTR; only here are the blocks of a sparse file counted.

        The size is that at the time of the request: see ``native/src/coherence.h``.
        """
        row = self._fs.attributes.get(ino)
        if not again:
            self._missed(ino)
            if not row.sparse:
                return None
        blocks = partial(self._fs.attributes.blocks, ino)
        try:
            return row, blocks(wait=wait)
        except WouldBlock:
            raise Waits(lambda: (row, blocks(wait=True))) from None

    def setattr(self, ino: int, fields: FieldsOfSetattr, *, caller: Caller, wait: bool) -> Inode:
        """SETATTR: chmod, chown, truncate, utimens."""
        changed = changes(*fields)
        return self._fs.attributes.set(ino, changed, caller=ProcessCaller(*caller), wait=wait)

    def change(self, ino: int, changed: Changes, *, caller: Caller, wait: bool) -> Inode:
        """SETATTR, with the attributes that ``changed`` sets."""
        return self._fs.attributes.set(ino, changed, caller=ProcessCaller(*caller), wait=wait)

    def statfs(self, _ino: int) -> tuple[int, int, int, int, int, int, int, int]:
        """STATFS: blocks, bfree, bavail, files, ffree, bsize, namelen, frsize."""
        room = self._fs.statfs()
        if self._put_statfs:
            self._put_statfs(room)
        blocks, free, available, files, files_free, name_max = room
        return blocks, free, available, files, files_free, BLOCK, name_max, BLOCK

    # ---------------------------------------------------------------- extended attributes

    def getxattr(self, ino: int, name: bytes, *, caller: Caller) -> bytes:
        """GETXATTR."""
        self._missed(ino)
        return self._fs.xattrs.get(ino, name, ProcessCaller(*caller))

    def listxattr(self, ino: int, *, caller: Caller) -> bytes:
        """LISTXATTR: each name followed by a NUL."""
        self._missed(ino)
        names = self._fs.xattrs.names(ino, ProcessCaller(*caller))
        return b"".join(name + b"\0" for name in names)

    def setxattr(self, ino: int, flags: int, name: bytes, value: bytes, *, caller: Caller) -> None:
        """SETXATTR."""
        self._fs.xattrs.set(ino, name, value, flags, caller=ProcessCaller(*caller))

    def removexattr(self, ino: int, name: bytes, *, caller: Caller) -> None:
        """REMOVEXATTR."""
        self._fs.xattrs.remove(ino, name, caller=ProcessCaller(*caller))

    # ---------------------------------------------------------------- bytes

    def read(self, ino: int, offset: int, size: int, *, again: bool, wait: bool) -> bytes | None:
        """READ."""
        if not again:
            self._missed(ino)
            self._fs.attributes.get(ino)
            return None
        return self._fs.reads.read(ino, offset, size, wait=wait)

    def truncate(self, ino: int, *, caller: Caller, wait: bool) -> None:
        """OPEN with O_TRUNC, where the kernel leaves that to the daemon."""
        self._fs.data.truncate(ino, 0, caller=ProcessCaller(*caller), wait=wait)

    def lseek(self, ino: int, offset: int, whence: int, *, wait: bool) -> int:
        """LSEEK, for data and holes only; if refused once, the kernel takes every file for data."""
        if self._writeback:
            raise FsError(errno.ENOSYS)  # the kernel has bytes that were not written to us yet
        return self._fs.ranges.seek(ino, offset, whence, wait=wait)

    def copy_file_range(
        self, ino: int, offset: int, target: int, to: int, length: int, *, wait: bool
    ) -> int:
        """COPY_FILE_RANGE before Linux 6.18, whose reply has 32 bits."""
        length = min(length, MAX_COPIED)
        return self._fs.ranges.copy(ino, offset, target, to, length, wait=wait)

    def fsync(self, ino: int, _flags: int = 0, *, wait: bool = True) -> None:
        """FSYNC; must never be answered ENOSYS, which the kernel would take for success.

        fdatasync(2) is the same: the size, without which the bytes cannot be read, is in the same
        row as all other attributes.
        """
        self._fs.data.sync(ino, wait=wait)

    # ---------------------------------------------------------------- helpers

    def _owner(self, caller: Caller, umask: int) -> Owner:
        """The owner of an inode that this request makes."""
        uid, gid, _ = caller
        return Owner(uid, gid, umask if self._masks else 0)

    def _missed(self, ino: int) -> None:
        if self._filler:
            self._filler.missed(ino)

    def _by_number(self, ino: int, name: bytes, *, wait: bool) -> Inode:
        """Let the kernel look up a path of an inode before it learns the inode by number.

        Otherwise it has a dentry without a name, which it takes for outdated each time that it
        looks at it (Linux 6.16 and later: ``d_time`` and ``fc->epoch`` in fs/fuse/dir.c), and an
        overlay that found a file of its lower layer by number answers ESTALE from then on.
        """
        if name == b"." and not wait:
            raise WouldBlock  # this looks up a path of our own mount
        found = self._fs.names.lookup(ino, name)
        if name == b"." and not stat.S_ISDIR(found.mode):
            path = self._fs.names.path_of(ino)
            if path is not None:
                with suppress(OSError):  # moved meanwhile, too long, or something lies over it
                    call_own_mount(os.lstat, self._mountpoint + b"/" + path)
        return found


def changes(
    valid: int,
    size: int,
    atime: int,
    mtime: int,
    atimensec: int,
    mtimensec: int,
    mode: int,
    uid: int,
    gid: int,
) -> Changes:
    """The changes of a SETATTR; the FATTR bits of ``valid`` say which fields count."""
    resizes = valid & FATTR_SIZE
    return Changes(  # by position: by name it takes half a microsecond more
        mode if valid & FATTR_MODE else None,
        uid if valid & FATTR_UID else None,
        gid if valid & FATTR_GID else None,
        size if resizes else None,
        _time(valid & FATTR_ATIME, atime, atimensec) if valid & _ATIMES else None,
        # With a size comes the current time, which a truncation sets by itself.
        _time(valid & FATTR_MTIME, mtime, mtimensec) if valid & _MTIMES and not resizes else None,
    )


def error_number(exc: Exception, operation: str, metrics: Metrics) -> int:
    """The errno of a request that failed; logs and counts what is not the caller's affair.

    An unexpected exception becomes EIO for that one request, and the mount continues.
    """
    if isinstance(exc, OSError) and exc.errno not in PASSED_TO_CALLERS:
        log.error("%s failed on a backing directory: %s", operation, exc)
    elif not isinstance(exc, OSError | TierfsError):
        metrics.handler_failures.inc()
        log.error("%s failed unexpectedly; the request got EIO", operation, exc_info=exc)
    return errno_of(exc)


def _time(given: int, seconds: int, nanoseconds: int) -> int:
    return seconds * SECOND + nanoseconds if given else time.time_ns()
