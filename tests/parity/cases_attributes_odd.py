"""Where the attributes of files of two filesystems may well differ, and calls that few make."""

from __future__ import annotations

import array
import fcntl
import os
from ctypes import c_int, create_string_buffer

from tests.parity.harness import Place, case
from tests.parity.making import CONTENT, make

GET_FLAGS = 0x80086601
SET_FLAGS = 0x40086602
GET_PROJECT = 0x801C581F
NO_DUMP = 0x40
HANDLE_BYTES = 128
AT_FDCWD = -100


@case
def blocks_of_a_file_with_a_hole(place: Place) -> object:
    path = make(place / "it")
    os.truncate(path, 1_000_000)
    with place.opened("it", os.O_RDWR) as fd:
        os.fsync(fd)
    return path.stat().st_blocks


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
    for number in range(40):
        (place / f"{number}-{'x' * 240}").touch()
    return place.path.stat().st_size


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
