"""A directory of objects, one a file, named by inode number.

``ROOT/KIND/ab/cd/INODE``: ``ab`` and ``cd`` are bits of the inode number, so that 1,024
consecutive inodes share a directory and neighbours in time are neighbours on disk.

The store keeps nothing open between two calls, but for a few directories of names that were synced;
a writer may keep what ``open_to_write`` gives it.
Everything is opened below the directory's descriptor, and no symbolic link is followed
(tierfs/common/beneath.py).
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, ParamSpec, Self, TypeVar

from tierfs.common.beneath import (
    DIRECTORY,
    PATH_DIRECTORY,
    NotAFile,
    mkdir_beneath,
    open_beneath,
    open_sized,
    parent_beneath,
    stat_beneath,
)
from tierfs.common.extents import SECTOR, whole_blocks
from tierfs.common.osio import Os
from tierfs.common.ranges import NO_CLONE, clone_range, copy_data, data_ranges
from tierfs.common.sync import GroupSync, is_in_memory, sync_data, sync_file, sync_filesystem
from tierfs.storage.write_buffer import IN_MEMORY, Buffer, PipedBuffer

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

LOST_AND_FOUND = "lost+found"
"""Beside a store, in the tier's directory: objects of no file."""

FILES_PER_DIRECTORY_BITS = 10
OBJECT_MODE = 0o600
COPY = ".copy"
"""Behind the number of an object, the name of a copy that is about to take its place."""
DIRECTORY_MODE = 0o700

KEPT_DIRECTORIES = 4
"""Directories of objects that stay open for the next sync of a name in one."""

LARGEST_FOLIO = 2 * 1024 * 1024
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
    """An object has a name outside of the store, and is not changed: ``ObjectStore.separate``."""


class ObjectLost(OSError):
    """An object is missing, shorter than it must be, or something else than a file."""


def set_aside(root: Path, ino: int) -> Path:
    """Move an object that belongs to no file out of the store; returns where it is then.

    Nothing there is replaced: of two with one number the second gets another name. No symbolic
    link below the tier's directory is followed.

    Raises:
        OSError: it cannot be moved, or there is none.
    """
    with ExitStack() as stack:
        above = os.open(root.parent, DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, above)
        with suppress(FileExistsError):
            os.mkdir(LOST_AND_FOUND, DIRECTORY_MODE, dir_fd=above)
        shelter = open_beneath(LOST_AND_FOUND, DIRECTORY, dir_fd=above)
        stack.callback(os.close, shelter)
        taken = set(os.listdir(shelter))
        names = (f"{ino}" if number == 0 else f"{ino}.{number}" for number in itertools.count())
        target = next(name for name in names if name not in taken)
        path = f"{root.name}/{object_path(ino)}"
        with parent_beneath(path, dir_fd=above) as (parent, name):
            os.rename(name, target, src_dir_fd=parent, dst_dir_fd=shelter)
        sync_file(shelter)
    return root.parent / LOST_AND_FOUND / target


def object_path(ino: int) -> str:
    """Where an inode's object is, relative to the store."""
    group = ino >> FILES_PER_DIRECTORY_BITS
    return f"{group >> 8 & 0xFF:02x}/{group & 0xFF:02x}/{ino}"


def directory_path(ino: int) -> str:
    """The directory of that, relative to the store."""
    group = ino >> FILES_PER_DIRECTORY_BITS
    return f"{group >> 8 & 0xFF:02x}/{group & 0xFF:02x}"


def _blocks_of(pieces: list[tuple[int, int]]) -> int:
    return sum(whole_blocks(end) - whole_blocks(begin) for begin, end in pieces)


def _pieces(fd: int, start: int, end: int) -> list[tuple[int, int]]:
    return list(data_ranges(fd, start, end))


def _splice(fd: int, data: PipedBuffer, offset: int) -> int:
    return data.splice(fd, offset)


def list_directory(fd: int) -> list[str]:
    """The names in a directory."""
    return os.listdir(fd)


def _rmdir(path: str, root: int) -> None:
    with parent_beneath(path, dir_fd=root) as (above, name):
        os.rmdir(name, dir_fd=above)


