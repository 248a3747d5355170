"""Limits: file sizes up to what the filesystem takes, resource limits, sparse terabytes."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable

from tests.parity.harness import Place, case

KIB, MIB, TIB = 1024, 1024**2, 1024**4
HEAD = 64 * KIB
LARGEST = 16 * TIB - 4 * KIB
"""Bytes of an ext4 file with blocks of 4 KiB; the volume's tails lie on such a filesystem."""

SIZES = {
    "2^31-1": 2**31 - 1,
    "2^31": 2**31,
    "2^32": 2**32,
    "2^32+1": 2**32 + 1,
    "2^40": 2**40,
    "2^43": 2**43,
    "largest": LARGEST,
}
BEYOND = {
    "one more": LARGEST + 1,
    "16TiB": 16 * TIB,
    "2^62": 2**62,
    "2^63-1": 2**63 - 1,
}


@case.each(size=SIZES)
def truncate_to(place: Place, size: str) -> object:
    path = place.file("file", b"begins")
    touched = place.touched(["file"], os.truncate, path, SIZES[size])
    with place.opened("file") as fd:
        ends = os.pread(fd, 10, 0), os.pread(fd, 10, SIZES[size] - 5), os.pread(fd, 10, SIZES[size])
        seeks = os.lseek(fd, 0, os.SEEK_END), os.lseek(fd, 0, os.SEEK_CUR)
    return touched, ends, seeks, place.stat("file")


@case.each(size=SIZES)
def write_at_the_end_of(place: Place, size: str) -> object:
    place.file("file", b"begins")
    with place.opened("file", os.O_RDWR) as fd:
        written = os.pwrite(fd, b"the end", SIZES[size] - 7)
        found = os.pread(fd, 20, SIZES[size] - 10), os.pread(fd, 10, 0), os.fstat(fd).st_size
        os.ftruncate(fd, HEAD + 10)
        os.ftruncate(fd, SIZES[size])
        cut = os.pread(fd, 20, SIZES[size] - 10)
    return written, found, cut, place.stat("file")


@case.each(size=SIZES)
def append_at(place: Place, size: str) -> object:
    place.file("file")
    os.truncate(place / "file", SIZES[size])
    with place.opened("file", os.O_WRONLY | os.O_APPEND) as fd:
        written = place.attempt(os.write, fd, b"more")
    return written, place.stat("file")


@case.each(size=BEYOND)
def truncate_beyond(place: Place, size: str) -> object:
    path = place.file("file", b"begins")
    return place.touched(["file"], os.truncate, path, BEYOND[size]), place.tree()


@case.each(size=BEYOND)
def write_beyond(place: Place, size: str) -> object:
    place.file("file", b"begins")
    with place.opened("file", os.O_RDWR) as fd:
        written = place.attempt(os.pwrite, fd, b"x", BEYOND[size] - 1)
    return written, place.tree()


@case.each(offset=["one more", "16TiB", "2^62"])
def read_beyond(place: Place, offset: str) -> object:
    place.file("file", b"begins")
    with place.opened("file") as fd:
        return place.attempt(os.pread, fd, 10, BEYOND[offset]), place.attempt(
            os.lseek, fd, BEYOND[offset], os.SEEK_SET
        )


@case
def write_up_to_and_over_the_largest(place: Place) -> object:
    """A write that begins below the limit and ends beyond it is cut there."""
    place.file("file")
    with place.opened("file", os.O_RDWR) as fd:
        written = place.attempt(os.pwrite, fd, b"12345678", LARGEST - 4)
        return written, os.fstat(fd).st_size, os.pread(fd, 10, LARGEST - 4)


@case.each(offset=[-1, -(2**40)])
def negative_offsets(place: Place, offset: int) -> object:
    place.file("file", b"begins")
    with place.opened("file", os.O_RDWR) as fd:
        return (
            place.attempt(os.pread, fd, 1, offset),
            place.attempt(os.pwrite, fd, b"x", offset),
            place.attempt(os.lseek, fd, offset, os.SEEK_SET),
            place.attempt(os.lseek, fd, offset, os.SEEK_CUR),
            place.attempt(os.ftruncate, fd, offset),
            place.attempt(os.lseek, fd, offset, os.SEEK_END),
        )


