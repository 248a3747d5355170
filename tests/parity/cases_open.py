"""open(2) and its kin beyond the flags: modes and umask, times, O_TMPFILE, O_APPEND, /proc."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parity.files import (
    HEAD,
    content,
    digest,
    kind,
    opened,
    pattern,
)
from tests.parity.harness import Place, case

NOBODY = 65_534
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL
AT_SYMLINK_FOLLOW = 0x400
AT_FDCWD = -100


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


# ---------------------------------------------------------------- modes


@case.each(mode=[0o777, 0o666, 0o000, 0o4755, 0o2755, 0o1777, 0o7777, 0o17777], mask=[0, 0o027])
def create_with_mode(place: Place, mode: int, mask: int) -> object:
    with umask(mask), opened(place / "file", CREATE, mode) as fd:
        return f"{os.fstat(fd).st_mode:o}", place.stat("file")


@case.each(flags=[os.O_RDONLY, os.O_RDWR, os.O_WRONLY])
def created_without_permissions_but_open(place: Place, flags: int) -> object:
    """Whoever makes a file may use the descriptor, whatever the mode says."""
    place.path.chmod(0o777)

    def use() -> object:
        with opened(place / "file", os.O_CREAT | flags, 0) as fd:
            done = place.attempt(os.write, fd, b"data"), place.attempt(os.pread, fd, 4, 0)
        return done, place.attempt(_open_kind, place / "file", flags)

    return place.as_user(NOBODY, NOBODY, [], use), place.tree()


def _open_kind(path: Path, flags: int) -> str:
    with opened(path, flags) as fd:
        return kind(os.fstat(fd).st_mode)


@case.each(flags=["TRUNC", "CREAT|TRUNC", "CREAT|EXCL|TRUNC"])
def truncating_what_may_not_be_written(place: Place, flags: str) -> object:
    place.file("file", b"kept").chmod(0o444)
    chosen = 0
    for name in flags.split("|"):
        chosen |= getattr(os, f"O_{name}")
    found = place.as_user(NOBODY, NOBODY, [], _open_kind, place / "file", chosen)
    return found, place.tree()


@case
def noatime_by_a_stranger(place: Place) -> object:
    place.file("file", b"data")
    flags = os.O_RDONLY | os.O_NOATIME
    return place.as_user(NOBODY, NOBODY, [], _open_kind, place / "file", flags)


# ---------------------------------------------------------------- times


@case.each(flags=["RDONLY", "RDWR", "APPEND", "CREAT", "TRUNC", "PATH"])
def open_touches_of_a_file(place: Place, flags: str) -> object:
    place.file("file", b"data")
    chosen = getattr(os, f"O_{flags}") | (os.O_WRONLY if flags in {"APPEND", "TRUNC"} else 0)
    return place.touched(["file", "."], _open_kind, place / "file", chosen)


@case
def open_touches_of_an_empty_file_that_is_truncated(place: Place) -> object:
    place.file("file")
    return place.touched(["file", "."], _open_kind, place / "file", os.O_WRONLY | os.O_TRUNC)


@case
def create_touches(place: Place) -> object:
    place.directory("folder")
    path = place / "folder/file"
    return place.touched([".", "folder", "folder/file"], _open_kind, path, CREATE)


@case
def failed_create_touches_nothing(place: Place) -> object:
    path = place.file("file")

    def fail() -> None:
        place.attempt(os.open, path, CREATE)

    return place.touched([".", "file"], fail)


# ---------------------------------------------------------------- O_TMPFILE


def _temporary(place: Place, flags: int, mode: int = 0o640) -> object:
    with opened(place.path, os.O_TMPFILE | flags, mode) as fd:
        os.write(fd, b"data")
        facts = os.fstat(fd)
        name = place.attempt(_link_descriptor, place, fd, bytes(place / "named"))
        return f"{facts.st_mode:o}", facts.st_nlink, os.listdir(place.path), name


@case.each(flags=["RDWR", "WRONLY", "EXCL"])
def temporary_file(place: Place, flags: str) -> object:
    chosen = getattr(os, f"O_{flags}") | (os.O_RDWR if flags == "EXCL" else 0)
    return place.attempt(_temporary, place, chosen), place.tree()


@case
def temporary_file_that_cannot_be_written(place: Place) -> object:
    return place.attempt(os.open, place.path, os.O_TMPFILE | os.O_RDONLY)


@case
def temporary_file_in_a_file(place: Place) -> object:
    path = place.file("file")
    return place.attempt(os.open, path, os.O_TMPFILE | os.O_RDWR)


@case
def temporary_file_in_nothing(place: Place) -> object:
    return place.attempt(os.open, place / "absent", os.O_TMPFILE | os.O_RDWR)


# ---------------------------------------------------------------- O_APPEND, O_SYNC


@case
def append_ignores_the_position(place: Place) -> object:
    path = place.file("file", pattern(HEAD - 2))
    with opened(path, os.O_RDWR | os.O_APPEND) as fd:
        os.lseek(fd, 10, os.SEEK_SET)
        os.write(fd, b"first")
        after = os.lseek(fd, 0, os.SEEK_CUR)
        positioned = os.pwrite(fd, b"second", 0)  # Linux appends, pwrite(2), BUGS
        return after, positioned, content(path)


@case
def append_through_two_descriptors(place: Place) -> object:
    path = place.file("file")
    flags = os.O_WRONLY | os.O_APPEND
    with opened(path, flags) as first, opened(path, flags) as second:
        for number in range(30):
            os.write((first, second)[number % 2], b"%d," % number)
    return path.read_bytes()


@case
def append_switched_on_and_off(place: Place) -> object:
    path = place.file("file", b"0123456789")
    with opened(path) as fd:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_APPEND)
        os.write(fd, b"end")
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        os.pwrite(fd, b"start", 0)
    return path.read_bytes()


@case
def append_after_a_cut(place: Place) -> object:
    path = place.file("file", pattern(2 * HEAD))
    with opened(path, os.O_RDWR | os.O_APPEND) as fd:
        os.ftruncate(fd, HEAD - 3)
        os.write(fd, b"across")
    return content(path)


@case.each(flag=["SYNC", "DSYNC", "RSYNC"], size=[1, HEAD, HEAD + 5])
def synchronous_writes(place: Place, flag: str, size: int) -> object:
    path = place / "file"
    with opened(path, CREATE | getattr(os, f"O_{flag}")) as fd:
        wrote = os.write(fd, pattern(size)), os.pwrite(fd, b"again", size - 1)
    return wrote, content(path)


# ---------------------------------------------------------------- descriptors and /proc


@case.each(flags=["RDONLY", "RDWR", "TRUNC"])
def reopened_through_proc_after_unlink(place: Place, flags: str) -> object:
    path = place.file("file", pattern(HEAD + 9))
    chosen = getattr(os, f"O_{flags}") | (os.O_RDWR if flags == "TRUNC" else 0)
    with opened(path) as fd:
        path.unlink()
        with opened(Path(f"/proc/self/fd/{fd}"), chosen) as again:
            data = digest(os.pread(again, 2 * HEAD, 0))
            wrote = place.attempt(os.pwrite, again, b"more", HEAD)
            return data, wrote, digest(os.pread(fd, 2 * HEAD, 0)), os.fstat(fd).st_nlink


@case
def path_descriptor_becomes_a_real_one(place: Place) -> object:
    path = place.file("file", b"data")
    with opened(path, os.O_PATH) as fd, opened(Path(f"/proc/self/fd/{fd}")) as real:
        return place.attempt(os.read, fd, 4), os.read(real, 4)


@case.each(nlink=[1, 0])
def link_from_a_descriptor(place: Place, nlink: int) -> object:
    path = place.file("file", b"data")
    with opened(path) as fd:
        if not nlink:
            path.unlink()
        new = os.fsencode(place / "new")
        result = place.attempt(_link_descriptor, place, fd, new)
    return result, place.tree()


def _link_descriptor(place: Place, fd: int, target: bytes) -> int:
    source = f"/proc/self/fd/{fd}".encode()
    return place.libc.linkat(AT_FDCWD, source, AT_FDCWD, target, AT_SYMLINK_FOLLOW)


@case
def open_relative_to_a_directory_that_moves(place: Place) -> object:
    place.directory("folder")
    place.file("folder/file", b"data")
    with opened(place / "folder", os.O_RDONLY) as folder:
        (place / "folder").rename(place / "elsewhere")
        fd = os.open("file", os.O_RDONLY, dir_fd=folder)
        os.close(fd)
        os.close(os.open("new", CREATE, dir_fd=folder))
    return place.tree()


@case
def open_relative_to_a_removed_directory(place: Place) -> object:
    place.directory("folder")
    with opened(place / "folder", os.O_RDONLY) as folder:
        (place / "folder").rmdir()
        seen = [
            place.attempt(os.open, name, flags, dir_fd=folder)
            for name, flags in (("new", CREATE), ("old", os.O_RDONLY), ("..", os.O_WRONLY))
        ]
        return seen, os.fstat(folder).st_nlink, os.listdir(folder)


@case
def open_relative_to_a_file(place: Place) -> object:
    with opened(place.file("file")) as fd:
        return place.attempt(os.open, "name", os.O_RDONLY, dir_fd=fd)


@case.each(flags=["RDONLY", "WRONLY", "CREAT"])
def open_below_a_file(place: Place, flags: str) -> object:
    place.file("file")
    return place.attempt(_open_kind, place / "file" / "name", getattr(os, f"O_{flags}"))


@case
def many_descriptors_of_one_file(place: Place) -> object:
    """Each has a position of its own; copies made by dup share one."""
    path = place.file("file", b"0123456789")
    with opened(path) as first, opened(path) as second:
        copy = os.dup(first)
        seen = [os.read(fd, 2) for fd in (first, second, copy, second, first)]
        os.close(copy)
        return seen


# ---------------------------------------------------------------- programs being run


@case.each(flags=["WRONLY", "RDWR", "TRUNC", "RDONLY"])
def open_a_program_that_runs(place: Place, flags: str) -> object:
    program = place / "sleep"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([program, "30"]) as running:
        chosen = getattr(os, f"O_{flags}") | (os.O_WRONLY if flags == "TRUNC" else 0)
        seen = (
            place.attempt(_open_kind, program, chosen),
            place.attempt(os.truncate, program, 0) if flags == "TRUNC" else None,
        )
        running.kill()
    return seen, program.stat().st_size > 0


@case
def run_a_program_that_is_open_for_writing(place: Place) -> object:
    program = place / "true"
    shutil.copy(shutil.which("true") or "/bin/true", program)
    with opened(program, os.O_WRONLY):
        busy = place.attempt(_status_of, program)
    return busy, place.attempt(_status_of, program)


@case.each(mode=[0o644, 0o755])
def run_a_script(place: Place, mode: int) -> object:
    script = place.file("script", b"#!/bin/sh\nexit 3\n")
    script.chmod(mode)
    return place.attempt(_status_of, script)


def _status_of(program: Path) -> int:
    return subprocess.run([program], check=False, timeout=10).returncode
