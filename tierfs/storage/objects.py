"""The objects of one tier: their bytes, lengths and times, by inode number.

Nothing stays open between two calls, except directories (directories.py); a writer may keep what
``open_to_write`` returns. Everything is opened below the store's directory, and no symbolic
link is followed (tierfs/common/beneath.py).
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, ParamSpec, TypeVar

from tierfs.common.beneath import NotAFile, open_beneath
from tierfs.common.extents import SECTOR, whole_blocks
from tierfs.common.osio import Os
from tierfs.common.sync import GroupSync, is_in_memory
from tierfs.storage.calls import Calls, Descriptor
from tierfs.storage.directories import Arrival, Directories, Removal
from tierfs.storage.layout import (
    FILES_PER_DIRECTORY_BITS,
    OBJECT_MODE,
    directory_path,
    object_path,
    set_aside,
)
from tierfs.storage.write_buffer import IN_MEMORY, Buffer

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

COPY: Final = ".copy"
"""Behind the number of an object, the name of a copy that is about to take its place."""

LARGEST_FOLIO: Final = 2 * 1024 * 1024
"""Bytes that the page cache holds together at most: it drops all of them, or none."""


class Space(NamedTuple):
    """Room in a tier's filesystem, in bytes and inodes; ``available`` is what a user may take."""

    capacity: int
    free: int
    available: int
    files: int
    files_free: int
    read_only: bool = False


class ObjectShared(OSError):
    """A change of a shared object was refused; ``ObjectStore.separate`` makes a copy of its own."""


class ObjectLost(OSError):
    """An object is missing, shorter than it must be, or something else than a file."""


def _blocks_of(pieces: list[tuple[int, int]]) -> int:
    return sum(whole_blocks(end) - whole_blocks(begin) for begin, end in pieces)