def _copy_whole(source: int, target: int, length: int) -> None:
    """Make an empty file the first ``length`` bytes of another, by shared blocks if possible."""
    try:
        clone_range(target, 0, 0, source, 0)
    except OSError as exc:
        if exc.errno not in NO_CLONE:
            raise
        copy_data(source, target, length)
    os.ftruncate(target, length)


class _Open:
    """An open descriptor, for a block; a generator would cost a microsecond more each time.

    ``length`` of a file when it was opened, in bytes, and how many names it had.
    """

    __slots__ = ("fd", "length", "links")

    def __init__(self, fd: int, length: int = 0, links: int = 1) -> None:
        self.fd = fd
        self.length = length
        self.links = links

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class _Calls:
    """The labelled calls of the store ``name``: ``flash.pwrite`` and the like."""

    def __init__(self, name: str, os_: Os) -> None:
        def labelled(call: str, function: Callable[P, T]) -> Callable[P, T]:
            return os_.bound(f"{name}.{call}", function)

        self.other = os_.call
        self.open = labelled("open", open_sized)
        self.open_directory = labelled("open", open_beneath)
        self.open_parent = labelled("open_parent", os.open)
        self.open_group = labelled("open_group", open_beneath)
        self.pread = labelled("pread", os.pread)
        self.fadvise = labelled("fadvise", os.posix_fadvise)
        self.pwrite = labelled("pwrite", os.pwrite)
        self.pwritev = labelled("pwrite", os.pwritev)
        self.splice = labelled("pwrite", _splice)
        self.ftruncate = labelled("ftruncate", os.ftruncate)
        self.utime = labelled("utime", os.utime)
        self.fdatasync = labelled("fdatasync", sync_data)
        self.fsync_directory = labelled("fsync_directory", sync_file)
        self.unlink = labelled("unlink", os.unlink)
        self.link = labelled("link", os.link)
        self.rename = labelled("rename", os.rename)
        self.copy = labelled("copy", _copy_whole)
        self.stat = labelled("stat", stat_beneath)
        self.lstat = labelled("lstat", os.lstat)
        self.fstat = labelled("stat", os.fstat)
        self.pieces = labelled("lseek", _pieces)
        self.mkdir = labelled("mkdir", mkdir_beneath)
        self.mkdir_root = labelled("mkdir", os.mkdir)
        self.rmdir = labelled("rmdir", _rmdir)
        self.listdir = labelled("listdir", list_directory)
        self.set_aside = labelled("set_aside", set_aside)
        self.statvfs = labelled("statvfs", os.fstatvfs)
        self.syncfs = labelled("syncfs", sync_filesystem)


class Removal:
    """Removes objects; those of neighbours are in one directory, which is opened once."""

    def __init__(self, calls: _Calls, root: int) -> None:
        self._calls = calls
        self._root = root
        self._group = self._above = -1
        """The directory that is open, and its descriptor; below 0: there is none, and no object."""

    def __enter__(self) -> Callable[[int], None]:
        return self._remove

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _remove(self, ino: int) -> None:
        if ino >> FILES_PER_DIRECTORY_BITS != self._group:
            self._leave()
            self._enter(ino)
        if self._above >= 0:
            with suppress(FileNotFoundError):
                self._calls.unlink(str(ino), dir_fd=self._above)

    def _enter(self, ino: int) -> None:
        above = directory_path(ino)
        with suppress(FileNotFoundError):
            self._above = self._calls.open_group(above, PATH_DIRECTORY, dir_fd=self._root)
        self._group = ino >> FILES_PER_DIRECTORY_BITS

    def _leave(self) -> None:
        above, self._group, self._above = self._above, -1, -1
        if above >= 0:
            os.close(above)


