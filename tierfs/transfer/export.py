"""A plain tree out of a mount: every file, with all that belongs to it.

A file gets its name in the target when it is complete, attributes and times too. So a run that was
killed can be begun again: what has the size and the time of its source is there already (as
rsync(1) decides it), and leftovers with a temporary name are removed.

Files of one directory are copied beside one another and by rising inode number, which is the order
of their objects on disk. Hard links within the tree stay hard links.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tierfs.common.errors import UsageError
from tierfs.common.sync import sync_filesystem
from tierfs.transfer.copying import (
    Changed,
    DiskObjects,
    Place,
    copy_attributes,
    copy_file,
    copy_other,
)

JOBS: Final = 8
TEMPORARY: Final = b".tierfs-export-"
SHOWN: Final = 10
"""Problems that are listed; the others are counted."""
FATAL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOTCONN})
"""After these every other file would fail as well."""
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY
WHILE_FILLED: Final = 0o700
"""Mode of a directory of the target until all is in it."""


@dataclass(slots=True)
class Report:
    """What was done so far. Threads add to it; a reader sees the figures of a moment."""

    files: int = 0
    written: int = 0
    """Bytes that the copied files have, without holes."""
    shared: int = 0
    """Files whose blocks are shared with objects."""
    present: int = 0
    """Files that an earlier run had copied."""
    links: int = 0
    """Further names of a file."""
    directories: int = 0
    others: int = 0
    """Symbolic links, FIFOs, sockets and devices."""
    errors: int = 0
    problems: list[tuple[bytes, str]] = field(default_factory=list)
    """The first errors: a path below the tree, and the reason."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **numbers: int) -> None:
        """Count."""
        with self._lock:
            for name, number in numbers.items():
                setattr(self, name, getattr(self, name) + number)

    def fail(self, path: bytes, reason: str) -> None:
        """Count an error and keep it if it is one of the first."""
        with self._lock:
            self.errors += 1
            if len(self.problems) < SHOWN:
                self.problems.append((path, reason))


class _Entry(NamedTuple):
    path: bytes
    """Below the tree."""
    source: Place
    target: Place
    status: os.stat_result


class _Directory(NamedTuple):
    """Whose descriptors stay open until all below it is done."""

    path: bytes
    source: int
    target: int
    status: os.stat_result
    entries: Iterator[_Entry]
    """Directories in it."""