@case
def scattered_writes_in_a_terabyte(place: Place) -> object:
    offsets = [0, HEAD - 3, HEAD + 5, MIB, 2**31 - 3, 2**32 - 3, 2**39, TIB - 7]
    place.file("file")
    with place.opened("file", os.O_RDWR) as fd:
        for number, offset in enumerate(offsets):
            os.pwrite(fd, b"piece %d" % number, offset)
        found = [os.pread(fd, 20, max(0, offset - 5)) for offset in offsets]
    return found, place.stat("file")


@case
def holes_take_no_room(place: Place) -> object:
    """The whole filesystem's count moves by the pieces only.

    At least once in some attempts: others may write as much meanwhile on the same device.
    """
    for attempt in range(10):
        before = os.statvfs(place.path)
        place.file(f"{attempt}")
        os.truncate(place / f"{attempt}", 2**40)
        with place.opened(f"{attempt}", os.O_WRONLY) as fd:
            os.pwrite(fd, b"x" * 4096, 2**39)
            os.fsync(fd)
        after = os.statvfs(place.path)
        if (before.f_bfree - after.f_bfree) * before.f_frsize < 8 * MIB:
            return True
    return False


@case.each(call=["write", "pwrite", "truncate", "append", "across"])
def limit_of_the_process(place: Place, call: str) -> object:
    """RLIMIT_FSIZE: EFBIG, and SIGXFSZ where it is not ignored."""
    place.file("file", b"x" * 1000)

    def change() -> object:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        flags = os.O_RDWR | (os.O_APPEND if call == "append" else 0)
        with place.opened("file", flags) as fd:
            calls: dict[str, Callable[[], object]] = {
                "write": lambda: (os.lseek(fd, 4096, 0), os.write(fd, b"y")),
                "pwrite": lambda: os.pwrite(fd, b"y", 5000),
                "truncate": lambda: os.ftruncate(fd, 4097),
                "append": lambda: os.write(fd, b"y" * 5000),
                "across": lambda: os.pwrite(fd, b"y" * 100, 4050),
            }
            return calls[call]()

    return place.in_child(change), place.tree()


@case
def limit_of_the_process_on_posix_fallocate(place: Place) -> object:
    place.file("file", b"x" * 1000)
    with place.opened("file", os.O_RDWR) as fd:
        # The first one tells the kernel what the filesystem can do; then it no longer asks.
        os.posix_fallocate(fd, 0, 10)

    def change() -> object:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with place.opened("file", os.O_RDWR) as fd:
            return place.attempt(os.posix_fallocate, fd, 0, 10000)

    return place.in_child(change), place.stat("file")


@case
def limit_of_the_process_signals(place: Place) -> object:
    place.file("file")

    def change() -> object:
        received: list[int] = []
        signal.signal(signal.SIGXFSZ, lambda number, _frame: received.append(number))
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        result = place.attempt(os.truncate, place / "file", 11)
        return result, received == [signal.SIGXFSZ]

    return place.in_child(change), place.stat("file")


@case
def limit_of_descriptors(place: Place) -> object:
    place.file("file")

    def exhaust() -> object:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        opened: list[int] = []
        while len(opened) < 100:
            fd = place.attempt(os.open, place / "file", os.O_RDONLY)
            if isinstance(fd, str):
                return fd, place.attempt(os.open, place / "new", os.O_CREAT | os.O_WRONLY)
            opened.append(fd)
        return "never"

    return place.in_child(exhaust), place.tree()


@case
def many_descriptors_of_one_file(place: Place) -> object:
    place.file("file", b"content")
    fds = [os.open(place / "file", os.O_RDONLY) for _ in range(200)]
    try:
        os.unlink(place / "file")
        return {os.pread(fd, 10, 0) for fd in fds}, os.fstat(fds[0]).st_nlink
    finally:
        for fd in fds:
            os.close(fd)


@case.each(size=[1, 4095, 4096, 65536, 1 << 20, (1 << 20) + 1, 5 << 20])
def one_large_call(place: Place, size: int) -> object:
    data = bytes(range(251)) * (size // 251 + 1)
    place.file("file")
    with place.opened("file", os.O_RDWR) as fd:
        written = os.write(fd, data[:size])
        found = os.pread(fd, size + 10, 0)
    return written, found == data[:size], place.tree()