class Arrival:
    """Makes objects of files elsewhere; those of neighbours are in one directory, opened once."""

    def __init__(self, store: ObjectStore, calls: _Calls) -> None:
        self._store = store
        self._calls = calls
        self._group = self._above = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def link(self, ino: int, directory: int, name: bytes) -> os.stat_result:
        """Give a file in an open directory the name of an object; returns what it is then.

        Raises:
            OSError: EXDEV, it is on another filesystem; EMLINK, it has too many names.
        """
        above = self._enter(ino)
        target = str(ino).encode()
        self._calls.link(
            name, target, src_dir_fd=directory, dst_dir_fd=above, follow_symlinks=False
        )
        return self._calls.lstat(target, dir_fd=above)

    def copy(self, ino: int, source: int, length: int) -> None:
        """Make an object of the first bytes of an open file, by shared blocks if possible."""
        above = self._enter(ino)
        flags = os.O_RDWR | os.O_TMPFILE
        with _Open(open_beneath(directory_path(ino), flags, dir_fd=self._store.directory)) as copy:
            os.fchmod(copy, OBJECT_MODE)
            self._calls.copy(source, copy, length)
            named = f"/proc/self/fd/{copy}"
            self._calls.link(named, str(ino), dst_dir_fd=above, follow_symlinks=True)

    def _enter(self, ino: int) -> int:
        if ino >> FILES_PER_DIRECTORY_BITS != self._group:
            self._leave()
            self._above = self._store.made_directory_of(ino)
            self._group = ino >> FILES_PER_DIRECTORY_BITS
        return self._above

    def _leave(self) -> None:
        above, self._group, self._above = self._above, -1, -1
        if above >= 0:
            os.close(above)


