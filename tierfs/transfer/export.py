"""A plain tree out of a mount: every file, with all that belongs to it.

A file gets its name in the target when it is complete, attributes and times too. So a run that was
killed can be begun again: what has the size and the time of its source is there already (as
rsync(1) decides it).

Files of one directory are copied beside one another and by rising inode number, which is the order
of their objects on disk. Hard links within the tree stay hard links.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final, NamedTuple

from tierfs.common.tree_report import Report, Watch, unwatched
from tierfs.transfer.copying import (
    Attributes,
    Changed,
    DiskObjects,
    Place,
    attributes_of,
    copy_attributes,
    copy_file,
    copy_other,
    temporary,
)
from tierfs.transfer.filling import DIRECTORY, Directory, Entry, Filling, real, require_apart

JOBS: Final = 8


class Found(NamedTuple):
    """Something in the mount."""

    place: Place
    """Its name; of a directory that is entered: its descriptor, and no name."""
    status: os.stat_result

    @property
    def ino(self) -> int:
        """Its inode number."""
        return self.status.st_ino

    @property
    def mode(self) -> int:
        """Its type and mode."""
        return self.status.st_mode


class Export(Filling[Found]):
    """One run. With ``objects`` files share blocks with the disk tier where both can.

    ``watch`` is called now and then with the figures so far.
    """

    def __init__(
        self,
        objects: DiskObjects | None = None,
        watch: Watch = unwatched,
        jobs: int = JOBS,
    ) -> None:
        super().__init__(watch)
        self._objects = objects
        self._jobs = jobs
        self._pool: ThreadPoolExecutor

    def run(self, tree: Path, target: Path) -> Report:
        """Copy what is below ``tree`` to below ``target``, which is made if there is none.

        All of it is durable at the end.

        Raises:
            UsageError: one of the two lies in the other.
            OSError: a directory could not be opened or made, or the target takes nothing more.
        """
        require_apart(real(tree, strict=True), real(target))
        with ThreadPoolExecutor(self._jobs, "export") as self._pool:
            self._fill(target, lambda: _opened(os.open(tree, DIRECTORY | os.O_CLOEXEC)))
        return self.report

    def _open(self, entry: Entry[Found]) -> Found:
        return _opened(entry.source.place.open(DIRECTORY))

    def _close(self, source: Found) -> None:
        os.close(source.place.directory)

    def _attributes_of(self, source: Found) -> Attributes:
        return attributes_of(source.place.directory, source.status)

    def _listed(self, directory: Directory[Found]) -> Iterator[Entry[Found]]:
        source = directory.source.place.directory
        for name in map(os.fsencode, os.listdir(source)):  # noqa: PTH208 - a descriptor
            path = directory.path + b"/" + name if directory.path else name
            place = Place(source, name)
            try:
                yield Entry(path, Found(place, place.status()), Place(directory.target, name))
            except FileNotFoundError:
                continue  # removed meanwhile
            except OSError as error:
                self._fail(path, error)

    def _bring(self, files: list[Entry[Found]]) -> None:
        running: set[Future[bool]] = set()
        for entry in files:
            if entry.source.status.st_nlink > 1:
                self._linked(entry)  # one after another: further names follow the first
                continue
            if len(running) >= 4 * self._jobs:
                done, running = wait(running, return_when="FIRST_COMPLETED")
                _raise_first(done)
                self._watch(self.report)
            running.add(self._pool.submit(self._copy, entry))
        _raise_first(wait(running).done)

    def _linked(self, entry: Entry[Found]) -> None:
        """A file with several names, of which the first one met is copied."""
        key = (entry.source.status.st_dev, entry.source.ino)
        first = self._first.get(key)
        if first is None:
            if self._copy(entry):
                self._first[key] = entry.path
            return
        try:
            self._link_further(entry.target, first)
        except OSError as error:
            self._fail(entry.path, error)

    def _copy(self, entry: Entry[Found]) -> bool:
        """Copy one file, link or device; returns whether it is in the target now."""
        new, source = temporary(entry.target), entry.source
        try:
            if _is_present(entry):
                lost = copy_attributes(source.place.path, entry.target.path, source.status)
                self.report.count(present=1)
                self._note_lost(entry.path, lost)
                return True
            if stat.S_ISREG(source.mode):
                copied = copy_file(source.place, new, self._objects)
                lost = copied.lost
                if copied.shared:
                    self.report.count(shared=1)
                else:
                    self.report.count(copied=1, copied_bytes=copied.bytes)
            else:
                lost = copy_other(source.place, new, source.status)
                self.report.count(others=1)
            new.rename(entry.target)
            self._note_lost(entry.path, lost)
        except Changed:
            new.discard()
            self.report.fail(entry.path, "it changed each time while it was copied; export again")
        except FileNotFoundError:
            new.discard()  # removed meanwhile
        except OSError as error:
            new.discard()
            self._fail(entry.path, error)
        else:
            return True
        return False


def _opened(descriptor: int) -> Found:
    return Found(Place(descriptor, b""), os.fstat(descriptor))


def _raise_first(done: set[Future[bool]]) -> None:
    for each in done:
        each.result()


def _is_present(entry: Entry[Found]) -> bool:
    """Whether an earlier run has copied it: a file gets its name when it is complete."""
    try:
        there = entry.target.status()
    except FileNotFoundError:
        return False
    here = entry.source.status
    return (
        stat.S_IFMT(there.st_mode) == stat.S_IFMT(here.st_mode)
        and there.st_size == here.st_size
        and there.st_mtime_ns == here.st_mtime_ns
        and there.st_mode == here.st_mode
        and (os.geteuid() != 0 or (there.st_uid, there.st_gid) == (here.st_uid, here.st_gid))
    )
