"""O_DIRECT: reads and writes around the page cache, and beside those that go through it."""

from __future__ import annotations

import fcntl
import os
from mmap import mmap

from tests.parity.files import HEAD, content, digest, opened, pattern
from tests.parity.harness import Place, case

BLOCK = 4096


def _direct_write(fd: int, offset: int, length: int) -> int:
    with mmap(-1, length) as aligned:  # pages, as O_DIRECT wants its buffers
        aligned[:] = pattern(length, 3)
        return os.pwrite(fd, aligned, offset)


def _direct_read(fd: int, offset: int, length: int) -> str:
    with mmap(-1, length) as aligned:
        return digest(aligned[: os.preadv(fd, [aligned], offset)])


@case.each(offset=[0, HEAD - BLOCK, HEAD, 3 * HEAD], length=[BLOCK, HEAD, 2 * HEAD])
def direct_write_then_reads(place: Place, offset: int, length: int) -> object:
    path = place.file("file", pattern(2 * HEAD))
    with opened(path, os.O_RDWR | os.O_DIRECT) as fd:
        wrote = _direct_write(fd, offset, length)
        reads = [_direct_read(fd, at, HEAD) for at in (0, HEAD - BLOCK, HEAD, offset)]
    return wrote, reads, content(path)


@case.each(size=[1, BLOCK, BLOCK + 1, HEAD - 1, HEAD, HEAD + 1])
def direct_read_at_the_end(place: Place, size: int) -> object:
    path = place.file("file", pattern(size))
    with opened(path, os.O_RDONLY | os.O_DIRECT) as fd:
        return [_direct_read(fd, at, 2 * HEAD) for at in (0, BLOCK, HEAD, 2 * HEAD)]


@case
def direct_and_buffered_together(place: Place) -> object:
    """Each sees what the other wrote."""
    path = place.file("file", pattern(2 * HEAD))
    with opened(path) as plain, opened(path, os.O_RDWR | os.O_DIRECT) as direct:
        os.pwrite(plain, b"plain", HEAD - BLOCK)
        first = _direct_read(direct, HEAD - BLOCK, 2 * BLOCK)
        _direct_write(direct, HEAD, BLOCK)
        return first, digest(os.pread(plain, 2 * BLOCK, HEAD - BLOCK))


@case
def direct_append(place: Place) -> object:
    path = place.file("file", pattern(HEAD))
    with opened(path, os.O_RDWR | os.O_DIRECT | os.O_APPEND) as fd:
        wrote = _direct_write(fd, 0, BLOCK)
    return wrote, content(path)


@case
def direct_switched_on_and_off(place: Place) -> object:
    path = place.file("file", pattern(HEAD))
    with opened(path) as fd:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
        wrote = _direct_write(fd, HEAD, BLOCK)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        return wrote, os.pwrite(fd, b"odd", 2 * HEAD + 1), content(path)


@case.each(what=["offset", "length", "buffer"])
def direct_without_alignment(place: Place, what: str) -> object:
    path = place.file("file", pattern(HEAD))
    with opened(path, os.O_RDWR | os.O_DIRECT) as fd, mmap(-1, 2 * BLOCK) as aligned:
        start, length, offset = {
            "offset": (0, BLOCK, 100),
            "length": (0, 100, 0),
            "buffer": (1, BLOCK, 0),
        }[what]
        part = memoryview(aligned)[start : start + length]
        results = (
            place.attempt(os.preadv, fd, [part], offset),
            place.attempt(os.pwrite, fd, part, offset),
        )
        part.release()
    return results
