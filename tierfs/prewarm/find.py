"""Which files to warm, and in which order.

`FileFinder` finds the files that a command line names, those below its directories, and those of a
list, and `in_disk_order` sorts them: objects are named by inode number, 1,024 neighbours to a
directory, and inode numbers follow the order in which files were made. So files of neighbouring
numbers were most likely written one after the other, and lie near one another on the disk: reading
by rising inode number is one pass over it.

Millions of names are not held in memory for that. They are sorted a window at a time: each window
is one pass. To sort everything would save little: in a window of 100,000 files the next is
on average 1/100,000 of the disk away, where a seek costs less than the half turn that the
disk waits for in any case.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from tierfs.common.errors import NotMounted, UsageError
from tierfs.prewarm.counts import Counts

LONGEST: Final = 64 * 1024
"""Bytes of a name in a list; the kernel takes 4,096 (PATH_MAX)."""

WINDOW: Final = 100_000
"""Files sorted at a time: 30 MB or so, with names of 100 bytes."""

VANISHED: Final = frozenset({errno.ENOENT, errno.ESTALE})

SYMLINKS: Final = "symbolic links"
SPECIAL: Final = "FIFOs, sockets and devices"
LISTED_DIRECTORIES: Final = "directories in the list"
ELSEWHERE: Final = "directories and files of other filesystems"
GONE: Final = "files that vanished meanwhile"

HEAD_XATTR: Final = "tierfs.head"
"""On every file and directory of a mount: the length of heads, in bytes, as ASCII digits."""

_NOT_TIERFS: Final = frozenset({errno.EOPNOTSUPP, errno.ENODATA, errno.ENOSYS})
_DAEMON_GONE: Final = frozenset({errno.ENOTCONN, errno.ECONNABORTED})


class HeadLengths:
    """The length of heads by mount, asked for once: the kernel caches no extended attribute."""

    def __init__(self) -> None:
        self._known: dict[int, int | None] = {}
        self._lock = threading.Lock()

    def length(self, device: int, file: int | bytes) -> int | None:
        """The length of heads in the mount with ``device`` as its st_dev; None: no tierfs mount.

        ``file`` is any file in it, by descriptor or path.

        Raises:
            OSError: the file may not be asked.
        """
        with self._lock:
            if device not in self._known:
                try:
                    self._known[device] = int(os.getxattr(file, HEAD_XATTR))
                except OSError as error:
                    if error.errno not in _NOT_TIERFS:
                        raise
                    self._known[device] = None
            return self._known[device]


def require_daemon(error: OSError, path: bytes) -> None:
    """Return when ``error`` is about one file only.

    Raises:
        NotMounted: the mount's daemon is gone, and every other file would fail as well.
    """
    if error.errno in _DAEMON_GONE:
        raise NotMounted(
            f"{os.fsdecode(path)} cannot be reached: the daemon of its mount is gone; "
            "mount it again"
        ) from error


class Found(NamedTuple):
    """A file to look at. Files compare as they lie on disk."""

    device: int
    inode: int
    path: bytes
    was_cached: bool
    """Whether the kernel knew the name before this command; a listing makes it known."""
    named: bool = False
    """Whether it was given by name, rather than a directory above it."""


def in_disk_order(found: Iterable[Found], window: int = WINDOW) -> Iterator[Found]:
    """The same files, sorted ``window`` at a time; holds no more than a window."""
    source = iter(found)
    while batch := sorted(islice(source, window)):
        # From the back, so that paths that were handed out are freed.
        batch.reverse()
        while batch:
            yield batch.pop()


def parse_list(read: Callable[[], bytes], separator: bytes) -> Iterator[bytes]:
    """The names in what ``read`` returns piece by piece until it returns nothing; no empty ones.

    Raises:
        UsageError: a name is so long that this cannot be a list with this separator.
    """
    rest = b""
    while piece := read():
        *names, rest = (rest + piece).split(separator)
        if len(rest) > LONGEST:
            raise UsageError(
                f"the list has a name of more than {LONGEST} bytes; is it separated by newlines, "
                "or, with -0, by NUL bytes?"
            )
        yield from filter(None, names)
    if rest:
        yield rest


class Given(NamedTuple):
    """A path that was given by name, and what lies there."""

    path: bytes
    status: os.stat_result
    was_cached: bool
    """Whether the kernel knew the name before it was looked up."""


class FileFinder:
    """Finds files; what it leaves alone or cannot look at is noted in ``counts``.

    ``is_cached`` is called with each name that was given, before the name is looked up.
    """

    def __init__(
        self, heads: HeadLengths, counts: Counts, is_cached: Callable[[bytes], bool]
    ) -> None:
        self._heads = heads
        self._counts = counts
        self._is_cached = is_cached

    def arguments(self, paths: Iterable[bytes]) -> list[Given]:
        """The paths of a command line, with symbolic links followed.

        Raises:
            NotMounted: one does not lie in a tierfs mount.
        """
        found = [given for path in paths if (given := self._look(path, follow=True))]
        for path, status, _ in found:
            if not self._may_be_tierfs(path, status.st_dev):
                raise NotMounted(f"{os.fsdecode(path)} is not in a tierfs mount")
        return found

    def below(self, found: Iterable[Given]) -> Iterator[Found]:
        """The files of a command line, and those in and below its directories."""
        for given in found:
            if stat.S_ISDIR(given.status.st_mode):
                yield from self._below(given.path, given.status.st_dev)
            else:
                yield from self._file(given)

    def listed(self, paths: Iterable[bytes]) -> Iterator[Found]:
        """The files of a list. Its directories are left alone.

        ``find`` lists a directory and all that is in it: read with the directories below them,
        its files would come up again and again.
        """
        for path in paths:
            if given := self._look(path):
                if stat.S_ISDIR(given.status.st_mode):
                    self._counts.skip(LISTED_DIRECTORIES)
                else:
                    yield from self._file(given)

    def _may_be_tierfs(self, path: bytes, device: int) -> bool:
        try:
            return self._heads.length(device, path) is not None
        except OSError:
            return True  # who may not read it may not ask either; opening it will tell

    def _look(self, path: bytes, *, follow: bool = False) -> Given | None:
        """None, and a problem noted, where there is nothing."""
        try:
            was_cached = self._is_cached(path)
            status = os.lstat(path)
            if follow and stat.S_ISLNK(status.st_mode):
                path = os.path.realpath(path)
                status = os.lstat(path)
            return Given(path, status, was_cached)
        except ValueError:
            self._counts.fail(path, "a name cannot hold a NUL byte; is the list for -0?")
        except OSError as error:
            require_daemon(error, path)
            self._counts.fail(path, error.strerror or str(error))
        return None

    def _file(self, given: Given) -> Iterator[Found]:
        path, status, was_cached = given
        if stat.S_ISREG(status.st_mode):
            self._counts.found += 1
            yield Found(status.st_dev, status.st_ino, path, was_cached, named=True)
        else:
            self._counts.skip(SYMLINKS if stat.S_ISLNK(status.st_mode) else SPECIAL)

    def _below(self, top: bytes, device: int) -> Iterator[Found]:
        """Depth first; of a directory only the names of its directories are held in memory."""
        waiting = [[top]]
        while waiting:
            if not waiting[-1]:
                waiting.pop()
                continue
            directory = waiting[-1].pop()
            inner: list[bytes] = []
            yield from self._in(directory, device, inner)
            waiting.append(inner)

    def _in(self, directory: bytes, device: int, inner: list[bytes]) -> Iterator[Found]:
        """The files of one directory, whose own directories go to ``inner``.

        Listing it brings the names and attributes in it into the kernel's memory (READDIRPLUS),
        and makes the kernel forget its own access time, so that it is looked at again afterwards.
        """
        try:
            if os.lstat(directory).st_dev != device:
                return self._counts.skip(ELSEWHERE)
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        inner.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        self._counts.found += 1
                        yield Found(device, entry.inode(), entry.path, was_cached=True)
                    else:
                        self._counts.skip(SYMLINKS if entry.is_symlink() else SPECIAL)
            os.lstat(directory)
            self._counts.directories += 1
        except OSError as error:
            require_daemon(error, directory)
            if error.errno in VANISHED:
                return self._counts.skip(GONE)
            self._counts.fail(directory, error.strerror or str(error))