class ObjectStore:
    """Objects under ``root``; offsets and lengths in bytes. Thread-safe.

    A shared object, which has another name outside of the store, is never changed.

    Raises from every method:
        OSError: the call on the backing directory failed.
        ObjectShared: it would change an object that has another name.
    """

    def __init__(self, name: str, root: Path, os_: Os, directory: int | None = None) -> None:
        """``directory``: a descriptor of ``root``, which becomes the store's own; None: open it.

        A flush by a descriptor of an earlier daemon reports the failures since that opened it.
        """
        self.name = name
        self.root = root
        self._calls = Calls(name, os_)
        self._group_flush = GroupSync(lambda: self._calls.syncfs(self._directory))
        self.directories = Directories(root, self._calls, directory)
        self._directory = self.directories.fd
        self.in_memory = is_in_memory(self._directory)
        """Whether nothing waits for a device."""
        self._knows_nowait = True

    @property
    def directory(self) -> int:
        """Its descriptor, open until ``close``."""
        return self._directory

    def close(self) -> None:
        """Close every descriptor."""
        self.directories.close()

    def read(self, ino: int, offset: int, length: int, *, keep: bool = True) -> bytes:
        """Up to ``length`` bytes at ``offset``, fewer only at the end of the object.

        Without ``keep`` they are dropped from the page cache: the kernel caches the mount's pages.

        Raises:
            FileNotFoundError: there is no object.
            ObjectLost: it is not a regular file.
        """
        with self._open(object_path(ino), os.O_RDONLY) as fd:
            data = self._calls.pread(fd, length, offset)
            while 0 < len(data) < length:
                more = self._calls.pread(fd, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
            if not keep:
                self._forget(fd, offset, length)
            return data

    def _forget(self, fd: int, offset: int, length: int) -> None:
        """Drop what was read from the page cache, with the folio that the previous read began."""
        start = max(0, offset - LARGEST_FOLIO)
        with suppress(OSError):
            self._calls.fadvise(fd, start, offset + length - start, os.POSIX_FADV_DONTNEED)

    def write(
        self,
        ino: int,
        offset: int,
        data: bytes | memoryview,
        *,
        holds: int = 0,
        then: int | None = None,
    ) -> None:
        """Write all of ``data`` to an object that has at least ``holds`` bytes.

        With ``holds`` 0 it is created if there is none. ``then``: its mtime afterwards, in ns,
        where this is not a change of the file.

        Raises:
            ObjectLost: it is missing or shorter.
        """
        with Descriptor(*self.open_to_write(ino, holds)) as fd:
            self.write_by(fd, offset, data)
            self._set_time(fd, then)

    def resize(self, ino: int, length: int, *, holds: int = 0, then: int | None = None) -> None:
        """Truncate an object, or extend it with a hole; arguments and errors as of ``write``."""
        with Descriptor(*self.open_to_write(ino, holds)) as fd:
            self._calls.ftruncate(fd, length)
            self._set_time(fd, then)

    def _set_time(self, fd: int, then: int | None) -> None:
        if then is not None:
            self._calls.utime(fd, ns=(then, then))

    def trim(self, ino: int, length: int) -> None:
        """Truncate an object that is longer than ``length``, and keep its times.

        That there is no object is not an error.
        """
        with suppress(FileNotFoundError), self._open(object_path(ino), os.O_WRONLY) as fd:
            status = self._calls.fstat(fd)
            if status.st_size > length:
                if status.st_nlink > 1:
                    raise self._shared()
                self._calls.ftruncate(fd, length)
                self._calls.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))

    def open_to_write(self, ino: int, holds: int, *, fresh: bool = False) -> tuple[int, int]:
        """Open an object that has at least ``holds`` bytes; returns its descriptor and length.

        With ``holds`` 0 it is created if there is none. ``fresh``: there should be none, since the
        file never had a byte; an object with its number belongs to no file, and is set aside.

        Raises:
            ObjectLost: it is missing or shorter.
        """
        if holds:
            try:
                opened = self._open(object_path(ino), os.O_RDWR)
            except FileNotFoundError:  # a new object would show zeros for the lost bytes
                raise ObjectLost(f"its {self.name} object is missing") from None
            fd, length, links = opened.fd, opened.length, opened.links
            if length < holds:
                os.close(fd)
                raise self._short(length, holds)
        elif not fresh:
            fd, length, links = self._create(ino, os.O_CREAT)
        else:
            try:
                fd, length, links = self._create(ino, os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                self._set_aside(ino)
                fd, length, links = self._create(ino, os.O_CREAT | os.O_EXCL)
        if links > 1:
            os.close(fd)
            raise self._shared()
        return fd, length

    def write_by(self, fd: int, offset: int, data: Buffer) -> None:
        """Write all of ``data`` by a descriptor of an object, open for reading as well."""
        if not isinstance(data, IN_MEMORY):
            done = self._calls.splice(fd, data, offset)
            if done == len(data):
                return
            data, offset = memoryview(data)[done:], offset + done
        while (written := self._calls.pwrite(fd, data, offset)) < len(data):
            data = memoryview(data)[written:]
            offset += written

    def write_nowait(self, fd: int, offset: int, data: Buffer) -> bool:
        """Write to the page cache, if that waits for nothing (RWF_NOWAIT of pwritev2(2)).

        False: it would wait, or the filesystem cannot tell, as ext4; some bytes may be written.
        """
        if self.in_memory:
            self.write_by(fd, offset, data)
            return True
        if not self._knows_nowait:
            return False
        try:
            return self._calls.pwritev(fd, [data], offset, os.RWF_NOWAIT) == len(data)
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                raise
            self._knows_nowait = False
            return False

    def extend_by(self, fd: int, length: int) -> None:
        """Extend an object with a hole by its descriptor."""
        self._calls.ftruncate(fd, length)

    def apply(self, ino: int, work: Callable[[int], None], *, holds: int = 0) -> None:
        """Call ``work`` with a descriptor that can change an object; otherwise as ``write``.

        Raises:
            ObjectLost: it does not hold ``holds`` bytes.
        """
        with Descriptor(*self.open_to_write(ino, holds)) as fd:
            work(fd)

    def call(self, name: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Another call on an object, through the seam: ``flash.clone`` and the like."""
        return self._calls.other(f"{self.name}.{name}", function, *args, **kwargs)

    def check(self, fd: int, holds: int) -> None:
        """Check by its descriptor that an object has ``holds`` bytes or more.

        Raises:
            ObjectLost: it does not hold them any more, or was removed.
        """
        status = self._calls.fstat(fd)
        if status.st_nlink != 1:
            if status.st_nlink:
                raise self._shared()
            raise ObjectLost(f"its {self.name} object is missing")
        if status.st_size < holds:
            raise self._short(status.st_size, holds)

    def separate(self, ino: int, length: int | None = None) -> bool:
        """Copy-up: let an object that has other names be a file of its own, durably.

        It keeps its first ``length`` bytes, or all, and its mtime. After a crash it is the shared
        or the new one. Changes by the other names meanwhile are not noticed: the caller compares
        the original before and after.

        Returns whether it had other names; if not, nothing is done.

        Raises:
            FileNotFoundError: no object.
        """
        with (
            self._open(object_path(ino), os.O_RDONLY) as source,
            self.directories.open_path(ino) as above,
        ):
            status = self._calls.fstat(source)
            if status.st_nlink == 1:
                return False
            wanted = status.st_size if length is None else min(length, status.st_size)
            beside = f"{ino}{COPY}"
            with suppress(FileNotFoundError):  # of a crash between the last two steps
                self._calls.unlink(beside, dir_fd=above)
            flags = os.O_RDWR | os.O_TMPFILE
            directory = directory_path(ino)
            with Descriptor(open_beneath(directory, flags, dir_fd=self._directory)) as copy:
                os.fchmod(copy, OBJECT_MODE)
                self._calls.copy(source, copy, wanted)
                self._calls.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
                self._calls.fdatasync(copy)
                named = f"/proc/self/fd/{copy}"
                self._calls.link(named, beside, dst_dir_fd=above, follow_symlinks=True)
            self._calls.rename(beside, str(ino), src_dir_fd=above, dst_dir_fd=above)
        self.directories.sync_name(ino)
        return True

    def _shared(self) -> ObjectShared:
        return ObjectShared(f"its {self.name} object has another name, and is not changed")

    def _short(self, length: int, holds: int) -> ObjectLost:
        return ObjectLost(f"its {self.name} object ends at byte {length}, before byte {holds}")

    def _open(self, path: str, flags: int) -> Descriptor:
        """Open now; the end of the block closes it."""
        try:
            return Descriptor(*self._calls.open(path, flags, OBJECT_MODE, dir_fd=self._directory))
        except NotAFile:
            what = f"its {self.name} object is not a regular file, or is reached by a symbolic link"
            raise ObjectLost(what) from None

    def _create(self, ino: int, flags: int) -> tuple[int, int, int]:
        """Open to write, with its length and links; nearly always the directory is there."""
        path, flags = object_path(ino), os.O_RDWR | flags
        try:
            return self._calls.open(path, flags, OBJECT_MODE, dir_fd=self._directory)
        except FileNotFoundError:
            self.directories.make(ino)
        except NotAFile:
            pass
        opened = self._open(path, flags)
        return opened.fd, opened.length, opened.links

    def remove(self, ino: int) -> None:
        """Remove the object; no object is fine."""
        with self.removal() as remove:
            remove(ino)

    def removal(self) -> Removal:
        """A block with a ``remove`` for many objects; nobody may change these meanwhile."""
        return Removal(self._calls, self._directory)

    def arrival(self) -> Arrival:
        """A block in which objects are made of files elsewhere."""
        return Arrival(self.directories, self._calls)

    def set_aside(self, ino: int) -> Path:
        """Move an object that is wrong, or belongs to no file, to lost+found; returns its path.

        Raises:
            FileNotFoundError: there is no object.
        """
        return self.call("set_aside", set_aside, self.root, ino)

    def set_aside_unowned(self, first: int, end: int) -> None:
        """Move the objects of inodes from ``first`` to before ``end`` to lost+found.

        No file has such a number yet. After a crash their lengths would count as those of a file.
        """
        bits = FILES_PER_DIRECTORY_BITS
        for group in range(first >> bits, (end - 1 >> bits) + 1):
            directory = directory_path(group << bits)
            try:
                with self.directories.open(directory) as fd:
                    names = self._calls.listdir(fd)
            except FileNotFoundError:
                continue
            for name in names:
                if name.isdecimal() and first <= int(name) < end:
                    self._set_aside(int(name))

    def _set_aside(self, ino: int) -> None:
        place = self.call("set_aside", set_aside, self.root, ino)
        log.warning(
            "inode %d: its new %s object was there already: moved to %s: it belongs to "
            "no file of the index; is the index an old one? Run tierfs fsck",
            ino,
            self.name,
            place,
        )

    def links(self, ino: int) -> int:
        """How many names the object has; no object: 0."""
        found = self._stat(ino)
        return 0 if found is None else found.st_nlink

    def length(self, ino: int) -> int | None:
        """The object's length, or None when there is no object, or something else."""
        found = self._stat(ino)
        return None if found is None else found.st_size

    def length_and_mtime(self, ino: int) -> tuple[int, int]:
        """The object's length, and its mtime in ns; no object: 0 and 0."""
        found = self._stat(ino)
        return (0, 0) if found is None else (found.st_size, found.st_mtime_ns)

    def _stat(self, ino: int) -> os.stat_result | None:
        """None: no object. What is not a regular file counts as none, and opening it raises."""
        try:
            found = self._calls.stat(object_path(ino), dir_fd=self._directory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            if exc.errno == errno.ELOOP:
                return None
            raise
        return found if stat.S_ISREG(found.st_mode) else None

    def allocated(self, ino: int, length: int, *, start: int = 0) -> int:
        """Bytes that are allocated for those from ``start`` to ``length``; no object: 0.

        Without holes. It may count more, where the filesystem has preallocated.
        """
        found = self._stat(ino)
        if found is None:
            return 0
        if found.st_size <= length:  # counts blocks as well that are allocated and not written
            before = self.pieces(ino, 0, start) if start else []
            return max(0, found.st_blocks * SECTOR - _blocks_of(before))
        return _blocks_of(self.pieces(ino, start, length))

    def pieces(self, ino: int, start: int, end: int) -> list[tuple[int, int]]:
        """Where data begins and ends between ``start`` and ``end``, in order; no object: none."""
        try:
            with self._open(object_path(ino), os.O_RDONLY) as fd:
                return self._calls.pieces(fd, start, end)
        except (FileNotFoundError, ObjectLost):
            return []

    def open_object(self, ino: int, *, writable: bool = False) -> int:
        """A descriptor of the object, which the caller closes; FileNotFoundError: no object."""
        return self._open(object_path(ino), os.O_RDWR if writable else os.O_RDONLY).fd

    def forget(self, ino: int) -> None:
        """Drop a synced object from the page cache, so that the next read goes to the device.

        Raises:
            FileNotFoundError: there is no object.
            ObjectLost: it is not a regular file.
        """
        with self._open(object_path(ino), os.O_RDONLY) as fd, suppress(OSError):
            self._calls.fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync(self, ino: int) -> None:
        """Make the object's bytes, length and name survive a power cut."""
        self.sync_data(ino)
        self.directories.sync_name(ino, keep=False)

    def sync_data(self, ino: int, fd: int = -1) -> bool:
        """Make the object's bytes and length survive a power cut.

        ``fd``: a descriptor of it, which reports every failed write-back since it was opened. Below
        0 the object is opened, and only a failure that was not reported yet is.

        Returns whether the object has a name; if not, it was removed.
        """
        if fd >= 0:
            return self._calls.fdatasync(fd).st_nlink > 0
        with self._open(object_path(ino), os.O_RDONLY) as opened:
            return self._calls.fdatasync(opened).st_nlink > 0

    def flush(self) -> None:
        """Make everything in the directory's filesystem survive a power cut (syncfs(2)).

        Threads that wait share one sync and its failure, which the descriptor reports only once.
        """
        self.directories.close_kept()
        self._group_flush()

    @contextmanager
    def watched(self) -> Iterator[Callable[[], None]]:
        """A block with a ``flush`` of its own, which fails if any write-back since its start did.

        The kernel reports a failure to each open descriptor once (errseq_t, since Linux 5.8).
        """
        with self.directories.open(".") as fd:
            yield lambda: self._calls.syncfs(fd)

    def space(self) -> Space:
        """What statvfs says of the directory."""
        stat = self._calls.statvfs(self._directory)
        unit = stat.f_frsize
        return Space(
            stat.f_blocks * unit,
            stat.f_bfree * unit,
            stat.f_bavail * unit,
            stat.f_files,
            stat.f_ffree,
            bool(stat.f_flag & os.ST_RDONLY),
        )
