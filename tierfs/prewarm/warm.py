"""Reading files into the page cache, or asking what is in it, with a pool of threads.

How to read was measured (docs/how-to/warm-the-cache.md). ``POSIX_FADV_RANDOM``
switches the kernel's guessing off: then a read(2) asks the daemon for exactly its own bytes,
in one request. Without it the read of a head fetches as many bytes of the tail from the disk, and
of sixteen files read at once part of the guesses is dropped (fuse_readahead, fs/fuse/file.c),
so that the requests double. readahead(2) and ``POSIX_FADV_WILLNEED`` ask for the same bytes and
are no faster, but return before they are there: nobody knows when a file is warm, and an
error is never reported.

A head that is not on flash yet is read from disk.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import Final, Generic, NamedTuple, TypeVar

from tierfs.common.ranges import data_ranges
from tierfs.prewarm.caches import Span, cached, is_name_cached
from tierfs.prewarm.counts import Counts, State
from tierfs.prewarm.find import (
    ELSEWHERE,
    GONE,
    SPECIAL,
    VANISHED,
    WINDOW,
    FileFinder,
    Found,
    HeadLengths,
    in_disk_order,
    require_daemon,
)

T = TypeVar("T")

JOBS: Final = 16
"""Files read at once: enough for a disk to choose the nearest, few enough to stay in order.

The kernel passes 12 reads on at a time unless told otherwise (max_background,
Documentation/filesystems/fuse.rst).
"""

Watch = Callable[[Counts], None]
"""Called several times a second with the figures so far."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with each file."""

    tails: bool = False
    check: bool = False
    """Only look."""
    jobs: int = JOBS
    window: int = WINDOW
    """Files sorted at a time."""


def warm(paths: Sequence[bytes], listed: Iterable[bytes], plan: Plan, watch: Watch) -> Counts:
    """Warm, or look at, the files of ``paths``, in and below its directories, and of a list.

    Ctrl-C ends it early, with the counts so far.

    Raises:
        NotMounted: one of ``paths`` lies in no tierfs mount, or a daemon is gone.
        UsageError: the list cannot be one.
        OSError: the list cannot be read.
    """
    counts, heads, stopped = Counts(), HeadLengths(), threading.Event()
    finder = FileFinder(heads, counts, is_name_cached if plan.check else lambda _: False)
    every = chain(finder.below(finder.arguments(paths)), finder.listed(listed))
    found = takewhile(lambda _: not stopped.is_set(), every)
    warmer = FileWarmer(heads, counts, tails=plan.tails, stopped=stopped.is_set)
    work = warmer.check if plan.check else warmer.warm
    try:
        pool = ThreadPool(in_disk_order(found, plan.window), work, plan.jobs, stopped)
        pool.run(lambda: watch(counts))
    except KeyboardInterrupt:
        counts.interrupted = True
    return counts


# ------------------------------------------------------------------ one file

CHUNK: Final = 1024 * 1024
"""Bytes read at a time: the kernel's largest request to FUSE."""