class Export:
    """One run. With ``objects`` files share blocks with the disk tier where both can.

    ``watch`` is called now and then with the figures so far.
    """

    def __init__(
        self,
        objects: DiskObjects | None = None,
        watch: Callable[[Report], None] = lambda _: None,
        jobs: int = JOBS,
    ) -> None:
        self.report = Report()
        self._objects = objects
        self._watch = watch
        self._jobs = jobs
        self._first: dict[tuple[int, int], bytes] = {}
        """Files with several names: where the first of them is below the target."""
        self._root = -1

    def run(self, tree: Path, target: Path) -> Report:
        """Copy what is below ``tree`` to below ``target``, which is made if there is none.

        All of it is durable at the end.

        Raises:
            UsageError: one of the two lies in the other.
            OSError: a directory could not be opened or made, or the target takes nothing more.
        """
        source, directory = tree.resolve(strict=True), target.resolve()
        if directory == source or source in directory.parents or directory in source.parents:
            raise UsageError(f"{target} and {tree}: one must not lie in the other")
        target.mkdir(mode=WHILE_FILLED, parents=True, exist_ok=True)
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(self._jobs, "export"))
            self._root = os.open(target, DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, self._root)
            above = [self._enter(b"", os.open(tree, DIRECTORY), os.dup(self._root), pool)]
            stack.callback(_close_all, above)
            while above:
                self._watch(self.report)
                entry = next(above[-1].entries, None)
                if entry is None:
                    self._leave(above.pop())
                elif (below := self._below(entry, pool)) is not None:
                    above.append(below)
            sync_filesystem(self._root)
        self._watch(self.report)
        return self.report

    def _below(self, entry: _Entry, pool: ThreadPoolExecutor) -> _Directory | None:
        """Enter a directory of the tree; None: it cannot be."""
        with ExitStack() as stack:
            try:
                source = entry.source.open(DIRECTORY)
                stack.callback(os.close, source)
                with suppress(FileExistsError):
                    os.mkdir(entry.target.name, WHILE_FILLED, dir_fd=entry.target.directory)
                target = entry.target.open(DIRECTORY)
                stack.callback(os.close, target)
            except OSError as error:
                self._fail(entry.path, error)
                return None
            stack.pop_all()
        return self._enter(entry.path, source, target, pool)

    def _enter(self, path: bytes, source: int, target: int, pool: ThreadPoolExecutor) -> _Directory:
        """Copy the files of a directory; what is returned has the directories that are in it."""
        status = os.fstat(source)
        here = _Directory(path, source, target, status, iter(()))
        try:
            with suppress(PermissionError):
                os.fchmod(target, WHILE_FILLED)
            entries = list(self._entries(path, source, target))
        except OSError as error:
            self._fail(path or b".", error)
            return here
        files = [entry for entry in entries if not stat.S_ISDIR(entry.status.st_mode)]
        running: set[Future[bool]] = set()
        for entry in files:
            if entry.status.st_nlink > 1:
                self._linked(entry)  # one after another: further names follow the first
                continue
            if len(running) >= 4 * self._jobs:
                done, running = wait(running, return_when="FIRST_COMPLETED")
                _raise_first(done)
                self._watch(self.report)
            running.add(pool.submit(self._copy, entry))
        _raise_first(wait(running).done)
        return here._replace(
            entries=iter([entry for entry in entries if stat.S_ISDIR(entry.status.st_mode)])
        )

    def _entries(self, path: bytes, source: int, target: int) -> Iterator[_Entry]:
        """What is in a directory, by rising inode number; leftovers in the target are removed."""
        names = [os.fsencode(name) for name in os.listdir(source)]
        for name in map(os.fsencode, os.listdir(target)):
            if name.startswith(TEMPORARY) and name not in names:
                with suppress(OSError):
                    os.unlink(name, dir_fd=target)
        found = []
        for name in names:
            whole = path + b"/" + name if path else name
            try:
                place = Place(source, name)
                found.append(_Entry(whole, place, Place(target, name), place.status()))
            except FileNotFoundError:
                continue  # removed meanwhile
            except OSError as error:
                self._fail(whole, error)
        return iter(sorted(found, key=lambda entry: entry.status.st_ino))

    def _leave(self, directory: _Directory) -> None:
        """Everything is in it: now its own attributes, whose times nothing changes any more."""
        try:
            lost = copy_attributes(directory.source, directory.target, directory.status)
            self._note_lost(directory.path or b".", lost)
            self.report.add(directories=1)
        except OSError as error:
            self._fail(directory.path or b".", error)
        finally:
            _close(directory)

    def _linked(self, entry: _Entry) -> None:
        """A file with several names, of which the first one met is copied."""
        key = (entry.status.st_dev, entry.status.st_ino)
        first = self._first.get(key)
        if first is None:
            if self._copy(entry):
                self._first[key] = entry.path
            return
        try:
            if _is_same_file(Place(self._root, first), entry.target):
                self.report.add(links=1, present=1)
                return
            temporary = _temporary(entry.target)
            os.link(first, temporary.name, src_dir_fd=self._root, dst_dir_fd=temporary.directory)
            self._finish(temporary, entry.target)
            self.report.add(links=1)
        except OSError as error:
            self._fail(entry.path, error)

    def _copy(self, entry: _Entry) -> bool:
        """Copy one file, link or device; returns whether it is in the target now."""
        temporary = _temporary(entry.target)
        try:
            if _is_present(entry):
                lost = copy_attributes(entry.source.path, entry.target.path, entry.status)
                self.report.add(present=1)
                self._note_lost(entry.path, lost)
                return True
            if stat.S_ISREG(entry.status.st_mode):
                copied = copy_file(entry.source, temporary, self._objects)
                lost = copied.lost
                self.report.add(files=1, written=copied.bytes, shared=copied.shared)
            else:
                lost = copy_other(entry.source, temporary, entry.status)
                self.report.add(others=1)
            self._finish(temporary, entry.target)
            self._note_lost(entry.path, lost)
        except Changed:
            _discard(temporary)
            self.report.fail(entry.path, "it changed each time while it was copied; export again")
        except FileNotFoundError:
            _discard(temporary)  # removed meanwhile
        except OSError as error:
            _discard(temporary)
            self._fail(entry.path, error)
        else:
            return True
        return False

    @staticmethod
    def _finish(temporary: Place, target: Place) -> None:
        os.rename(
            temporary.name,
            target.name,
            src_dir_fd=temporary.directory,
            dst_dir_fd=target.directory,
        )

    def _note_lost(self, path: bytes, lost: tuple[str, ...]) -> None:
        if lost:
            self.report.fail(path, "the target does not take " + ", ".join(lost))

    def _fail(self, path: bytes, error: OSError) -> None:
        if error.errno in FATAL:
            raise OSError(error.errno, f"{os.fsdecode(path)}: {error.strerror}") from error
        self.report.fail(path, error.strerror or str(error))


def _raise_first(done: set[Future[bool]]) -> None:
    for each in done:
        each.result()


def _temporary(target: Place) -> Place:
    return Place(target.directory, TEMPORARY + secrets.token_hex(8).encode())


def _discard(place: Place) -> None:
    with suppress(OSError):
        os.unlink(place.name, dir_fd=place.directory)


def _close_all(directories: list[_Directory]) -> None:
    for each in directories:
        _close(each)


def _close(directory: _Directory) -> None:
    os.close(directory.source)
    os.close(directory.target)


def _is_same_file(one: Place, other: Place) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(one.status(), other.status())
    return False


def _is_present(entry: _Entry) -> bool:
    """Whether an earlier run has copied it: a file gets its name when it is complete."""
    try:
        there = entry.target.status()
    except FileNotFoundError:
        return False
    here = entry.status
    return (
        stat.S_IFMT(there.st_mode) == stat.S_IFMT(here.st_mode)
        and there.st_size == here.st_size
        and there.st_mtime_ns == here.st_mtime_ns
        and there.st_mode == here.st_mode
        and (os.geteuid() != 0 or (there.st_uid, there.st_gid) == (here.st_uid, here.st_gid))
    )
