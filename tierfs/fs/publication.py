"""Which directories are published as a whole, and when.

A request that the view could not answer is a miss. The first misses in a directory publish what
they ask for; from the ``PATIENCE``-th on, the directory is published in the order of its names,
``AHEAD`` rows a miss at most, so that a few lookups in a directory of millions do not cost
millions of rows. A directory whose rows were published and are missed again did not fit: each
time it earns a quarter of the rows a miss, until it was left alone for ``RECOVERY_S``.
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
"""Rows published at a time: other requests wait about a millisecond for them."""

REMEMBERED = 4096
"""Directories whose misses are counted, those with the latest ones."""

RECOVERY_S = 600.0
_SLOWER = 4


@dataclass(slots=True)
class _Sweep:
    """How far one directory is published."""

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


class Publication:
    """Counts misses, in any thread, and publishes pages, in one."""

    def __init__(self, index: Index, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._index = index
        self._monotonic = monotonic
        self._sweeps: OrderedDict[int, _Sweep] = OrderedDict()
        self._due: dict[int, None] = {}
        self._mutex = threading.Lock()

    @property
    def idle(self) -> bool:
        """Whether no page is due."""
        return not self._due

    def missed(self, ino: int) -> None:
        """A request for the inode was not answered from the view; counts for its directory."""
        inode = self._index.inodes.find(ino)
        if inode is not None and inode.parent != ino:
            self.missed_in(inode.parent)

    def missed_in(self, directory: int) -> None:
        """A request for a name in the directory was not answered from the view."""
        with self._mutex:
            sweep = self._sweep(directory)
            sweep.misses += 1
            if sweep.is_due:
                self._due[directory] = None

    def publish(self) -> None:
        """Publish one page of the directory that waits longest.

        Raises:
            IndexFailed: the index could not be read.
        """
        with self._mutex:
            directory = next(iter(self._due))
            del self._due[directory]
            sweep = self._sweep(directory)
        if sweep.rows == 0 and not self._begin(directory):
            sweep.end(self._monotonic())
        else:
            self._page(directory, sweep)

    def _begin(self, directory: int) -> bool:
        self._index.inodes.find(directory)  # the names of one that is not published are not kept
        return self._index.dentries.begin_cache_fill(directory)

    def _page(self, directory: int, sweep: _Sweep) -> None:
        last = self._index.dentries.fill_cache(directory, sweep.after, PAGE)
        if last is None:
            self._index.dentries.complete_cache_fill(directory)
            sweep.end(self._monotonic())
            return
        sweep.after = last
        sweep.rows += PAGE
        with self._mutex:
            if sweep.is_due:
                self._due[directory] = None

    def _sweep(self, directory: int) -> _Sweep:
        sweep = self._sweeps.setdefault(directory, _Sweep())
        self._sweeps.move_to_end(directory)
        if len(self._sweeps) > REMEMBERED:
            self._due.pop(self._sweeps.popitem(last=False)[0], None)
        if sweep.ended and self._monotonic() - sweep.ended > RECOVERY_S:
            sweep.pace, sweep.ended = AHEAD, 0.0
        return sweep
