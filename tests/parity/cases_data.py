"""Bytes: read, write, truncate and seek in every form, around the place where disk begins."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Mapping

from tests.parity.files import HEAD, content, digest, ending_of, opened, pattern
from tests.parity.harness import Place, case

SIZES = [0, 1, 4096, HEAD - 1, HEAD, HEAD + 1, 200_001]
OFFSETS = [0, 4095, HEAD - 1, HEAD, HEAD + 1, 3 * HEAD]
LENGTHS = [1, 4096, HEAD + 2, 2 * HEAD]
PAGE = 4096


# ---------------------------------------------------------------- truncate


@case.each(size=SIZES, to=SIZES)
def truncate(place: Place, size: int, to: int) -> object:
    """What is cut off does not come back when the file grows again."""
    path = place.file("file", pattern(size))
    os.truncate(path, to)
    after = content(path), place.stat("file")
    os.truncate(path, max(SIZES))
    return after, content(path)


@case.each(size=[0, 10, HEAD, 2 * HEAD], to=[0, 10, HEAD - 1, HEAD + 1, 3 * HEAD])
def ftruncate_and_write_on(place: Place, size: int, to: int) -> object:
    """The position stays; a write there may leave a hole."""
    path = place.file("file", pattern(size))
    with opened(path) as fd:
        os.lseek(fd, 0, os.SEEK_END)
        os.ftruncate(fd, to)
        position = os.lseek(fd, 0, os.SEEK_CUR)
        os.write(fd, b"here")
    return position, content(path)


@case.each(how=["RDONLY", "negative", "directory", "fifo", "symlink", "absent", "O_PATH"])
def truncate_refused(place: Place, how: str) -> object:
    place.file("file", b"data")
    place.directory("directory")
    os.mkfifo(place / "fifo")
    place.symlink("symlink", "file")
    if how == "negative":
        return place.attempt(os.truncate, place / "file", -1)
    if how in {"RDONLY", "O_PATH"}:
        with opened(place / "file", os.O_PATH if how == "O_PATH" else os.O_RDONLY) as fd:
            return place.attempt(os.ftruncate, fd, 0), place.tree()
    return place.attempt(os.truncate, place / how, 1), place.tree()


@case
def truncate_of_an_unlinked_file(place: Place) -> object:
    path = place.file("file", pattern(2 * HEAD))
    with opened(path) as fd:
        path.unlink()
        os.ftruncate(fd, HEAD + 7)
        os.ftruncate(fd, 2 * HEAD)
        return digest(os.pread(fd, 3 * HEAD, 0)), place.stat(fd)


@case.each(size=[HEAD, HEAD + 100])
def cut_and_extended_many_times(place: Place, size: int) -> object:
    path = place.file("file")
    with opened(path) as fd:
        for turn in range(10):
            os.pwrite(fd, pattern(size, turn), turn * 1000)
            os.ftruncate(fd, HEAD - 50 + turn * 10)
            os.ftruncate(fd, size + turn)
    return content(path)


@case.each(size=[100, HEAD + 100])
def file_size_limit(place: Place, size: int) -> object:
    """RLIMIT_FSIZE: what fits is written; then EFBIG, SIGXFSZ being ignored."""

    def limited() -> object:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        with opened(place / "file", os.O_RDWR | os.O_CREAT) as fd:
            return [
                place.attempt(os.write, fd, pattern(size - 10)),
                place.attempt(os.write, fd, bytes(20)),
                place.attempt(os.write, fd, bytes(20)),
                place.attempt(os.ftruncate, fd, size + 1),
                place.attempt(os.pwrite, fd, b"x", size - 1),
            ]

    return place.in_child(limited), place.tree()


# ---------------------------------------------------------------- write


@case.each(size=[0, HEAD + 500], offset=OFFSETS, length=LENGTHS)
def pwrite(place: Place, size: int, offset: int, length: int) -> object:
    path = place.file("file", pattern(size))
    with opened(path) as fd:
        wrote = os.pwrite(fd, pattern(length, 7), offset)
        position = os.lseek(fd, 0, os.SEEK_CUR)
    return wrote, position, content(path)


@case.each(chunk=[1, 1000, 4096, 100_000])
def write_in_chunks(place: Place, chunk: int) -> object:
    path = place.path / "file"
    data = pattern(min(300_000, 300 * chunk) + 1)
    with opened(path, os.O_WRONLY | os.O_CREAT) as fd:
        done = [os.write(fd, data[at : at + chunk]) for at in range(0, len(data), chunk)]
    return sum(done), content(path)


@case.each(offset=OFFSETS)
def write_of_nothing(place: Place, offset: int) -> object:
    path = place.file("file", b"data")
    with opened(path) as fd:
        return os.pwrite(fd, b"", offset), place.stat("file")


@case.each(size=[0, HEAD + 500], offset=[0, 100, HEAD - 10, HEAD + 5])
def pwritev(place: Place, size: int, offset: int) -> object:
    path = place.file("file", pattern(size))
    parts = [b"", pattern(9, 1), pattern(HEAD, 2), b"", pattern(3, 3)]
    with opened(path) as fd:
        wrote = os.pwritev(fd, parts, offset), os.writev(fd, parts)
        position = os.lseek(fd, 0, os.SEEK_CUR)
    return wrote, position, content(path)


@case.each(count=[1, 1024, 1025])
def vectors_at_the_limit(place: Place, count: int) -> object:
    """IOV_MAX is 1024."""
    path = place.file("file")
    with opened(path) as fd:
        wrote = place.attempt(os.writev, fd, [b"ab"] * count)
        buffers = [bytearray(2) for _ in range(count)]
        return wrote, place.attempt(os.preadv, fd, buffers, 0), content(path)


@case.each(offset=[-1, 2**63 - 1, 2**63 - 4])
def write_at_an_impossible_offset(place: Place, offset: int) -> object:
    with opened(place.file("file")) as fd:
        return place.attempt(os.pwrite, fd, b"data", offset), place.stat("file")


@case
def write_beyond_the_largest_file_of_ext4(place: Place) -> object:
    with opened(place.file("file")) as fd:
        return place.attempt(os.pwrite, fd, b"data", 2**62), place.stat("file")


@case
def write_from_bad_memory(place: Place) -> object:
    path = place.file("file", b"kept")
    with opened(path) as fd:
        result = place.attempt(place.libc.long, "write", fd, None, 4)
        return result, place.attempt(place.libc.long, "read", fd, None, 4), content(path)


@case.each(flag=[0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x80, 0x1000])
def pwritev2(place: Place, flag: int) -> object:
    """HIPRI, DSYNC, SYNC, NOWAIT, APPEND, NOAPPEND, DONTCACHE and one that does not exist."""
    path = place.file("file", pattern(HEAD))
    with opened(path) as fd:
        return place.attempt(os.pwritev, fd, [b"new"], 10, flag), content(path)


@case.each(flag=[0x1, 0x2, 0x8, 0x10, 0x80, 0x1000])
def preadv2(place: Place, flag: int) -> object:
    path = place.file("file", pattern(2 * HEAD))
    buffer = bytearray(HEAD)
    with opened(path) as fd:
        os.pread(fd, 2 * HEAD, 0)  # now it is cached, so that NOWAIT may succeed
        return place.attempt(os.preadv, fd, [buffer], HEAD // 2, flag), digest(bytes(buffer))


@case
def noappend_on_an_append_descriptor(place: Place) -> object:
    path = place.file("file", pattern(HEAD))
    with opened(path, os.O_RDWR | os.O_APPEND) as fd:
        return place.attempt(os.pwritev, fd, [b"new"], 10, 0x20), content(path)


@case.each(offset=[2**31 - 1, 2**31, 2**32 - 2, 2**32 + 1, 2**40])
def far_away(place: Place, offset: int) -> object:
    path = place.file("file", b"start")
    with opened(path) as fd:
        os.pwrite(fd, b"far", offset)
        around = [os.pread(fd, 8, at) for at in (0, offset - 4, offset, offset + 3)]
        seeks = os.lseek(fd, 0, os.SEEK_END), os.lseek(fd, -3, os.SEEK_CUR)
        return around, seeks, os.read(fd, 10), place.stat("file")


# ---------------------------------------------------------------- read


@case.each(size=SIZES)
def pread_everywhere(place: Place, size: int) -> object:
    with opened(place.file("file", pattern(size))) as fd:
        return {
            f"{offset}+{length}": digest(os.pread(fd, length, offset))
            for offset in [*OFFSETS, size, size + 1, size + HEAD, 2**40]
            for length in (0, *LENGTHS, 300_000)
        }


@case.each(size=[HEAD - 1, 2 * HEAD])
def readv_and_preadv(place: Place, size: int) -> object:
    with opened(place.file("file", pattern(size))) as fd:
        seen = []
        for offset in OFFSETS:
            buffers = [bytearray(5), bytearray(0), bytearray(HEAD), bytearray(HEAD)]
            seen.append((os.preadv(fd, buffers, offset), digest(b"".join(buffers))))
            seen.append((os.readv(fd, buffers), digest(b"".join(buffers))))
        return seen


@case.each(chunk=[1, 1000, 4096, 100_000])
def read_in_chunks(place: Place, chunk: int) -> object:
    size = min(300_000, 300 * chunk)
    with opened(place.file("file", pattern(size))) as fd:
        return digest(b"".join(iter(lambda: os.read(fd, chunk), b"")))


@case.each(flags=["WRONLY", "PATH", "DIRECTORY"])
def read_refused(place: Place, flags: str) -> object:
    path = place.file("file", b"data") if flags != "DIRECTORY" else place.path
    with opened(path, getattr(os, f"O_{flags}")) as fd:
        return place.attempt(os.read, fd, 4), place.attempt(os.pread, fd, 4, 0)


@case.each(flags=["RDONLY", "PATH", "DIRECTORY"])
def write_refused(place: Place, flags: str) -> object:
    path = place.file("file", b"data") if flags != "DIRECTORY" else place.path
    with opened(path, getattr(os, f"O_{flags}")) as fd:
        return place.attempt(os.write, fd, b"new"), place.attempt(os.pwrite, fd, b"new", 0)


@case
def read_at_a_negative_offset(place: Place) -> object:
    with opened(place.file("file", b"data")) as fd:
        return place.attempt(os.pread, fd, 4, -1)


@case
def two_readers_see_a_growing_file(place: Place) -> object:
    path = place.file("file")
    with opened(path) as writer, opened(path, os.O_RDONLY) as reader:
        seen = []
        for turn in range(12):
            os.write(writer, pattern(9000, turn))
            seen.append(digest(os.read(reader, 100_000)))
        return seen, os.read(reader, 1)


# ---------------------------------------------------------------- lseek


SPARSE: Mapping[str, tuple[list[int], int]] = {
    "full": ([0, HEAD, 2 * HEAD], 3 * HEAD),
    "empty": ([], 0),
    "hole_at_the_end": ([0], 3 * HEAD),
    "hole_at_the_start": ([2 * HEAD], 3 * HEAD),
    "hole_in_the_middle": ([0, 2 * HEAD], 3 * HEAD),
    "only_a_hole": ([], 3 * HEAD),
}
"""Where there are HEAD bytes of data each, and the size."""


def _fill(fd: int, shape: str) -> None:
    starts, size = SPARSE[shape]
    for start in starts:
        os.pwrite(fd, pattern(HEAD), start)
    os.ftruncate(fd, size)


def _seeks(place: Place, shape: str) -> object:
    with opened(place.file("file")) as fd:
        _fill(fd, shape)
        os.fsync(fd)
        return {
            f"{name} {at}": place.attempt(os.lseek, fd, at, whence)
            for name, whence in (("data", os.SEEK_DATA), ("hole", os.SEEK_HOLE))
            for at in (0, 1, HEAD, HEAD + 1, 2 * HEAD, 3 * HEAD - 1, 3 * HEAD, 3 * HEAD + 1)
        }


@case.each(shape=["full", "empty"])
def seek_in_a_file_without_holes(place: Place, shape: str) -> object:
    return _seeks(place, shape)


@case.each(shape=list(SPARSE)[2:])
def seek_in_a_file_with_holes(place: Place, shape: str) -> object:
    return _seeks(place, shape)


@case.each(shape=list(SPARSE))
def sparse_files_read_as_zeros(place: Place, shape: str) -> object:
    with opened(place.file("file")) as fd:
        _fill(fd, shape)
    return content(place / "file"), place.stat("file")


@case.each(whence=[os.SEEK_SET, os.SEEK_CUR, os.SEEK_END, os.SEEK_DATA, os.SEEK_HOLE, 9])
def seek_beyond(place: Place, whence: int) -> object:
    with opened(place.file("file", pattern(100))) as fd:
        os.lseek(fd, 50, os.SEEK_SET)
        return {
            offset: (place.attempt(os.lseek, fd, offset, whence), os.lseek(fd, 50, os.SEEK_SET))
            for offset in (-101, -51, -1, 1_000, 2**40, 2**63 - 100)
            if not _beyond_the_largest_file(offset, whence)
        }


def _beyond_the_largest_file(offset: int, whence: int) -> bool:
    return offset > 2**44 and whence in {os.SEEK_SET, os.SEEK_CUR, os.SEEK_END}


@case.each(whence=[os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
def seek_beyond_the_largest_file(place: Place, whence: int) -> object:
    with opened(place.file("file", pattern(100))) as fd:
        return place.attempt(os.lseek, fd, 2**62, whence)


@case
def seek_on_a_fifo(place: Place) -> object:
    os.mkfifo(place / "fifo")
    with opened(place / "fifo", os.O_RDWR | os.O_NONBLOCK) as fd:
        return place.attempt(os.lseek, fd, 0, os.SEEK_SET), place.attempt(os.pread, fd, 1, 0)


@case
def too_large_for_the_limit_kills(place: Place) -> object:
    """SIGXFSZ without a handler."""

    def write() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE, PAGE))
        with opened(place / "file", os.O_WRONLY | os.O_CREAT) as fd:
            os.write(fd, bytes(PAGE))
            os.write(fd, b"more")
        return 0

    return ending_of(write), place.stat("file")
