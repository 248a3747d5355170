"""fsync and its kin, fallocate, and the times that each call on bytes touches."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.parity.files import HEAD, content, opened, pattern
from tests.parity.harness import Place, case

KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
FALLOCATE_MODES = {
    "allocate": 0,
    "keep_size": KEEP_SIZE,
    "punch_hole": PUNCH_HOLE | KEEP_SIZE,
    "collapse": COLLAPSE,
    "zero": ZERO,
    "zero_keep_size": ZERO | KEEP_SIZE,
    "insert": INSERT,
}
SYNC_FILE_RANGE_FLAGS = [0, 1, 2, 4, 7, 8]


# ---------------------------------------------------------------- fsync


@case.each(sync=["fsync", "fdatasync"], flags=["RDWR", "RDONLY", "PATH"], target=["file", "."])
def sync_a_descriptor(place: Place, sync: str, flags: str, target: str) -> object:
    place.file("file", pattern(2 * HEAD))
    chosen = getattr(os, f"O_{flags}") if target == "file" or flags == "PATH" else os.O_RDONLY
    with opened(place / target, chosen) as fd:
        return place.attempt(getattr(os, sync), fd)


@case.each(sync=["fsync", "fdatasync"], target=["fifo", "device"])
def sync_what_is_no_file(place: Place, sync: str, target: str) -> object:
    os.mkfifo(place / "fifo")
    os.mknod(place / "device", 0o020666, os.makedev(1, 3))
    with opened(place / target, os.O_RDWR | os.O_NONBLOCK) as fd:
        return place.attempt(getattr(os, sync), fd)


@case.each(sync=["fsync", "fdatasync"])
def sync_touches_nothing(place: Place, sync: str) -> object:
    path = place.file("file", pattern(2 * HEAD))
    with opened(path) as fd:
        return place.touched(["file", "."], getattr(os, sync), fd)


@case.each(sync=["fsync", "fdatasync"])
def sync_of_an_unlinked_file(place: Place, sync: str) -> object:
    path = place.file("file", pattern(2 * HEAD))
    with opened(path) as fd:
        path.unlink()
        os.pwrite(fd, b"more", HEAD)
        return place.attempt(getattr(os, sync), fd), os.pread(fd, 4, HEAD)


@case
def sync_of_a_removed_directory(place: Place) -> object:
    path = place.directory("directory")
    with opened(path, os.O_RDONLY) as fd:
        path.rmdir()
        return place.attempt(os.fsync, fd)


@case
def sync_of_a_new_tree(place: Place) -> object:
    """What a careful program does: file, directory, directory above."""
    place.directory("directory")
    with opened(place / "directory/new", os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, pattern(HEAD + 1))
        os.fsync(fd)
    os.rename(place / "directory/new", place / "directory/final")
    for name in ("directory", "."):
        with opened(place / name, os.O_RDONLY) as fd:
            os.fsync(fd)
    return place.tree()


@case.each(flags=SYNC_FILE_RANGE_FLAGS)
def sync_file_range(place: Place, flags: int) -> object:
    path = place.file("file", pattern(2 * HEAD))
    with opened(path) as fd:
        return [
            place.attempt(_sync_range, place, fd, offset, length, flags)
            for offset, length in ((0, 0), (HEAD - 1, 10), (10 * HEAD, 1), (-1, 1), (0, -1))
        ]


@case.each(target=["fifo", "."])
def sync_file_range_of_what_is_no_file(place: Place, target: str) -> object:
    os.mkfifo(place / "fifo")
    with opened(place / target, os.O_RDONLY | os.O_NONBLOCK) as fd:
        return place.attempt(_sync_range, place, fd, 0, 0, 2)


def _sync_range(place: Place, fd: int, offset: int, length: int, flags: int) -> int:
    return place.libc.sync_file_range(fd, ctypes.c_long(offset), ctypes.c_long(length), flags)


@case
def syncfs(place: Place) -> object:
    with opened(place.file("file", b"data")) as fd:
        return place.attempt(place.libc.syncfs, fd)


@case.each(advice=range(7))
def fadvise(place: Place, advice: int) -> object:
    path = place.file("file", pattern(2 * HEAD))
    with opened(path) as fd:
        result = place.attempt(os.posix_fadvise, fd, 0, HEAD, advice)
        return result, content(path)


@case
def readahead(place: Place) -> object:
    path = place.file("file", pattern(2 * HEAD))
    with opened(path) as fd:
        args = (fd, ctypes.c_long(HEAD), ctypes.c_size_t(HEAD))
        return place.attempt(place.libc.long, "readahead", *args), content(path)


# ---------------------------------------------------------------- fallocate


def _fallocate(place: Place, fd: int, mode: int, offset: int, length: int) -> int:
    return place.libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length))


@case.each(how=list(FALLOCATE_MODES))
def fallocate(place: Place, how: str) -> object:
    path = place.file("file", pattern(3 * HEAD))
    with opened(path) as fd:
        result = place.attempt(_fallocate, place, fd, FALLOCATE_MODES[how], HEAD, HEAD)
        return result, content(path)


@case.each(how=["RDONLY", "PATH"])
def fallocate_through_a_descriptor(place: Place, how: str) -> object:
    with opened(place.file("file"), getattr(os, f"O_{how}")) as fd:
        return place.attempt(_fallocate, place, fd, 0, 0, 10)


@case.each(offset=[0, -1, 2**63 - 1], length=[0, -1, 10])
def fallocate_of_an_impossible_range(place: Place, offset: int, length: int) -> object:
    if (offset, length) == (0, 10):
        length = 0  # that one is possible, and above
    with opened(place.file("file")) as fd:
        return place.attempt(_fallocate, place, fd, 0, offset, length)


@case.each(mode=[PUNCH_HOLE, 0x1000, COLLAPSE | KEEP_SIZE, PUNCH_HOLE | ZERO])
def fallocate_of_an_impossible_mode(place: Place, mode: int) -> object:
    with opened(place.file("file", pattern(2 * HEAD))) as fd:
        return place.attempt(_fallocate, place, fd, mode, 0, HEAD)


@case
def fallocate_of_a_fifo(place: Place) -> object:
    os.mkfifo(place / "fifo")
    with opened(place / "fifo", os.O_RDWR) as fd:
        return place.attempt(_fallocate, place, fd, 0, 0, 10)


@case.each(offset=[0, 10, HEAD - 1, 2 * HEAD], length=[1, 4096, 2 * HEAD])
def posix_fallocate(place: Place, offset: int, length: int) -> object:
    """The C library writes to every block where the filesystem cannot."""
    path = place.file("file", pattern(HEAD))
    with opened(path) as fd:
        return place.attempt(os.posix_fallocate, fd, offset, length), content(path)


@case.each(flags=["APPEND", "WRONLY"])
def posix_fallocate_where_the_c_library_cannot_help(place: Place, flags: str) -> object:
    """It would have to read what is there, and to write elsewhere than at the end."""
    path = place.file("file", pattern(HEAD))
    chosen = os.O_RDWR | os.O_APPEND if flags == "APPEND" else os.O_WRONLY
    with opened(path, chosen) as fd:
        return place.attempt(os.posix_fallocate, fd, 0, 2 * HEAD), content(path)


@case
def posix_fallocate_within_the_file_touches(place: Place) -> object:
    with opened(place.file("file", pattern(HEAD))) as fd:
        return place.touched(["file", "."], os.posix_fallocate, fd, 0, 100)


@case
def posix_fallocate_then_writes(place: Place) -> object:
    path = place.file("file", b"start")
    with opened(path) as fd:
        os.posix_fallocate(fd, 0, 2 * HEAD)
        os.pwrite(fd, b"here", HEAD - 2)
        return content(path), place.stat("file")


# ---------------------------------------------------------------- times

CALLS: Mapping[str, Callable[[int], object]] = {
    "read": lambda fd: os.read(fd, 10),
    "read_nothing": lambda fd: os.read(fd, 0),
    "pread_at_the_end": lambda fd: os.pread(fd, 10, 10 * HEAD),
    "write": lambda fd: os.write(fd, b"data"),
    "write_nothing": lambda fd: os.write(fd, b""),
    "pwrite_in_the_tail": lambda fd: os.pwrite(fd, b"data", HEAD + 1),
    "pwrite_behind_the_end": lambda fd: os.pwrite(fd, b"data", 10 * HEAD),
    "writev": lambda fd: os.writev(fd, [b"a", b"b"]),
    "ftruncate_shorter": lambda fd: os.ftruncate(fd, 10),
    "ftruncate_longer": lambda fd: os.ftruncate(fd, 5 * HEAD),
    "ftruncate_to_the_same": lambda fd: os.ftruncate(fd, 2 * HEAD),
    "lseek": lambda fd: os.lseek(fd, 0, os.SEEK_END),
    "fsync": os.fsync,
    "fstat": os.fstat,
    "dup": lambda fd: os.close(os.dup(fd)),
}


@case.each(call=list(CALLS))
def call_on_a_descriptor_touches(place: Place, call: str) -> object:
    os.link(place.file("file", pattern(2 * HEAD)), place / "link")
    with opened(place / "file") as fd:
        return place.touched(["file", "link", "."], CALLS[call], fd)


@case.each(to=[0, 10, HEAD, 2 * HEAD, 3 * HEAD])
def truncate_touches(place: Place, to: int) -> object:
    path = place.file("file", pattern(2 * HEAD))
    return place.touched(["file", "."], os.truncate, path, to)


@case
def truncate_of_nothing_touches(place: Place) -> object:
    return place.touched(["file", "."], os.truncate, place.file("file"), 0)


@case
def write_through_an_unlinked_descriptor_touches(place: Place) -> object:
    path = place.file("file", b"data")
    with opened(path) as fd:
        path.unlink()
        return place.touched([fd, "."], os.pwrite, fd, b"new", HEAD)


@case.each(call=["write", "ftruncate_shorter", "ftruncate_longer"])
def times_that_were_set_are_replaced(place: Place, call: str) -> object:
    """A file of the future, and one of the past, is of now when it is written."""
    path = place.file("file", pattern(2 * HEAD))
    with opened(path) as fd:
        return [_both_times(path, moment, CALLS[call], fd) for moment in (0, 4_000_000_000)]


@case.each(size=[0, 10, HEAD, 3 * HEAD])
def truncate_marks_both_times_alike(place: Place, size: int) -> object:
    path = place.file("file", pattern(2 * HEAD))
    return _both_times(path, 0, os.truncate, path, size)


@case
def open_that_truncates_marks_both_times_alike(place: Place) -> object:
    path = place.file("file", pattern(2 * HEAD))
    return _both_times(path, 0, lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)))


@case
def the_present_marks_both_times_alike(place: Place) -> object:
    path = place.file("file", pattern(2 * HEAD))
    return _both_times(path, 0, os.utime, path)


def _both_times(path: Path, moment: int, call: Callable[..., object], *args: object) -> object:
    """Whether the call left the time that was set, and marked mtime and ctime with one clock."""
    os.utime(path, (moment, moment))
    call(*args)
    facts = path.stat()
    return facts.st_mtime == moment, facts.st_mtime_ns == facts.st_ctime_ns
