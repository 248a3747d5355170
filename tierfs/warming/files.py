"""One file: read into the page cache, or only looked at.

How to read was measured (docs/how-to/warm-the-cache.md). ``POSIX_FADV_RANDOM``
switches the kernel's guessing off: then a read(2) asks the daemon for exactly its own bytes,
in one request. Without it the read of a head fetches as many bytes of the tail from the disk, and
of sixteen files read at once part of the guesses is dropped (fuse_readahead, fs/fuse/file.c),
so that the requests double. readahead(2) and ``POSIX_FADV_WILLNEED`` ask for the same bytes and
are no faster, but return before they are there: nobody knows when a file is warm, and an
error is never told.

A head that policy wants on flash and that is not there is read from where it lies. Moving it up
is one more step at the beginning of ``_warmed``, asked for on the open file by a virtual
attribute: nothing else here depends on which tier answers.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tierfs.base.holes import data_ranges
from tierfs.warming.caches import Span, cached
from tierfs.warming.heads import Heads, require_daemon
from tierfs.warming.names import ELSEWHERE, GONE, SPECIAL, VANISHED
from tierfs.warming.order import Found
from tierfs.warming.tally import State, Tally

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


class Files:
    """Looks at files for a tally; thread-safe.

    Raises from every method:
        NotMounted: the mount's daemon is gone.
    """

    def __init__(
        self, heads: Heads, tally: Tally, *, tails: bool, stopped: Callable[[], bool]
    ) -> None:
        self._heads = heads
        self._tally = tally
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
        """Open the file, ``look`` at it and tell the tally what came of it."""
        try:
            descriptor = os.open(found.path, _FLAGS)
            try:
                if (file := self._measured(descriptor)) is not None:
                    self._tally.add(look(file))
            finally:
                os.close(descriptor)
        except OSError as error:
            require_daemon(error, found.path)
            if error.errno in VANISHED:
                self._tally.skip(GONE)
            else:
                self._tally.fail(found.path, error.strerror or str(error))

    def _measured(self, descriptor: int) -> Opened | None:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            self._tally.skip(SPECIAL)
            return None
        head = self._heads.length(facts.st_dev, descriptor)
        if head is None:
            self._tally.skip(ELSEWHERE)
            return None
        has_holes = facts.st_blocks * SECTOR < facts.st_size
        return Opened(descriptor, min(head, facts.st_size), facts.st_size, has_holes)

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
            if not done:  # the file was cut
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
