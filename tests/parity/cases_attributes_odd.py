"""Where the attributes of files of two filesystems may well differ, and calls that few make."""

from __future__ import annotations

import array
import fcntl
import os
from collections.abc import Callable
from ctypes import c_int, create_string_buffer

from tests.parity.harness import Place, case
from tests.parity.making import CONTENT, make
from tests.support.proc import run

GET_FLAGS = 0x80086601
SET_FLAGS = 0x40086602
GET_PROJECT = 0x801C581F
NO_DUMP = 0x40
HANDLE_BYTES = 128
AT_FDCWD = -100
Step = Callable[[int], object]


@case
def blocks_of_a_file_with_a_hole(place: Place) -> object:
    path = make(place / "it")
    os.truncate(path, 1_000_000)
    with place.opened("it", os.O_RDWR) as fd:
        os.fsync(fd)
    return path.stat().st_blocks


HOLES: dict[str, tuple[Step, ...]] = {
    "write far away": (lambda fd: os.pwrite(fd, b"end", 900_000),),
    "write after a hole, then into it": (
        lambda fd: os.pwrite(fd, b"end", 900_000),
        lambda fd: os.pwrite(fd, bytes(100_000), 300_000),
    ),
    "fill the hole": (
        lambda fd: os.ftruncate(fd, 300_000),
        lambda fd: os.pwrite(fd, bytes(300_000), 0),
    ),
    "a hole within one block": (lambda fd: os.pwrite(fd, b"end", 100),),
    "grow within the last block": (lambda fd: os.ftruncate(fd, 4096),),
    "grow by a byte": (lambda fd: os.ftruncate(fd, 4096), lambda fd: os.ftruncate(fd, 4097)),
    "cut the hole away": (
        lambda fd: os.ftruncate(fd, 300_000),
        lambda fd: os.ftruncate(fd, 4096),
    ),
    "cut into the hole": (
        lambda fd: os.pwrite(fd, bytes(8192), 500_000),
        lambda fd: os.ftruncate(fd, 400_000),
    ),
    "cut to nothing, then write": (
        lambda fd: os.ftruncate(fd, 300_000),
        lambda fd: os.ftruncate(fd, 0),
        lambda fd: os.pwrite(fd, bytes(9000), 0),
    ),
    "sync": (lambda fd: os.pwrite(fd, b"end", 900_000), os.fsync),
}
"""What makes a hole, or changes one: calls on a file that has a few bytes."""


@case.each(how=HOLES)
def blocks_after_each_step(place: Place, how: str) -> object:
    """Asked at once, through the descriptor and by name, and by a listing that knows the file."""
    path = make(place / "it")
    seen = []
    with place.opened("it", os.O_RDWR) as fd:
        for step in HOLES[how]:
            step(fd)
            listed = [entry.stat().st_blocks for entry in os.scandir(place.path)]
            seen.append((os.fstat(fd).st_blocks, path.stat().st_blocks, listed))
    return seen


@case.each(command=[["du", "-B512"], ["du", "-B1", "--apparent-size"], ["stat", "-c%b"]])
def usage_of_a_file_with_a_hole(place: Place, command: list[str]) -> object:
    """du(1) and stat(1) ask with statx(2)."""
    os.truncate(make(place / "it"), 1_000_000)
    return run([*command, "it"], cwd=place.path).stdout


@case.each(
    command=[
        "cp --sparse=always it copy",
        "rsync -S it copy",
        "tar -cSf tar --hole-detection=raw it; mkdir out; tar -xSf tar -C out; mv out/it copy",
    ]
)
def copies_without_the_holes(place: Place, command: str) -> object:
    """By programs that look for zeros; tar does so only where the blocks show a hole."""
    with place.opened("it", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"end", 3 * 1024 * 1024)  # cp takes whole buffers for holes
    run(["sh", "-c", f"set -e; {command}"], cwd=place.path)
    archive = place / "tar"
    small = archive.stat().st_size < 100_000 if archive.exists() else None
    return (place / "copy").stat().st_blocks, small


@case.each(kind=["file", "directory"])
def preferred_block_size(place: Place, kind: str) -> object:
    return make(place / "it", kind).stat().st_blksize


@case.each(entries=[0, 10])
def size_of_a_directory(place: Place, entries: int) -> object:
    for number in range(entries):
        make(place / f"{number}")
    return place.path.stat().st_size


@case
def size_of_a_full_directory(place: Place) -> object:
    """Of which only this is common: it is not 0, and every call shows the same."""
    for number in range(40):
        (place / f"{number}-{'x' * 240}").touch()
    size = place.path.stat().st_size
    with place.opened(".") as fd:
        again = os.fstat(fd).st_size
    printed = run(["stat", "-c%s", "."], cwd=place.path).stdout
    return size > 0, again == size, printed == f"{size}\n"


@case.each(kind=["file", "directory"])
def read_flags(place: Place, kind: str) -> object:
    """lsattr(1)."""
    make(place / "it", kind)
    with place.opened("it") as fd:
        flags = array.array("l", [0])
        return place.attempt(fcntl.ioctl, fd, GET_FLAGS, flags), flags[0] & NO_DUMP


@case
def set_flags(place: Place) -> object:
    """chattr(1)."""
    make(place / "it")
    with place.opened("it") as fd:
        return place.attempt(fcntl.ioctl, fd, SET_FLAGS, array.array("l", [NO_DUMP]))


@case
def read_project(place: Place) -> object:
    make(place / "it")
    with place.opened("it") as fd:
        return place.attempt(fcntl.ioctl, fd, GET_PROJECT, bytearray(28)) == 0


@case
def unknown_ioctl(place: Place) -> object:
    make(place / "it")
    with place.opened("it") as fd:
        return place.attempt(fcntl.ioctl, fd, 0x7B00, 0)


@case.each(kind=["file", "directory"])
def open_by_handle(place: Place, kind: str) -> object:
    """What name_to_handle_at(2) named is found again while the kernel remembers it."""
    path = os.fsencode(make(place / "it", kind))
    handle = create_string_buffer(HANDLE_BYTES.to_bytes(4, "little"), HANDLE_BYTES + 8)
    mount = create_string_buffer(4)
    named = place.attempt(place.libc.name_to_handle_at, AT_FDCWD, path, handle, mount, 0)
    anchor = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fd = place.attempt(place.libc.open_by_handle_at, anchor, handle, c_int(os.O_RDONLY))
    finally:
        os.close(anchor)
    if not isinstance(fd, int):
        return named, fd
    try:
        return named, os.read(fd, 100) == CONTENT if kind == "file" else os.listdir(fd)
    finally:
        os.close(fd)
