"""open(2): every combination of flags that means something, on every kind of object; O_DIRECT."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from mmap import mmap
from pathlib import Path

from tests.parity.files import HEAD, content, digest, kind, opened, pattern
from tests.parity.harness import Place, case

SIZE = 70_000
"""Bytes of a file that is there: more than the head."""

FLAGS: Mapping[str, int] = {
    "RDONLY": os.O_RDONLY,
    "WRONLY": os.O_WRONLY,
    "RDWR": os.O_RDWR,
    "ACCMODE": os.O_ACCMODE,
    "RDONLY_TRUNC": os.O_RDONLY | os.O_TRUNC,
    "WRONLY_TRUNC": os.O_WRONLY | os.O_TRUNC,
    "RDWR_APPEND": os.O_RDWR | os.O_APPEND,
    "WRONLY_APPEND_TRUNC": os.O_WRONLY | os.O_APPEND | os.O_TRUNC,
    "RDONLY_CREAT": os.O_RDONLY | os.O_CREAT,
    "WRONLY_CREAT": os.O_WRONLY | os.O_CREAT,
    "RDWR_CREAT_TRUNC": os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    "RDWR_CREAT_APPEND": os.O_RDWR | os.O_CREAT | os.O_APPEND,
    "RDWR_CREAT_EXCL": os.O_RDWR | os.O_CREAT | os.O_EXCL,
    "RDWR_CREAT_EXCL_TRUNC": os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_TRUNC,
    "RDONLY_EXCL": os.O_RDONLY | os.O_EXCL,
    "RDWR_NOFOLLOW": os.O_RDWR | os.O_NOFOLLOW,
    "RDWR_CREAT_NOFOLLOW": os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW,
    "RDWR_CREAT_EXCL_NOFOLLOW": os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW,
    "DIRECTORY": os.O_RDONLY | os.O_DIRECTORY,
    "DIRECTORY_NOFOLLOW": os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
    "DIRECTORY_RDWR": os.O_RDWR | os.O_DIRECTORY,
    "DIRECTORY_TRUNC": os.O_RDONLY | os.O_DIRECTORY | os.O_TRUNC,
    "DIRECTORY_CREAT": os.O_RDONLY | os.O_DIRECTORY | os.O_CREAT,
    "DIRECTORY_CREAT_EXCL": os.O_RDONLY | os.O_DIRECTORY | os.O_CREAT | os.O_EXCL,
    "PATH": os.O_PATH,
    "PATH_NOFOLLOW": os.O_PATH | os.O_NOFOLLOW,
    "PATH_DIRECTORY": os.O_PATH | os.O_DIRECTORY,
    "PATH_CREAT_TRUNC": os.O_PATH | os.O_CREAT | os.O_TRUNC,
    "RDWR_SYNC": os.O_RDWR | os.O_SYNC,
    "RDWR_CREAT_DSYNC": os.O_RDWR | os.O_CREAT | os.O_DSYNC,
    "RDONLY_NOATIME": os.O_RDONLY | os.O_NOATIME,
    "RDWR_CREAT_TRUNC_DIRECT": os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_DIRECT,
}


def _file(path: Path) -> None:
    path.write_bytes(pattern(SIZE))


def _link_to(target: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        _file(path.parent / "file")
        (path.parent / "folder").mkdir()
        path.symlink_to(target)

    return make


OBJECTS: Mapping[str, Callable[[Path], object]] = {
    "absent": lambda _path: None,
    "file": _file,
    "folder": Path.mkdir,
    "link_to_file": _link_to("file"),
    "link_to_folder": _link_to("folder"),
    "link_to_nothing": _link_to("nothing"),
    "link_to_itself": _link_to("object"),
    "fifo": os.mkfifo,
    "device": lambda path: os.mknod(path, 0o020666, os.makedev(1, 3)),
}


@case.each(target=list(OBJECTS), flags=list(FLAGS))
def open_with(place: Place, target: str, flags: str) -> object:
    """The result, what the descriptor can do, and what is there afterwards."""
    path = place / "object"
    OBJECTS[target](path)
    # No other process ever opens the FIFO, and nobody shall wait for it.
    waits = os.O_NONBLOCK if target == "fifo" else 0
    return place.attempt(_use, place, path, FLAGS[flags] | waits), place.tree()


def _use(place: Place, path: Path, flags: int) -> object:
    with opened(path, flags, 0o640) as fd:
        facts = os.fstat(fd)
        size = facts.st_size if kind(facts.st_mode) == "-" else 0
        return (
            f"{kind(facts.st_mode)}{facts.st_mode:o}",
            size,
            f"{fcntl.fcntl(fd, fcntl.F_GETFL):o}",
            "skipped" if flags & os.O_DIRECT else place.attempt(_read, fd),
            "skipped" if flags & os.O_DIRECT else place.attempt(os.write, fd, bytes(64)),
            place.attempt(os.lseek, fd, 0, os.SEEK_CUR),
            place.attempt(os.ftruncate, fd, 10),
            place.attempt(os.fchmod, fd, 0o600),
            place.attempt(os.fsync, fd),
        )


def _read(fd: int) -> str:
    return digest(os.read(fd, 100))


@case.each(flags=["RDONLY", "RDWR_CREAT", "DIRECTORY", "PATH", "WRONLY_TRUNC"])
def open_with_a_slash_behind_the_name(place: Place, flags: str) -> object:
    _file(place / "file")
    place.directory("folder")
    place.symlink("link", "folder")
    place.symlink("broken", "absent")
    chosen = {**FLAGS, "RDWR_CREAT": os.O_RDWR | os.O_CREAT}[flags]
    names = ("file/", "folder/", "link/", "absent/", "broken/", "file/.", "folder/.", "file/..")
    seen = {}
    for name in names:
        # As a string: pathlib would take the slash away.
        seen[name] = place.attempt(_open_and_close, f"{place.path}/{name}", chosen)
    return seen, place.tree()


def _open_and_close(path: str, flags: int) -> str:
    fd = os.open(path, flags)
    try:
        return kind(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


# ---------------------------------------------------------------- O_DIRECT


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
