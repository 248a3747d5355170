"""Cache fills: which directories are loaded into the metadata cache as a whole, and when.

A request that the cache cannot answer is a miss. The first misses in a directory load only the
entries that they ask for. From the ``PATIENCE``-th miss on, the directory is loaded in the order of
its names, at most ``AHEAD`` rows per miss, so that a few lookups in a directory of millions do not
cost millions of rows. A directory whose loaded rows are missed again did not fit: each time it gets
a quarter of the rows per miss, until it has had no fill for ``RECOVERY_S``.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from tierfs.metadata.index import Index

PATIENCE = 8
AHEAD = 256
PAGE = 256
"""Rows put into the cache at a time: other requests wait about a millisecond for them."""

REMEMBERED = 4096
"""Directories whose misses are counted, those with the latest ones."""

RECOVERY_S = 600.0
_SLOWER = 4


@dataclass(slots=True)
class _Progress:
    """How far one directory is filled in."""

    misses: int = 0
    rows: int = 0
    after: bytes = b""
    pace: int = AHEAD
    ended: float = 0.0

    @property
    def is_due(self) -> bool:
        return self.misses >= PATIENCE and self.rows < self.misses * self.pace

    def end(self, now: float) -> None:
        self.misses, self.rows, self.after, self.ended = 0, 0, b"", now
        self.pace = max(1, self.pace // _SLOWER)


class CacheFill:
    """Counts misses, in any thread, and fills in pages, in one."""

    def __init__(self, index: Index, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._index = index
        self._monotonic = monotonic
        self._directories: OrderedDict[int, _Progress] = OrderedDict()
        self._due: dict[int, None] = {}
        self._mutex = threading.Lock()

    @property
    def idle(self) -> bool:
        """Whether no page is due."""
        return not self._due

    def missed(self, ino: int) -> None:
        """A request for the inode was not answered from the cache; counts for its directory."""
        inode = self._index.inodes.find(ino)
        if inode is not None and inode.parent != ino:
            self.missed_in(inode.parent)

    def missed_in(self, directory: int) -> None:
        """A request for a name in the directory was not answered from the cache."""
        with self._mutex:
            progress = self._progress(directory)
            progress.misses += 1
            if progress.is_due:
                self._due[directory] = None

    def fill(self) -> None:
        """Put into the cache one page of the directory that waits longest.

        Raises:
            IndexFailed: the index could not be read.
        """
        with self._mutex:
            directory = next(iter(self._due))
            del self._due[directory]
            progress = self._progress(directory)
        if progress.rows == 0 and not self._begin(directory):
            progress.end(self._monotonic())
        else:
            self._page(directory, progress)

    def _begin(self, directory: int) -> bool:
        self._index.inodes.find(directory)  # without it the cache keeps no name of it
        return self._index.dentries.begin_cache_fill(directory)

    def _page(self, directory: int, progress: _Progress) -> None:
        last = self._index.dentries.fill_cache(directory, progress.after, PAGE)
        if last is None:
            self._index.dentries.complete_cache_fill(directory)
            progress.end(self._monotonic())
            return
        progress.after = last
        progress.rows += PAGE
        with self._mutex:
            if progress.is_due:
                self._due[directory] = None

    def _progress(self, directory: int) -> _Progress:
        progress = self._directories.setdefault(directory, _Progress())
        self._directories.move_to_end(directory)
        if len(self._directories) > REMEMBERED:
            self._due.pop(self._directories.popitem(last=False)[0], None)
        if progress.ended and self._monotonic() - progress.ended > RECOVERY_S:
            progress.pace, progress.ended = AHEAD, 0.0
        return progress
