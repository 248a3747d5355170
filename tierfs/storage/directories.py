"""The directories of a store: making them, and making the names of objects in them durable.

Everything is opened below the descriptor of the store's directory, and no symbolic link is followed
(tierfs/common/beneath.py). Nothing stays open between two calls, except a few directories in which
a name was synced.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tierfs.common.beneath import DIRECTORY, PATH_DIRECTORY, open_beneath
from tierfs.storage.calls import Calls, Descriptor
from tierfs.storage.layout import (
    DIRECTORY_MODE,
    FILES_PER_DIRECTORY_BITS,
    OBJECT_MODE,
    directory_path,
)

KEPT_DIRECTORIES: Final = 4
"""Directories of objects that stay open for the next sync of a name in one."""


class Directories:
    """The directories below ``root``, a store's own. Thread-safe.

    Raises from every method:
        OSError: the call on the backing directory failed.
    """

    def __init__(self, root: Path, calls: Calls, fd: int | None) -> None:
        """``fd``: a descriptor of ``root``, which then belongs to this; None: open it."""
        self._calls = calls
        self.root: Final = root
        self.fd: Final = self._open_root(root) if fd is None else fd
        """The descriptor of ``root``, open until ``close``."""
        self._unsynced_parents: set[str] = set()
        """Directories with a new one in them that is neither durable nor removed again."""
        self._kept: dict[int, int] = {}
        """Descriptors of directories by the high bits of the inode numbers there.

        A thread that uses one takes it out."""

    def close(self) -> None:
        """Close every descriptor."""
        self.close_kept()
        os.close(self.fd)

    def close_kept(self) -> None:
        """Close the directories that are open for the next ``sync_name``."""
        with suppress(KeyError):  # until there is none
            while True:
                os.close(self._kept.popitem()[1])

    def open(self, path: str) -> Descriptor:
        """A block with the descriptor of a directory, to list or sync it."""
        return Descriptor(self._calls.open_directory(path, DIRECTORY, dir_fd=self.fd))

    def open_path(self, ino: int) -> Descriptor:
        """A block with the descriptor of the directory that an object is in (O_PATH).

        Raises:
            FileNotFoundError: there is no such directory.
        """
        path = directory_path(ino)
        return Descriptor(self._calls.open_directory(path, PATH_DIRECTORY, dir_fd=self.fd))

    def open_made(self, ino: int) -> int:
        """As ``open_path``, but the directory is made if there is none; the caller closes it.

        A new one is durable after a flush of the store, or with the next ``sync_name``.
        """
        try:
            return self.open_path(ino).fd
        except FileNotFoundError:
            lower = directory_path(ino)
            upper, _ = lower.split("/")
            for parent, name in ((".", upper), (upper, lower)):
                self._unsynced_parents.add(parent)  # before: another thread may find it made
                with suppress(FileExistsError):
                    self._calls.mkdir(name, DIRECTORY_MODE, dir_fd=self.fd)
                self._unsynced_parents.add(parent)  # after: it may have been synced meanwhile
            return self.open_path(ino).fd

    def make(self, ino: int) -> None:
        """Make ``ab`` and ``ab/cd`` durably, once for 1,024 inodes.

        What makes an object durable then syncs only the last.
        """
        lower = directory_path(ino)
        upper, _ = lower.split("/")
        for parent, name in ((".", upper), (upper, lower)):
            with suppress(FileExistsError):
                self._calls.mkdir(name, DIRECTORY_MODE, dir_fd=self.fd)
                self._sync_made(parent, name)

    def _sync_made(self, parent: str, name: str) -> None:
        """Sync the entry of a new directory; when that fails, the next attempt makes it again.

        Where it cannot be removed for that, it is synced with the name of the next object.
        """
        try:
            self._sync(parent)
        except OSError:
            try:
                self._calls.rmdir(name, self.fd)
            except OSError:
                self._unsynced_parents.add(parent)
            raise

    def sync_name(self, ino: int, *, keep: bool = True) -> None:
        """Make the name of an object that was made survive a power cut.

        With ``keep`` its directory stays open, since neighbours are mostly synced one after the
        other.
        """
        if self._unsynced_parents:
            for parent in tuple(self._unsynced_parents):
                self._sync(parent)
                self._unsynced_parents.discard(parent)
        if not keep:
            self._sync(directory_path(ino))
            return
        group = ino >> FILES_PER_DIRECTORY_BITS
        fd = self._kept.pop(group, -1)
        if fd < 0:
            fd = self.open(directory_path(ino)).fd
        try:
            status = self._calls.fsync_directory(fd)
        except BaseException:
            os.close(fd)
            raise
        if not status.st_nlink:  # it was removed since it was opened, and perhaps made again
            os.close(fd)
            self._sync(directory_path(ino))
            return
        if len(self._kept) >= KEPT_DIRECTORIES:
            with suppress(KeyError):  # other threads have taken them all
                os.close(self._kept.popitem()[1])
        if self._kept.setdefault(group, fd) != fd:
            os.close(fd)

    def sync_removal(self, ino: int) -> None:
        """Make the removal of an object survive a power cut."""
        with suppress(FileNotFoundError):  # there never was one
            self.sync_name(ino)

    def _sync(self, path: str) -> None:
        with self.open(path) as fd:
            self._calls.fsync_directory(fd)

    def _open_root(self, root: Path) -> int:
        """Only the links in the path of the directory above are followed, once.

        The directory's own name, which the first mount makes, is made durable.
        """
        above = self._calls.open_parent(root.parent, DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(FileExistsError):
                self._calls.mkdir_root(root.name, DIRECTORY_MODE, dir_fd=above)
            opened = self._calls.open_directory(root.name, DIRECTORY, dir_fd=above)
            try:
                self._calls.fsync_directory(above)
            except BaseException:
                os.close(opened)
                raise
        finally:
            os.close(above)
        return opened


class Removal:
    """Removes objects; neighbours are in one directory, which is opened once for all of them."""

    def __init__(self, calls: Calls, root: int) -> None:
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
            with suppress(FileNotFoundError):
                self._above = self._calls.open_group(
                    directory_path(ino), PATH_DIRECTORY, dir_fd=self._root
                )
            self._group = ino >> FILES_PER_DIRECTORY_BITS
        if self._above >= 0:
            with suppress(FileNotFoundError):
                self._calls.unlink(str(ino), dir_fd=self._above)

    def _leave(self) -> None:
        above, self._group, self._above = self._above, -1, -1
        if above >= 0:
            os.close(above)


Linked = tuple[os.stat_result, list[str]]
"""What an object is, and the names of its extended attributes."""


class Arrival:
    """Makes objects of files elsewhere, by a link or a copy; for neighbours as ``Removal``."""

    def __init__(self, directories: Directories, calls: Calls) -> None:
        self._directories = directories
        self._calls = calls
        self._group = self._above = -1
        self._path = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def link(
        self, first: int, directory: int, names: Sequence[bytes]
    ) -> Iterator[tuple[int, bytes, Linked | OSError]]:
        """Give files in an open directory names of objects, numbered from ``first`` on.

        Yields number, name, and what each is then. OSError: EXDEV, it is on another filesystem;
        EMLINK, it has too many names; or as link(2).
        """
        link, lstat, listxattr = self._calls.link, self._calls.lstat, self._calls.listxattr
        for ino, name in enumerate(names, first):
            if ino >> FILES_PER_DIRECTORY_BITS != self._group:
                self._enter(ino)
            above, target = self._above, b"%d" % ino
            try:
                link(name, target, src_dir_fd=directory, dst_dir_fd=above, follow_symlinks=False)
                status = lstat(target, dir_fd=above)
                xattrs = listxattr(self._path + target, follow_symlinks=False)
                found: Linked | OSError = (status, xattrs)
            except OSError as exc:
                found = exc
            yield ino, name, found

    def copy(self, ino: int, source: int, length: int) -> None:
        """Make an object of the first bytes of an open file, by shared blocks if possible."""
        above = self._enter(ino)
        flags = os.O_RDWR | os.O_TMPFILE
        directory = directory_path(ino)
        with Descriptor(open_beneath(directory, flags, dir_fd=self._directories.fd)) as copy:
            os.fchmod(copy, OBJECT_MODE)
            self._calls.copy(source, copy, length)
            named = f"/proc/self/fd/{copy}"
            self._calls.link(named, str(ino), dst_dir_fd=above, follow_symlinks=True)

    def _enter(self, ino: int) -> int:
        if ino >> FILES_PER_DIRECTORY_BITS != self._group:
            self._leave()
            self._above = self._directories.open_made(ino)
            self._path = b"/proc/self/fd/%d/" % self._above
            self._group = ino >> FILES_PER_DIRECTORY_BITS
        return self._above

    def _leave(self) -> None:
        above, self._group, self._above = self._above, -1, -1
        if above >= 0:
            os.close(above)