class ObjectStore:
    """Objects under ``root``; offsets and lengths in bytes. Thread-safe.

    An object that has another name, outside of the store, is never changed.

    Raises from every method:
        OSError: the call on the backing directory failed.
        ObjectShared: it would change an object that has another name.
    """

    def __init__(self, name: str, root: Path, os_: Os, directory: int | None = None) -> None:
        """``directory``: a descriptor of ``root``, which becomes the store's own; None: open it.

        By one that was open before, a flush learns what could not be written since.
        """
        self.name = name
        self.root = root
        self._calls = _Calls(name, os_)
        self._group_flush = GroupSync(lambda: self._calls.syncfs(self._directory))
        self._directory = self._open_root() if directory is None else directory
        self.in_memory = is_in_memory(self._directory)
        """Whether nothing waits for a device."""
        self._knows_nowait = True
        self._unsynced_parents: set[str] = set()
        """Directories with a new one in them that is neither durable nor removed again."""
        self._kept: dict[int, int] = {}
        """Descriptors of directories by the high bits of the inode numbers there, until ``flush``.

        Who uses one takes it out."""

    @property
    def directory(self) -> int:
        """Its descriptor, open until ``close``."""
        return self._directory

    def close(self) -> None:
        """Let go of the directory."""
        self._close_kept()
        os.close(self._directory)

    def _close_kept(self) -> None:
        with suppress(KeyError):  # until there is none
            while True:
                os.close(self._kept.popitem()[1])

    def read(self, ino: int, offset: int, length: int, *, keep: bool = True) -> bytes:
        """Up to ``length`` bytes, fewer only at its end; FileNotFoundError: no object.

        Without ``keep`` the kernel need not remember them: it will as bytes of the mount.

        Raises:
            ObjectLost: it is no file.
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

    def write(
        self,
        ino: int,
        offset: int,
        data: bytes | memoryview,
        *,
        holds: int = 0,
        then: int | None = None,
    ) -> None:
        """Write all of ``data`` to an object that ``holds`` so many bytes already.

        0: it is made if there is none. ``then``: its mtime afterwards, in ns, where this is not a
        change of the file.

        Raises:
            ObjectLost: it does not hold them.
        """
        with _Open(*self.open_to_write(ino, holds)) as fd:
            self.write_by(fd, offset, data)
            self._set_time(fd, then)

    def resize(self, ino: int, length: int, *, holds: int = 0, then: int | None = None) -> None:
        """Cut an object that ``holds`` so many bytes, or extend it with a hole; as ``write``."""
        with _Open(*self.open_to_write(ino, holds)) as fd:
            self._calls.ftruncate(fd, length)
            self._set_time(fd, then)

    def _set_time(self, fd: int, then: int | None) -> None:
        if then is not None:
            self._calls.utime(fd, ns=(then, then))

    def trim(self, ino: int, length: int) -> None:
        """Cut what an object holds behind ``length``; not a change of the file, so mtime stays.

        No object is fine.
        """
        with suppress(FileNotFoundError), self._open(object_path(ino), os.O_WRONLY) as fd:
            status = self._calls.fstat(fd)
            if status.st_size > length:
                if status.st_nlink > 1:
                    raise self._shared()
                self._calls.ftruncate(fd, length)
                self._calls.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))

    def open_to_write(self, ino: int, holds: int, *, fresh: bool = False) -> tuple[int, int]:
        """Open an object that ``holds`` so much; returns its descriptor and its length.

        0: it is made if there is none. ``fresh``: there must be none, since the file never had a
        byte; one that is there is of no file that the index knows, and is set aside.

        Raises:
            ObjectLost: it does not hold them.
        """
        if holds:
            found = self._existing(ino, holds)
            fd, length, links = found.fd, found.length, found.links
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

    def check(self, fd: int, holds: int) -> None:
        """Check by its descriptor that an object ``holds`` so many bytes.

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

        It has the first ``length`` bytes of what it was, or all, and the same mtime. A crash leaves
        the one or the other. What becomes of other names is not asked: who reads the object before
        and after sees whether it changed meanwhile.

        Returns whether it had other names; else nothing is done.

        Raises:
            FileNotFoundError: no object.
        """
        with self._open(object_path(ino), os.O_RDONLY) as source, self.directory_of(ino) as above:
            status = self._calls.fstat(source)
            if status.st_nlink == 1:
                return False
            wanted = status.st_size if length is None else min(length, status.st_size)
            beside = f"{ino}{COPY}"
            with suppress(FileNotFoundError):  # of a crash between the last two steps
                self._calls.unlink(beside, dir_fd=above)
            flags = os.O_RDWR | os.O_TMPFILE
            with _Open(open_beneath(directory_path(ino), flags, dir_fd=self._directory)) as copy:
                os.fchmod(copy, OBJECT_MODE)
                self._calls.copy(source, copy, wanted)
                self._calls.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
                self._calls.fdatasync(copy)
                named = f"/proc/self/fd/{copy}"
                self._calls.link(named, beside, dst_dir_fd=above, follow_symlinks=True)
            self._calls.rename(beside, str(ino), src_dir_fd=above, dst_dir_fd=above)
        self.sync_name(ino)
        return True

    def _shared(self) -> ObjectShared:
        return ObjectShared(f"its {self.name} object has another name, and is not changed")

    def _short(self, length: int, holds: int) -> ObjectLost:
        return ObjectLost(f"its {self.name} object ends at byte {length}, before byte {holds}")

    def set_aside_unowned(self, first: int, end: int) -> None:
        """Move objects with a number from ``first`` on and before ``end`` to lost+found.

        No file has such a number yet. After a crash the object of a new file would be believed.
        """
        bits = FILES_PER_DIRECTORY_BITS
        for group in range(first >> bits, (end - 1 >> bits) + 1):
            directory = directory_path(group << bits)
            try:
                with self._open_directory(directory) as fd:
                    names = self._calls.listdir(fd)
            except FileNotFoundError:
                continue
            for name in names:
                if name.isdecimal() and first <= int(name) < end:
                    self._set_aside(int(name))

    def _set_aside(self, ino: int) -> None:
        place = self._calls.set_aside(self.root, ino)
        log.warning(
            "inode %d: its new %s object was there already: moved to %s: it belongs to "
            "no file of the index; is the index an old one? Run tierfs fsck",
            ino,
            self.name,
            place,
        )

    def apply(self, ino: int, work: Callable[[int], None], *, holds: int = 0) -> None:
        """Do something to an object by a descriptor to write to it; as ``write`` otherwise.

        Raises:
            ObjectLost: it does not hold ``holds`` bytes.
        """
        with _Open(*self.open_to_write(ino, holds)) as fd:
            work(fd)

    def call(self, name: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A call on a descriptor of an object, through the seam: ``flash.clone`` and the like."""
        return self._calls.other(f"{self.name}.{name}", function, *args, **kwargs)

    def remove(self, ino: int) -> None:
        """Remove the object; no object is fine."""
        with self.removal() as remove:
            remove(ino)

    def removal(self) -> Removal:
        """A block with a ``remove`` for many, which do not change meanwhile."""
        return Removal(self._calls, self._directory)

    def arrival(self) -> Arrival:
        """A block in which objects are made of files elsewhere."""
        return Arrival(self, self._calls)

    def made_directory_of(self, ino: int) -> int:
        """A descriptor (O_PATH) of the directory that an object is in, which is made if need be."""
        try:
            return self.directory_of(ino).fd
        except FileNotFoundError:
            self._make_directories(object_path(ino))
            return self.directory_of(ino).fd

    def links(self, ino: int) -> int:
        """How many names the object has; no object: 0."""
        found = self._stat(ino)
        return 0 if found is None else found.st_nlink

    def length(self, ino: int) -> int | None:
        """The object's length, or None when there is no object, or something else."""
        found = self._stat(ino)
        return None if found is None else found.st_size

    def allocated(self, ino: int, length: int, *, start: int = 0) -> int:
        """Bytes that those from ``start`` up to ``length`` take on the filesystem; no object: 0.

        Holes are left out. It may count more, where the filesystem has allocated ahead.
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

    def forget(self, ino: int) -> None:
        """Let the next read ask the device: drop what the kernel remembers of a synced object.

        Raises:
            FileNotFoundError: there is no object.
            ObjectLost: it is no file.
        """
        with self._open(object_path(ino), os.O_RDONLY) as fd, suppress(OSError):
            self._calls.fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def set_aside(self, ino: int) -> Path:
        """Move an object that is no file's, or wrong, to lost+found; returns where it is then.

        Raises:
            FileNotFoundError: there is no object.
        """
        return self._calls.set_aside(self.root, ino)

    def sync(self, ino: int) -> None:
        """Make the object's bytes, length and name survive a power cut."""
        self.sync_data(ino)
        self._sync_parents()
        self._sync_directory(directory_path(ino))

    def sync_data(self, ino: int, fd: int = -1) -> bool:
        """Make the object's bytes and length survive a power cut.

        ``fd``: a descriptor of it, which reports what was not written since it was opened; below 0:
        the object is opened, and reports only what nobody was told.

        Returns whether the object has a name; else it was removed.
        """
        if fd >= 0:
            return self._calls.fdatasync(fd).st_nlink > 0
        with self._open(object_path(ino), os.O_RDONLY) as opened:
            return self._calls.fdatasync(opened).st_nlink > 0

    def length_and_mtime(self, ino: int) -> tuple[int, int]:
        """The object's length, and its mtime in ns; no object: 0 and 0."""
        found = self._stat(ino)
        return (0, 0) if found is None else (found.st_size, found.st_mtime_ns)

    def open_object(self, ino: int, *, writable: bool = False) -> int:
        """A descriptor of the object, which the caller closes; FileNotFoundError: no object."""
        return self._open(object_path(ino), os.O_RDWR if writable else os.O_RDONLY).fd

    def sync_removal(self, ino: int) -> None:
        """Make the removal of the object survive a power cut."""
        with suppress(FileNotFoundError):  # there never was one
            self.sync_name(ino)

    def sync_name(self, ino: int) -> None:
        """Make the name of an object that was made survive a power cut.

        Neighbours are mostly synced one after the other, so their directory stays open.
        """
        if self._unsynced_parents:
            self._sync_parents()
        group = ino >> FILES_PER_DIRECTORY_BITS
        fd = self._kept.pop(group, -1)
        if fd < 0:
            fd = self._open_directory(directory_path(ino)).fd
        try:
            status = self._calls.fsync_directory(fd)
        except BaseException:
            os.close(fd)
            raise
        if not status.st_nlink:  # it was removed since it was opened, and perhaps made again
            os.close(fd)
            self._sync_directory(directory_path(ino))
            return
        if len(self._kept) >= KEPT_DIRECTORIES:
            with suppress(KeyError):  # other threads have taken them all
                os.close(self._kept.popitem()[1])
        if self._kept.setdefault(group, fd) != fd:
            os.close(fd)

    def _sync_parents(self) -> None:
        for parent in tuple(self._unsynced_parents):
            self._sync_directory(parent)
            self._unsynced_parents.discard(parent)

    def flush(self) -> None:
        """Make everything in the directory's filesystem survive a power cut (syncfs(2)).

        Threads that wait share one sync and its failure, which the descriptor reports only once.
        """
        self._close_kept()
        self._group_flush()

    @contextmanager
    def watched(self) -> Iterator[Callable[[], None]]:
        """A block with a ``flush`` of its own: it fails when anything since the beginning did.

        The kernel reports a failure to each open descriptor once (errseq_t, since Linux 5.8).
        """
        with self._open_directory(".") as fd:
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

    def _forget(self, fd: int, offset: int, length: int) -> None:
        """Let the kernel drop what was read; also the folio that the read before began with."""
        start = max(0, offset - LARGEST_FOLIO)
        with suppress(OSError):
            self._calls.fadvise(fd, start, offset + length - start, os.POSIX_FADV_DONTNEED)

    def _open_root(self) -> int:
        """Only the links in the path of the directory above are followed, once.

        The directory's own name, which the first mount makes, is made durable.
        """
        above = self._calls.open_parent(self.root.parent, DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(FileExistsError):
                self._calls.mkdir_root(self.root.name, DIRECTORY_MODE, dir_fd=above)
            opened = self._calls.open_directory(self.root.name, DIRECTORY, dir_fd=above)
            try:
                self._calls.fsync_directory(above)
            except BaseException:
                os.close(opened)
                raise
        finally:
            os.close(above)
        return opened

    def _stat(self, ino: int) -> os.stat_result | None:
        """None: no object. What is no file counts as none, and opening it raises."""
        try:
            found = self._calls.stat(object_path(ino), dir_fd=self._directory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            if exc.errno == errno.ELOOP:
                return None
            raise
        return found if stat.S_ISREG(found.st_mode) else None

    def _open(self, path: str, flags: int) -> _Open:
        """Open now; the block that this begins closes."""
        try:
            return _Open(*self._calls.open(path, flags, OBJECT_MODE, dir_fd=self._directory))
        except NotAFile:
            what = f"its {self.name} object is no regular file, or is reached by a symbolic link"
            raise ObjectLost(what) from None

    def directory_of(self, ino: int) -> _Open:
        """A block with the descriptor of the directory that an object is in (O_PATH).

        Raises:
            FileNotFoundError: there is no such directory.
        """
        path = directory_path(ino)
        return _Open(self._calls.open_directory(path, PATH_DIRECTORY, dir_fd=self._directory))

    def _open_directory(self, path: str) -> _Open:
        return _Open(self._calls.open_directory(path, DIRECTORY, dir_fd=self._directory))

    def _existing(self, ino: int, holds: int) -> _Open:
        """Open to write, unless bytes are lost: a new object would show zeros for them."""
        try:
            opened = self._open(object_path(ino), os.O_RDWR)
        except FileNotFoundError:
            raise ObjectLost(f"its {self.name} object is missing") from None
        if opened.length < holds:
            os.close(opened.fd)
            raise self._short(opened.length, holds)
        return opened

    def _create(self, ino: int, flags: int) -> tuple[int, int, int]:
        """Open to write, with its length and links; nearly always the directory is there."""
        path, flags = object_path(ino), os.O_RDWR | flags
        try:
            return self._calls.open(path, flags, OBJECT_MODE, dir_fd=self._directory)
        except FileNotFoundError:
            self._make_directories(path)
        except NotAFile:
            pass
        opened = self._open(path, flags)
        return opened.fd, opened.length, opened.links

    def _make_directories(self, path: str) -> None:
        """Make ``ab`` and ``ab/cd`` durably, once for 1,024 files: ``sync`` needs only the last."""
        upper, lower, _ = path.split("/")
        for parent, name in ((".", upper), (upper, f"{upper}/{lower}")):
            with suppress(FileExistsError):
                self._calls.mkdir(name, DIRECTORY_MODE, dir_fd=self._directory)
                self._sync_made(parent, name)

    def _sync_made(self, parent: str, name: str) -> None:
        """Sync the entry of a new directory; when that fails, the next attempt makes it again.

        Where it cannot be removed for that, it is synced with the name of the next object.
        """
        try:
            self._sync_directory(parent)
        except OSError:
            try:
                self._calls.rmdir(name, self._directory)
            except OSError:
                self._unsynced_parents.add(parent)
            raise

    def _sync_directory(self, path: str) -> None:
        with self._open_directory(path) as fd:
            self._calls.fsync_directory(fd)