SECTOR: Final = 512
"""Unit of st_blocks, in bytes."""

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Harmless even if the file was replaced by a FIFO or a device since it was found."""


class Opened(NamedTuple):
    """A regular file of a tierfs mount; bytes."""

    descriptor: int
    head: int
    size: int
    has_holes: bool


class FileWarmer:
    """Reads files, or asks what the kernel holds of them, and counts; thread-safe.

    Raises from every method:
        NotMounted: the mount's daemon is gone.
    """

    def __init__(
        self, heads: HeadLengths, counts: Counts, *, tails: bool, stopped: Callable[[], bool]
    ) -> None:
        self._heads = heads
        self._counts = counts
        self._tails = tails
        self._stopped = stopped
        self._own = threading.local()

    def warm(self, found: Found) -> None:
        """Read the head, and the tail if that is wanted, into the page cache."""
        self._at(found, self._warmed)

    def check(self, found: Found) -> None:
        """Ask the kernel what it holds; no byte is read."""
        self._at(found, lambda file: _state(file, cached, name_cached=found.was_cached))

    def _at(self, found: Found, look: Callable[[Opened], State]) -> None:
        """Open the file, ``look`` at it and count what came of it."""
        try:
            descriptor = os.open(found.path, _FLAGS)
            try:
                if (file := self._measured(descriptor, found)) is not None:
                    self._counts.add(look(file))
            finally:
                os.close(descriptor)
        except OSError as error:
            require_daemon(error, found.path)
            if error.errno in VANISHED:
                self._counts.skip(GONE)
            else:
                self._counts.fail(found.path, error.strerror or str(error))

    def _measured(self, descriptor: int, found: Found) -> Opened | None:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            self._counts.skip(SPECIAL)
            return None
        head = self._heads.length(status.st_dev, descriptor)
        if head is None and found.named:
            # As when the volume is not mounted, and the directory below it has such a file.
            self._counts.refuse(found.path)
            return None
        if head is None:
            self._counts.skip(ELSEWHERE)
            return None
        has_holes = status.st_blocks * SECTOR < status.st_size
        return Opened(descriptor, min(head, status.st_size), status.st_size, has_holes)

    def _warmed(self, file: Opened) -> State:
        os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        state = _state(file, self._read, name_cached=True)
        # Reading made the kernel forget the access time; the next open would ask for it.
        os.fstat(file.descriptor)
        return state

    def _read(self, descriptor: int, offset: int, length: int) -> Span:
        """Read a range; less than that at the end of the file, or when all is to stop."""
        if offset and not self._tails:
            return Span(length, 0)
        at, end = offset, offset + length
        while at < end and not self._stopped():
            done = os.preadv(descriptor, [self._buffer()[: end - at]], at)
            if not done:  # the file was truncated
                return Span(at - offset, at - offset)
            at += done
        return Span(length, at - offset)

    def _buffer(self) -> memoryview:
        """This thread's: its content is of no interest, a new one for each read would cost."""
        if not hasattr(self._own, "buffer"):
            self._own.buffer = memoryview(bytearray(CHUNK))
        buffer: memoryview = self._own.buffer
        return buffer


def _state(file: Opened, part: Callable[[int, int, int], Span], *, name_cached: bool) -> State:
    """The state of a file by what ``part`` says of its head and of the ranges of its tail."""
    head = part(file.descriptor, 0, file.head)
    spans = [part(file.descriptor, start, end - start) for start, end in tail_ranges(file)]
    tail = Span(sum(span.length for span in spans), sum(span.warm for span in spans))
    return State(name_cached, head, tail)


def tail_ranges(file: Opened) -> Iterator[tuple[int, int]]:
    """Where the tail has data, as first byte and end; holes are left out where they are known."""
    if file.head >= file.size:
        return iter(())
    if not file.has_holes:
        return iter(((file.head, file.size),))
    return data_ranges(file.descriptor, file.head, file.size)


# ------------------------------------------------------------------ threads

TICK_SECONDS: Final = 0.1
GRACE_SECONDS: Final = 2.0
"""How long an interrupted pool may take to end what it does; a read of a hung disk is left."""


class ThreadPool(Generic[T]):
    """``jobs`` threads that call ``work`` with what ``items`` yields.

    Each takes the next item when it is done with the last, so that they stay close together in
    the iterator's order, and no more than ``jobs`` items are at work. ``stopped`` is set when
    the work is to end early; long work looks at it.

    concurrent.futures joins its threads before the process ends: one that hangs in a read, or in
    a list on standard input that does not end, would keep an interrupted command from ending.
    """

    def __init__(
        self,
        items: Iterator[T],
        work: Callable[[T], None],
        jobs: int,
        stopped: threading.Event,
    ) -> None:
        self._items = items
        self._work = work
        self._stopped = stopped
        self._taking = threading.Lock()
        self._error: BaseException | None = None
        self._threads = [threading.Thread(target=self._run_one, daemon=True) for _ in range(jobs)]

    def run(self, tick: Callable[[], None]) -> None:
        """Work until all is done; ``tick`` is called several times a second meanwhile.

        Raises:
            KeyboardInterrupt: from outside, after the threads have ended, or GRACE_SECONDS.
            BaseException: the first that ``work`` or ``items`` raised.
        """
        try:
            for thread in self._threads:
                thread.start()
            while any(thread.is_alive() for thread in self._threads):
                self._wait(TICK_SECONDS)
                tick()
        except BaseException:
            self._stopped.set()
            self._wait(GRACE_SECONDS)
            raise
        if self._error is not None:
            raise self._error

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run_one(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._work(item)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._error = self._error or error
            self._stopped.set()

    def _next(self) -> T | None:
        with self._taking:
            item = None if self._stopped.is_set() else next(self._items, None)
            # To find the next may have taken long enough for the end to be called.
            return None if self._stopped.is_set() else item
