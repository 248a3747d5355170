"""mmap(2): shared and private maps, msync, and what happens to a map when the file changes."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.parity.files import HEAD, content, digest, ending_of, opened, pattern
from tests.parity.harness import Place, case

PAGE = mmap.PAGESIZE
SHARED = mmap.MAP_SHARED
PRIVATE = mmap.MAP_PRIVATE
READ = mmap.PROT_READ
BOTH = mmap.PROT_READ | mmap.PROT_WRITE
SIZES = [100, PAGE, HEAD - 100, HEAD, HEAD + PAGE, 3 * HEAD + 5]
MAP_SHARED_VALIDATE = 3
MAP_SYNC = 0x80000


@contextmanager
def mapped(
    place: Place, size: int, kind: int = SHARED, flags: int = os.O_RDWR
) -> Iterator[tuple[int, mmap.mmap]]:
    """A file of a pattern, open, and a map of all of it."""
    path = place.file("file", pattern(size))
    with opened(path, flags) as fd, mmap.mmap(fd, size, kind, BOTH) as view:
        yield fd, view


# ---------------------------------------------------------------- what is seen


@case.each(size=SIZES, kind=["shared", "private"])
def map_shows_the_file(place: Place, size: int, kind: str) -> object:
    with mapped(place, size, SHARED if kind == "shared" else PRIVATE) as (_fd, view):
        return digest(view[:])


@case.each(size=SIZES)
def store_is_seen_by_read_at_once(place: Place, size: int) -> object:
    with mapped(place, size) as (fd, view):
        view[size // 2 : size // 2 + 10] = b"0123456789"
        view[0:1] = b"!"
        view[size - 1 : size] = b"?"
        return digest(os.pread(fd, size + 10, 0)), content(place / "file")


@case.each(size=SIZES)
def store_is_there_after_msync(place: Place, size: int) -> object:
    with mapped(place, size) as (_fd, view):
        view[:] = pattern(size, 9)
        view.flush()
    return content(place / "file"), place.stat("file")


@case.each(size=SIZES)
def store_is_there_after_unmap(place: Place, size: int) -> object:
    with mapped(place, size) as (_fd, view):
        view[:] = pattern(size, 4)
    return content(place / "file"), place.stat("file")


@case.each(size=SIZES)
def private_store_stays_private(place: Place, size: int) -> object:
    with mapped(place, size, PRIVATE) as (fd, view):
        view[:] = pattern(size, 9)
        return digest(view[:]), digest(os.pread(fd, size, 0)), content(place / "file")


@case.each(size=SIZES)
def write_is_seen_in_the_map(place: Place, size: int) -> object:
    with mapped(place, size) as (fd, view):
        before = digest(view[:])
        os.pwrite(fd, b"written", size // 2)
        with opened(place / "file") as other:
            os.pwrite(other, b"other", 3)
        return before, digest(view[:])


@case
def two_maps_of_one_file(place: Place) -> object:
    with mapped(place, 2 * HEAD) as (fd, first), mmap.mmap(fd, HEAD, offset=HEAD) as second:
        first[HEAD : HEAD + 5] = b"first"
        second[10:16] = b"second"
        return second[:20], first[HEAD : HEAD + 20], content(place / "file")


@case
def map_shared_with_a_child(place: Place) -> object:
    with mapped(place, 2 * HEAD) as (_fd, view):

        def store() -> int:
            view[HEAD - 2 : HEAD + 2] = b"kids"
            return 0

        return ending_of(store), view[HEAD - 3 : HEAD + 3], content(place / "file")


@case
def private_map_of_a_child_stays_its_own(place: Place) -> object:
    with mapped(place, 2 * HEAD, PRIVATE) as (_fd, view):

        def store() -> int:
            view[HEAD - 2 : HEAD + 2] = b"kids"
            return 0

        return ending_of(store), digest(view[:]), content(place / "file")


@case.each(flags=["DIRECT", "APPEND", "SYNC"])
def map_of_a_descriptor_with(place: Place, flags: str) -> object:
    chosen = os.O_RDWR | getattr(os, f"O_{flags}")
    with mapped(place, 2 * HEAD, SHARED, chosen) as (_fd, view):
        view[HEAD - 2 : HEAD + 2] = b"here"
        view.flush()
        return content(place / "file")


@case.each(kind=["shared", "private"])
def map_outlives_descriptor_and_name(place: Place, kind: str) -> object:
    path = place.file("file", pattern(2 * HEAD))
    with opened(path) as fd:
        view = mmap.mmap(fd, 2 * HEAD, SHARED if kind == "shared" else PRIVATE, BOTH)
    with view:
        path.unlink()
        view[HEAD : HEAD + 4] = b"here"
        return digest(view[:]), place.tree()


@case.each(advice=["NORMAL", "RANDOM", "SEQUENTIAL", "WILLNEED", "DONTNEED"])
def madvise(place: Place, advice: str) -> object:
    with mapped(place, 2 * HEAD) as (_fd, view):
        view[5:9] = b"here"
        result = place.attempt(view.madvise, getattr(mmap, f"MADV_{advice}"))
        return result, digest(view[:]), content(place / "file")


@case
def madvise_that_punches_a_hole(place: Place) -> object:
    with mapped(place, 2 * HEAD) as (_fd, view):
        result = place.attempt(view.madvise, mmap.MADV_REMOVE, 0, HEAD)
        return result, digest(view[:]), content(place / "file")


@case
def remapped_larger(place: Place) -> object:
    with mapped(place, HEAD) as (fd, view):
        os.ftruncate(fd, 3 * HEAD)
        view.resize(3 * HEAD)  # mremap(2)
        view[2 * HEAD : 2 * HEAD + 4] = b"here"
        return digest(view[:]), content(place / "file")


# ---------------------------------------------------------------- beyond the end, and truncation


def _touch(view: mmap.mmap, at: int, how: str) -> str:
    """How a process ends that reads or writes one byte of the map."""

    def reach() -> int:
        signal.signal(signal.SIGBUS, signal.SIG_DFL)
        if how == "write":
            view[at] = 1
            return 0
        return view[at]

    return ending_of(reach)


@case.each(how=["read", "write"], at=[99, 100, PAGE - 1])
def beyond_the_end_in_the_last_page(place: Place, how: str, at: int) -> object:
    """The rest of the last page reads as zeros, and what is stored there is lost."""
    path = place.file("file", pattern(100))
    with opened(path) as fd, mmap.mmap(fd, 100, SHARED, BOTH) as view:
        base = mmap.mmap(fd, 0, SHARED, BOTH)
        base.close()
        os.ftruncate(fd, PAGE)
        with mmap.mmap(fd, PAGE, SHARED, BOTH) as whole:
            os.ftruncate(fd, 100)
            ended = _touch(whole, at, how)
            os.ftruncate(fd, PAGE)
            return ended, digest(view[:]), digest(whole[:]), content(path)


@case.each(how=["read", "write"], at=[0, HEAD - 1, HEAD, HEAD + PAGE, 2 * HEAD])
def touched_after_a_cut(place: Place, how: str, at: int) -> object:
    """SIGBUS in a page wholly behind the end."""
    with mapped(place, 3 * HEAD) as (fd, view):
        view[:10] = b"0123456789"
        os.ftruncate(fd, HEAD + 10)
        return _touch(view, at, how), content(place / "file")


@case.each(cut=[0, 10, PAGE, HEAD - 10, HEAD + 10])
def cut_and_grown_under_a_map(place: Place, cut: int) -> object:
    """What was cut off is zeros when the file has grown again, dirty pages included."""
    with mapped(place, 3 * HEAD) as (fd, view):
        view[:] = pattern(3 * HEAD, 5)
        os.ftruncate(fd, cut)
        os.ftruncate(fd, 3 * HEAD)
        return digest(view[:]), digest(os.pread(fd, 3 * HEAD, 0)), content(place / "file")


@case.each(cut=[10, HEAD + 10])
def private_copies_and_a_cut(place: Place, cut: int) -> object:
    with mapped(place, 3 * HEAD, PRIVATE) as (fd, view):
        view[5:9] = b"mine"
        view[2 * HEAD : 2 * HEAD + 4] = b"lost"
        os.ftruncate(fd, cut)
        os.ftruncate(fd, 3 * HEAD)
        return view[:12], view[2 * HEAD : 2 * HEAD + 5], content(place / "file")


@case
def file_that_grows_under_a_map(place: Place) -> object:
    path = place.file("file", pattern(10))
    with opened(path) as fd:
        os.ftruncate(fd, 3 * HEAD)
        with mmap.mmap(fd, 3 * HEAD, SHARED, BOTH) as view:
            os.ftruncate(fd, 10)
            os.pwrite(fd, b"far", 2 * HEAD)
            view[HEAD : HEAD + 4] = b"here"
            return digest(view[: 2 * HEAD]), content(path)


@case
def truncated_by_open_under_a_map(place: Place) -> object:
    with mapped(place, 2 * HEAD) as (fd, view):
        view[:4] = b"lost"
        os.close(os.open(place / "file", os.O_WRONLY | os.O_TRUNC))
        ended = _touch(view, 0, "read")
        os.pwrite(fd, b"new", 0)
        return ended, view[:5], content(place / "file")


# ---------------------------------------------------------------- what is refused

REFUSALS: dict[str, Callable[[int], mmap.mmap]] = {
    "length 0 of an empty file": lambda fd: mmap.mmap(fd, 0),
    "shared, writable": lambda fd: mmap.mmap(fd, 1, SHARED, BOTH),
    "shared, readable": lambda fd: mmap.mmap(fd, 1, SHARED, READ),
    "private, writable": lambda fd: mmap.mmap(fd, 1, PRIVATE, BOTH),
    "odd offset": lambda fd: mmap.mmap(fd, 1, SHARED, READ, offset=mmap.ALLOCATIONGRANULARITY),
}


@case.each(how=["RDONLY", "WRONLY", "RDWR", "PATH"], what=list(REFUSALS)[1:4])
def map_through_descriptor(place: Place, how: str, what: str) -> object:
    with opened(place.file("file", b"data"), getattr(os, f"O_{how}")) as fd:
        view = place.attempt(REFUSALS[what], fd)
        if isinstance(view, mmap.mmap):
            view.close()
            return "mapped"
        return view


def _raw_map(place: Place, fd: int, length: int, kind: int, offset: int = 0) -> str:
    """mmap(2) itself: Python checks the size of the file first."""
    size = ctypes.c_size_t(length)
    found = place.libc.long("mmap", None, size, READ, kind, fd, ctypes.c_long(offset))
    place.libc.munmap(ctypes.c_void_p(found), size)
    return "mapped"


@case.each(target=["directory", "fifo"])
def map_of_what_is_no_file(place: Place, target: str) -> object:
    place.directory("directory")
    os.mkfifo(place / "fifo")
    with opened(place / target, os.O_RDONLY | os.O_NONBLOCK) as fd:
        return place.attempt(_raw_map, place, fd, PAGE, SHARED)


@case.each(length=[0, 1, 100 * PAGE], offset=[0, 100, PAGE, 100 * PAGE])
def map_of_length_and_offset(place: Place, length: int, offset: int) -> object:
    """A map may be longer than the file; it may not start within a page."""
    with opened(place.file("file", pattern(2 * PAGE))) as fd:
        return place.attempt(_raw_map, place, fd, length, SHARED, offset)


@case
def map_sync(place: Place) -> object:
    """Only for persistent memory."""
    with opened(place.file("file", pattern(PAGE))) as fd:
        return place.attempt(_raw_map, place, fd, PAGE, MAP_SHARED_VALIDATE | MAP_SYNC)


# ---------------------------------------------------------------- times


@case
def loading_from_a_map_touches(place: Place) -> object:
    with mapped(place, 2 * HEAD) as (_fd, view):
        return place.touched(["file"], lambda: view[:])


@case.each(kind=["shared", "private"])
def storing_to_a_map_and_msync_touch(place: Place, kind: str) -> object:
    with mapped(place, 2 * HEAD, SHARED if kind == "shared" else PRIVATE) as (_fd, view):

        def store() -> None:
            view[HEAD : HEAD + 4] = b"here"
            view.flush()

        return place.touched(["file", "."], store)


@case
def msync_of_clean_pages_touches(place: Place) -> object:
    with mapped(place, 2 * HEAD) as (_fd, view):
        return place.touched(["file"], view.flush)
