"""Bytes moved inside the kernel: sendfile, copy_file_range, splice, tee and FICLONE."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from tests.parity.files import HEAD, content, digest, opened, pattern
from tests.parity.harness import Place, case

SIZE = 3 * HEAD + 17
FICLONE = 0x40049409
LENGTHS = [0, 1, HEAD, 2 * HEAD, SIZE, 10 * HEAD]
OFFSETS = [0, HEAD - 1, HEAD, SIZE - 1, SIZE, SIZE + 100]
PIPE_ROOM = 16 * 4096


@contextmanager
def two_files(
    place: Place, *, target: bytes = b"", flags: int = os.O_RDWR
) -> Iterator[tuple[int, int]]:
    """One that holds a pattern, and one to copy it to."""
    place.file("source", pattern(SIZE))
    place.file("target", target)
    with opened(place / "source") as source, opened(place / "target", flags) as out:
        yield source, out


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    try:
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def _positions(*fds: int) -> list[int]:
    return [os.lseek(fd, 0, os.SEEK_CUR) for fd in fds]


# ---------------------------------------------------------------- copy_file_range


@case.each(offset=OFFSETS, length=LENGTHS)
def copy_range(place: Place, offset: int, length: int) -> object:
    with two_files(place, target=pattern(100, 5)) as (source, target):
        copied = os.copy_file_range(source, target, length, offset, 50)
        return copied, _positions(source, target), place.tree()


@case.each(count=[HEAD + 1, SIZE])
def copy_range_moves_the_positions(place: Place, count: int) -> object:
    with two_files(place) as (source, target):
        os.lseek(source, 10, os.SEEK_SET)
        copied = [os.copy_file_range(source, target, count) for _ in range(3)]
        return copied, _positions(source, target), content(place / "target")


@case.each(to=[0, HEAD - 3, 2 * HEAD, 10 * HEAD])
def copy_range_to(place: Place, to: int) -> object:
    with two_files(place, target=pattern(2 * HEAD, 5)) as (source, target):
        copied = os.copy_file_range(source, target, HEAD, 7, to)
        return copied, content(place / "target")


@case.each(distance=[0, 1, HEAD, 2 * HEAD])
def copy_range_within_one_file(place: Place, distance: int) -> object:
    """Ranges that overlap are refused."""
    place.file("source", pattern(SIZE))
    with opened(place / "source") as fd, opened(place / "source") as other:
        copy = place.attempt(os.copy_file_range, fd, other, HEAD, 0, distance)
        return copy, content(place / "source")


@case.each(how=["RDONLY", "APPEND", "PATH"])
def copy_range_to_a_descriptor(place: Place, how: str) -> object:
    flags = getattr(os, f"O_{how}") | (os.O_RDWR if how == "APPEND" else 0)
    with two_files(place, target=b"kept", flags=flags) as (source, target):
        return place.attempt(os.copy_file_range, source, target, 5), content(place / "target")


@case.each(how=["WRONLY", "PATH"])
def copy_range_from_a_descriptor(place: Place, how: str) -> object:
    place.file("source", b"data")
    place.file("target")
    flags = getattr(os, f"O_{how}")
    with opened(place / "source", flags) as source, opened(place / "target") as target:
        return place.attempt(os.copy_file_range, source, target, 4), content(place / "target")


@case.each(kind=["directory", "fifo"])
def copy_range_with_what_is_no_file(place: Place, kind: str) -> object:
    place.directory("directory")
    os.mkfifo(place / "fifo")
    place.file("file", b"data")
    flags = os.O_RDONLY | os.O_NONBLOCK | (os.O_RDWR if kind == "fifo" else 0)
    with opened(place / kind, flags) as odd, opened(place / "file") as file:
        return (
            place.attempt(os.copy_file_range, odd, file, 4),
            place.attempt(os.copy_file_range, file, odd, 4),
        )


@case
def copy_range_with_flags(place: Place) -> object:
    with two_files(place) as (source, target):
        args = (source, None, target, None, 10, 1)
        return place.attempt(place.libc.long, "copy_file_range", *args)


@case.each(direction=["in", "out"])
def copy_range_across_filesystems(place: Place, direction: str) -> object:
    """Between filesystems of two types, which the kernel does not do."""
    with two_files(place, target=b"kept") as (source, target), tempfile.TemporaryFile() as other:
        other.write(pattern(100))
        other.flush()
        pair = (other.fileno(), target) if direction == "in" else (source, other.fileno())
        result = place.attempt(os.copy_file_range, *pair, 50, 0, 0)
        return result, content(place / "target")


@case
def copy_range_of_a_hole(place: Place) -> object:
    with two_files(place) as (source, target):
        os.ftruncate(source, 0)
        os.ftruncate(source, 3 * HEAD)
        os.pwrite(source, b"end", 2 * HEAD)
        copied = os.copy_file_range(source, target, 10 * HEAD)
        return copied, content(place / "target")


@case
def copy_range_touches(place: Place) -> object:
    with two_files(place) as (source, target):
        return place.touched(["source", "target", "."], os.copy_file_range, source, target, HEAD)


@case
def reflink(place: Place) -> object:
    with two_files(place) as (source, target):
        return place.attempt(fcntl.ioctl, target, FICLONE, source), content(place / "target")


# ---------------------------------------------------------------- sendfile


@case.each(offset=OFFSETS, length=[1, HEAD + 1, 10 * HEAD])
def sendfile(place: Place, offset: int, length: int) -> object:
    with two_files(place, target=pattern(50, 3)) as (source, target):
        os.lseek(target, 20, os.SEEK_SET)
        sent = os.sendfile(target, source, offset, length)
        return sent, _positions(source, target), content(place / "target")


@case
def sendfile_from_the_position(place: Place) -> object:
    with two_files(place) as (source, target):
        os.lseek(source, HEAD - 1, os.SEEK_SET)
        sent = os.sendfile(target, source, None, HEAD)
        return sent, _positions(source, target), content(place / "target")


@case.each(how=["RDONLY", "APPEND"])
def sendfile_to_a_descriptor(place: Place, how: str) -> object:
    flags = getattr(os, f"O_{how}") | (os.O_RDWR if how == "APPEND" else 0)
    with two_files(place, target=b"kept", flags=flags) as (source, target):
        return place.attempt(os.sendfile, target, source, 0, 5), content(place / "target")


@case
def sendfile_to_a_pipe(place: Place) -> object:
    with two_files(place) as (source, _target), pipe() as (reading, writing):
        sent = os.sendfile(writing, source, HEAD - 10, 20)
        return sent, os.read(reading, 100)


@case
def sendfile_touches(place: Place) -> object:
    with two_files(place) as (source, target):
        return place.touched(["source", "target", "."], os.sendfile, target, source, 0, HEAD)


# ---------------------------------------------------------------- splice


@case.each(offset=[0, HEAD - 10, HEAD, SIZE - 5, SIZE])
def splice_out_of_a_file(place: Place, offset: int) -> object:
    with two_files(place) as (source, _target), pipe() as (reading, writing):
        moved = place.attempt(os.splice, source, writing, 30, offset_src=offset)
        return moved, place.attempt(os.read, reading, 100), _positions(source)


@case.each(offset=[0, HEAD - 10, HEAD, 2 * HEAD])
def splice_into_a_file(place: Place, offset: int) -> object:
    with two_files(place, target=pattern(HEAD)) as (_source, target), pipe() as (reading, writing):
        os.write(writing, pattern(30, 9))
        moved = os.splice(reading, target, 100, offset_dst=offset)
        return moved, content(place / "target")


@case.each(flags=[1, 2, 4, 8, 16])
def splice_with_flags(place: Place, flags: int) -> object:
    """MOVE, NONBLOCK, MORE, GIFT and one that does not exist."""
    with two_files(place) as (source, target), pipe() as (reading, writing):
        moved = place.attempt(os.splice, source, writing, PIPE_ROOM, flags=flags)
        stored = place.attempt(os.splice, reading, target, PIPE_ROOM, flags=flags)
        return moved, stored, content(place / "target")


@case
def splice_all_of_a_file(place: Place) -> object:
    with two_files(place) as (source, target), pipe() as (reading, writing):
        while moved := os.splice(source, writing, 10_000):
            while moved:
                moved -= os.splice(reading, target, moved)
        return _positions(source, target), content(place / "target")


@case.each(how=["RDONLY", "APPEND"])
def splice_into_a_descriptor(place: Place, how: str) -> object:
    flags = getattr(os, f"O_{how}") | (os.O_RDWR if how == "APPEND" else 0)
    with two_files(place, target=b"kept", flags=flags) as (_source, target), pipe() as ends:
        os.write(ends[1], b"data")
        return place.attempt(os.splice, ends[0], target, 4), content(place / "target")


@case
def splice_between_two_files(place: Place) -> object:
    """One of the two has to be a pipe."""
    with two_files(place) as (source, target):
        return place.attempt(os.splice, source, target, 10)


@case
def tee_of_what_came_from_a_file(place: Place) -> object:
    with two_files(place) as (source, target), pipe() as first, pipe() as second:
        os.splice(source, first[1], 5000, offset_src=HEAD - 100)
        doubled = place.libc.long("tee", first[0], second[1], 5000, 0)
        stored = os.splice(first[0], target, 5000)
        return doubled, stored, digest(os.read(second[0], 6000)), content(place / "target")


@case
def spliced_pages_keep_their_bytes(place: Place) -> object:
    """What is in the pipe changes with the file until it is read, on both filesystems alike."""
    with two_files(place) as (source, _target), pipe() as (reading, writing):
        os.splice(source, writing, 4096, offset_src=0)
        os.unlink(place / "source")
        return digest(os.read(reading, 5000))


@case.each(direction=["in", "out"])
def splice_touches(place: Place, direction: str) -> object:
    with two_files(place) as (source, target), pipe() as (reading, writing):
        os.write(writing, b"data")
        if direction == "in":
            return place.touched(["source", "target"], os.splice, reading, target, 4)
        return place.touched(["source", "target"], os.splice, source, writing, 4)
