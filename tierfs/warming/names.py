"""Which files: those that the command line names, those below directories, those of a list."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from tierfs.base.errors import NotMounted, UsageError
from tierfs.warming.heads import Heads, require_daemon
from tierfs.warming.order import Found
from tierfs.warming.tally import Tally

LONGEST: Final = 64 * 1024
"""Bytes of a name in a list; the kernel takes 4,096 (PATH_MAX)."""

VANISHED: Final = frozenset({errno.ENOENT, errno.ESTALE})

SYMLINKS: Final = "symbolic links"
SPECIAL: Final = "FIFOs, sockets and devices"
LISTED_DIRECTORIES: Final = "directories in the list"
ELSEWHERE: Final = "directories and files of other filesystems"
GONE: Final = "files that vanished meanwhile"


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


class Named(NamedTuple):
    """A path that somebody wrote down, and what lies there."""

    path: bytes
    facts: os.stat_result
    was_cached: bool
    """Whether the kernel knew the name before it was looked up."""


class Names:
    """Finds files; what it leaves alone or cannot look at is told to the tally.

    ``is_cached`` is asked of each name that somebody wrote down before it is looked up.
    """

    def __init__(self, heads: Heads, tally: Tally, is_cached: Callable[[bytes], bool]) -> None:
        self._heads = heads
        self._tally = tally
        self._is_cached = is_cached

    def arguments(self, paths: Iterable[bytes]) -> list[Named]:
        """The paths of a command line, with symbolic links followed.

        Raises:
            NotMounted: one does not lie in a tierfs mount.
        """
        found = [named for path in paths if (named := self._look(path, follow=True))]
        for path, facts, _ in found:
            if not self._may_be_tierfs(path, facts.st_dev):
                raise NotMounted(f"{os.fsdecode(path)} is not in a tierfs mount")
        return found

    def below(self, found: Iterable[Named]) -> Iterator[Found]:
        """The files of a command line, and those in and below its directories."""
        for named in found:
            if stat.S_ISDIR(named.facts.st_mode):
                yield from self._below(named.path, named.facts.st_dev)
            else:
                yield from self._file(named)

    def listed(self, paths: Iterable[bytes]) -> Iterator[Found]:
        """The files of a list. Its directories are left alone.

        ``find`` lists a directory and all that is in it: read with the directories below them,
        its files would come up again and again.
        """
        for path in paths:
            if named := self._look(path):
                if stat.S_ISDIR(named.facts.st_mode):
                    self._tally.skip(LISTED_DIRECTORIES)
                else:
                    yield from self._file(named)

    def _may_be_tierfs(self, path: bytes, device: int) -> bool:
        try:
            return self._heads.length(device, path) is not None
        except OSError:
            return True  # who may not read it may not ask either; opening it will tell

    def _look(self, path: bytes, *, follow: bool = False) -> Named | None:
        """None, and a problem for the tally, where there is nothing."""
        try:
            was_cached = self._is_cached(path)
            facts = os.lstat(path)
            if follow and stat.S_ISLNK(facts.st_mode):
                path = os.path.realpath(path)
                facts = os.lstat(path)
            return Named(path, facts, was_cached)
        except ValueError:
            self._tally.fail(path, "a name cannot hold a NUL byte; is the list for -0?")
        except OSError as error:
            require_daemon(error, path)
            self._tally.fail(path, error.strerror or str(error))
        return None

    def _file(self, named: Named) -> Iterator[Found]:
        path, facts, was_cached = named
        if stat.S_ISREG(facts.st_mode):
            self._tally.found += 1
            yield Found(facts.st_dev, facts.st_ino, path, was_cached, written_down=True)
        else:
            self._tally.skip(SYMLINKS if stat.S_ISLNK(facts.st_mode) else SPECIAL)

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
                return self._tally.skip(ELSEWHERE)
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        inner.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        self._tally.found += 1
                        yield Found(device, entry.inode(), entry.path, was_cached=True)
                    else:
                        self._tally.skip(SYMLINKS if entry.is_symlink() else SPECIAL)
            os.lstat(directory)
            self._tally.directories += 1
        except OSError as error:
            require_daemon(error, directory)
            if error.errno in VANISHED:
                return self._tally.skip(GONE)
            self._tally.fail(directory, error.strerror or str(error))
