"""Ranges of files at every edge: fallocate, holes, copy_file_range; files without a name; birth."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from tests.parity.actors import ACTORS, WHO, as_actor
from tests.parity.cases_data_sync import FALLOCATE_MODES
from tests.parity.files import HEAD, content, digest, opened, pattern
from tests.parity.harness import Place, case
from tests.parity.making import owned

PAGE = 4096
MODES = {name: mode for name, mode in FALLOCATE_MODES.items() if name not in {"collapse", "insert"}}
SIZES = [0, 1, PAGE + 1, HEAD - 1, HEAD, HEAD + 1, 3 * HEAD + 5]
EDGES = [0, PAGE - 1, PAGE, PAGE + 1, HEAD - 1, HEAD, HEAD + 1, 3 * HEAD, 20 * HEAD]
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_FOLLOW = 0x400
STATX_BTIME = 0x800
_BIRTH = struct.Struct("<qIi")
_BIRTH_AT = 80


def _fallocate(place: Place, fd: int, mode: int, offset: int, end: int) -> object:
    where = ctypes.c_long(offset), ctypes.c_long(end - offset)
    return place.attempt(place.libc.fallocate, fd, mode, *where)


def _ranges(size: int) -> list[tuple[int, int]]:
    edges = sorted({*EDGES, size - 1, size, size + 1} - {-1})
    return [(start, end) for start in edges for end in edges if start < end]


# ---------------------------------------------------------------- fallocate


@case.each(how=list(MODES), size=SIZES)
def fallocate_at_every_edge(place: Place, how: str, size: int) -> object:
    path = place.file("file")
    seen = {}
    for start, end in _ranges(size):
        with opened(path) as fd:
            os.ftruncate(fd, 0)
            os.pwrite(fd, pattern(size), 0)
            done = _fallocate(place, fd, MODES[how], start, end)
            seen[start, end] = done, os.fstat(fd).st_size, content(path)
    return seen


@case.each(how=["punch_hole", "allocate", "zero"], size=SIZES)
def blocks_after_fallocate(place: Place, how: str, size: int) -> object:
    """Of ranges of whole blocks: what becomes of others, each filesystem has its own mind about."""
    path = place.file("file")
    seen = {}
    for start, end in ((0, PAGE), (PAGE, 3 * PAGE), (HEAD - PAGE, HEAD + PAGE), (HEAD, 3 * HEAD)):
        with opened(path) as fd:
            os.ftruncate(fd, 0)
            os.pwrite(fd, pattern(size), 0)
            _fallocate(place, fd, MODES[how], start, end)
            os.fsync(fd)
        seen[start, end] = path.stat().st_blocks
    return seen


@case.each(how=list(MODES), start=[0, HEAD, 5 * HEAD])
def fallocate_touches(place: Place, how: str, start: int) -> object:
    with opened(place.file("file", pattern(2 * HEAD))) as fd:
        names, end = ["file", "."], start + HEAD
        return place.touched(names, _fallocate, place, fd, MODES[how], start, end)


@case.each(how=["allocate", "keep_size", "punch_hole", "zero"], who=list(WHO))
def set_id_on_fallocate(place: Place, how: str, who: str) -> object:
    path = owned(place / "it", mode=0o6777)

    def change() -> object:
        with opened(path, os.O_WRONLY) as fd:
            return _fallocate(place, fd, MODES[how], 0, PAGE)

    return as_actor(place, who, change), place.stat("it")


@case.each(size=[0, 100, HEAD, 2 * HEAD])
def posix_fallocate_and_append(place: Place, size: int) -> object:
    path = place.file("file", pattern(size))
    with opened(path, os.O_WRONLY | os.O_APPEND) as fd:
        os.posix_fallocate(fd, 0, HEAD + 10)
        os.write(fd, b"behind")
    return content(path), path.stat().st_size


@case
def allocated_blocks_are_written_in_place(place: Place) -> object:
    path = place.file("file")
    with opened(path) as fd:
        os.posix_fallocate(fd, 0, 4 * HEAD)
        for at in (3 * HEAD, HEAD - 3, 0, 2 * HEAD + 1):
            os.pwrite(fd, pattern(7, at), at)
        os.fsync(fd)
        return content(path), path.stat().st_blocks * 512 >= 4 * HEAD


@case
def punched_of_an_unlinked_file(place: Place) -> object:
    path = place.file("file", pattern(3 * HEAD))
    with opened(path) as fd:
        path.unlink()
        done = _fallocate(place, fd, MODES["punch_hole"], HEAD - 10, HEAD + 10)
        return done, digest(os.pread(fd, 4 * HEAD, 0)), place.stat(fd)


@case.each(how=["punch_hole", "zero"])
def what_is_cached_goes_with_a_hole(place: Place, how: str) -> object:
    path = place.file("file", pattern(3 * HEAD))
    with opened(path) as fd:
        before = digest(os.pread(fd, 3 * HEAD, 0))
        with mmap.mmap(fd, 3 * HEAD) as view:
            seen = digest(view[:])
            _fallocate(place, fd, MODES[how], HEAD - 100, HEAD + 5000)
            return before, seen, digest(view[:]), digest(os.pread(fd, 3 * HEAD, 0))


# ---------------------------------------------------------------- holes


def _holes(place: Place, fd: int) -> object:
    size = os.fstat(fd).st_size
    edges = sorted({*EDGES, size - 1, size, size + 1})
    return {
        (name, at): place.attempt(os.lseek, fd, at, whence)
        for name, whence in (("data", os.SEEK_DATA), ("hole", os.SEEK_HOLE))
        for at in edges
    }


PUNCHED: Mapping[str, list[tuple[int, int]]] = {
    "first": [(0, PAGE)],
    "all of the head": [(0, HEAD)],
    "around the edge": [(HEAD - PAGE, HEAD + PAGE)],
    "before and behind the edge": [(HEAD - 2 * PAGE, HEAD - PAGE), (HEAD + PAGE, HEAD + 2 * PAGE)],
    "all of the tail": [(HEAD, 4 * HEAD)],
    "the end": [(3 * HEAD, 4 * HEAD)],
    "parts of blocks": [(10, PAGE - 10), (HEAD - 100, HEAD + 100)],
    "everything": [(0, 4 * HEAD)],
}


@case.each(where=list(PUNCHED), size=[HEAD - 1, HEAD, 4 * HEAD, 4 * HEAD - 1])
def holes_are_where_they_were_punched(place: Place, where: str, size: int) -> object:
    with opened(place.file("file", pattern(size))) as fd:
        os.fsync(fd)
        for start, end in PUNCHED[where]:
            _fallocate(place, fd, MODES["punch_hole"], start, end)
        return _holes(place, fd)


@case.each(first=[0, PAGE, HEAD - PAGE, HEAD, 2 * HEAD], second=[3 * HEAD, 5 * HEAD + PAGE])
def holes_are_where_nothing_was_written(place: Place, first: int, second: int) -> object:
    with opened(place.file("file")) as fd:
        os.pwrite(fd, pattern(PAGE), first)
        os.pwrite(fd, pattern(10), second)
        seen = _holes(place, fd)
        os.ftruncate(fd, 20 * HEAD + 1)
        return seen, _holes(place, fd)


@case
def data_that_is_only_mapped(place: Place) -> object:
    """A page that was stored to and not yet written back is no hole."""
    with opened(place.file("file")) as fd:
        os.ftruncate(fd, 4 * HEAD)
        with mmap.mmap(fd, 4 * HEAD) as view:
            view[3 * HEAD] = 1
            return os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 3 * HEAD, os.SEEK_HOLE)


# ---------------------------------------------------------------- copy_file_range


@case.each(size=SIZES, to=[0, 1, PAGE, HEAD - 1, HEAD, HEAD + PAGE, 10 * HEAD])
def copy_at_every_edge(place: Place, size: int, to: int) -> object:
    source, target = place.file("source", pattern(size)), place.file("target")
    seen = {}
    for start, end in _ranges(size):
        with opened(source) as fd, opened(target) as out:
            os.ftruncate(out, 0)
            os.pwrite(out, pattern(2 * HEAD, 9), 0)
            copied = os.copy_file_range(fd, out, end - start, start, to)
            seen[start, end] = copied, os.fstat(out).st_size, content(target)
    return seen


@case.each(to=[HEAD, 2 * HEAD, 20 * HEAD])
def copy_within_a_file(place: Place, to: int) -> object:
    path = place.file("file", pattern(3 * HEAD))
    with opened(path) as fd:
        copied = [
            place.attempt(os.copy_file_range, fd, fd, length, start, to)
            for start in (0, PAGE + 1, HEAD - 1)
            for length in (1, HEAD, HEAD + 1)
        ]
    return copied, content(path)


@case
def copy_of_what_was_just_written(place: Place) -> object:
    source, target = place.file("source", pattern(3 * HEAD)), place.file("target", bytes(HEAD))
    with opened(source) as fd, opened(target) as out, mmap.mmap(fd, 3 * HEAD) as view:
        os.pread(out, HEAD, 0)
        view[HEAD - 1 : HEAD + 1] = b"ab"
        os.pwrite(fd, b"cd", 10)
        os.copy_file_range(fd, out, 3 * HEAD, 0, 0)
        return content(source), content(target), digest(os.pread(out, 4 * HEAD, 0))


@case.each(who=list(WHO))
def set_id_on_copy(place: Place, who: str) -> object:
    source = place.file("source", pattern(HEAD))
    path = owned(place / "it", mode=0o6777)

    def change() -> int:
        with opened(source, os.O_RDONLY) as fd, opened(path, os.O_WRONLY) as out:
            return os.copy_file_range(fd, out, 100, 0, 0)

    return as_actor(place, who, change), place.stat("it")


# ---------------------------------------------------------------- files without a name


def _named(place: Place, fd: int, name: str, *, by_path: bool) -> object:
    path = bytes(place / name)
    if by_path:
        source = b"/proc/self/fd/%d" % fd
        return place.attempt(place.libc.linkat, AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW)
    return place.attempt(place.libc.linkat, fd, b"", AT_FDCWD, path, AT_EMPTY_PATH)


@case.each(by_path=[False, True], exclusive=[False, True])
def nameless_file_gets_a_name(place: Place, by_path: bool, exclusive: bool) -> object:  # noqa: FBT001 - a parameter
    flags = os.O_TMPFILE | os.O_RDWR | (os.O_EXCL if exclusive else 0)
    with opened(place.path, flags, 0o640) as fd:
        os.write(fd, pattern(3 * HEAD))
        os.fsync(fd)
        before = place.stat(fd), os.listdir(place.path)
        named = [_named(place, fd, name, by_path=by_path) for name in ("one", "two", "one")]
        os.pwrite(fd, b"more", HEAD - 2)
        return before, named, place.stat(fd), place.tree()


@case
def nameless_file_that_loses_its_name_again(place: Place) -> object:
    with opened(place.path, os.O_TMPFILE | os.O_RDWR) as fd:
        os.write(fd, pattern(2 * HEAD))
        named = _named(place, fd, "one", by_path=True)
        os.unlink(place / "one")
        again = _named(place, fd, "two", by_path=True)
        return named, again, place.stat(fd), digest(os.pread(fd, 3 * HEAD, 0)), place.tree()


@case.each(who=list(WHO), mode=[0o777, 0o2777, 0o755])
def nameless_file_of_somebody(place: Place, who: str, mode: int) -> object:
    folder = place.directory("folder", mode)
    os.chown(folder, ACTORS["owner"].uid, ACTORS["owner"].gid)
    folder.chmod(mode)

    def make() -> object:
        with opened(folder, os.O_TMPFILE | os.O_RDWR, 0o666) as fd:
            facts = os.fstat(fd)
            return oct(facts.st_mode), facts.st_uid, facts.st_gid, facts.st_nlink

    return as_actor(place, who, make)


@case
def nameless_file_touches(place: Place) -> object:
    def make() -> None:
        with opened(place.path, os.O_TMPFILE | os.O_RDWR) as fd:
            os.write(fd, b"data")

    return place.touched(["."], make)


@case
def nameless_files_have_bytes_of_their_own(place: Place) -> object:
    with (
        opened(place.path, os.O_TMPFILE | os.O_RDWR) as one,
        opened(place.path, os.O_TMPFILE | os.O_RDWR) as two,
    ):
        os.write(one, b"one")
        os.write(two, pattern(HEAD + 1))
        os.ftruncate(two, HEAD)
        with opened(Path(f"/proc/self/fd/{one}"), os.O_RDONLY) as again:
            return os.read(again, 10), digest(os.pread(two, 2 * HEAD, 0)), os.fstat(one).st_nlink


# ---------------------------------------------------------------- birth


def _birth(place: Place, name: str) -> tuple[int, int]:
    """Seconds and nanoseconds."""
    buffer = ctypes.create_string_buffer(256)
    place.libc.statx(AT_FDCWD, bytes(place / name), 0x100, STATX_BTIME, buffer)
    seconds, nanoseconds, _ = _BIRTH.unpack_from(buffer, _BIRTH_AT)
    return seconds, nanoseconds


@case.each(kind=["file", "directory", "symlink", "fifo"])
def birth_is_the_first_change(place: Place, kind: str) -> object:
    if kind == "fifo":
        os.mkfifo(place / "it")
    elif kind == "symlink":
        place.symlink("it", "target")
    else:
        getattr(place, kind)("it")
    facts = (place / "it").lstat()
    born = _birth(place, "it")
    moment = born[0] * 10**9 + born[1]
    return 0 < moment <= facts.st_ctime_ns, facts.st_ctime_ns - moment < 10**9


@case
def birth_stays(place: Place) -> object:
    path = place.file("it", pattern(HEAD))
    born = _birth(place, "it")
    path.write_bytes(pattern(2 * HEAD))
    path.chmod(0o600)
    os.utime(path, (5, 5))
    os.link(path, place / "link")
    os.rename(path, place / "other")
    return born > (0, 0), _birth(place, "other") == born, _birth(place, "link") == born
