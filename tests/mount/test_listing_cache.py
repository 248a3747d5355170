"""The kernel caches listings; what it shows is never older than the opening of the directory."""

from __future__ import annotations

import ctypes
import os
import struct

from tests.support.mounting import Mount

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.getdents64.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
_HEADER = struct.Struct("=QqHB")
"""d_ino, d_off, d_reclen and d_type of getdents64(2); the name comes behind them."""


def getdents(directory: int, room: int) -> list[str]:
    """The names of one call."""
    buffer = ctypes.create_string_buffer(room)
    length = _LIBC.getdents64(directory, buffer, room)
    assert length >= 0, os.strerror(ctypes.get_errno())
    names, at = [], 0
    while at < length:
        size = _HEADER.unpack_from(buffer.raw, at)[2]
        names.append(buffer.raw[at + _HEADER.size : at + size].split(b"\0")[0].decode())
        at += size
    return names


def test_an_older_listing_that_ends_now_is_not_continued(mounted: Mount) -> None:
    """The kernel looks only at a listing's beginning whether what it cached is still true."""
    top = mounted.path / "d"
    top.mkdir()
    names = [f"{number:0200}" for number in range(60)]
    for name in names:
        (top / name).touch()
    first, second = (os.open(top, os.O_RDONLY | os.O_DIRECTORY) for _ in range(2))
    begun = getdents(first, 4096)
    assert 2 < len(begun) < len(names)
    for name in names[:-1]:
        (top / name).unlink()
    listed = getdents(second, 65536)
    while getdents(first, 4096):
        pass
    while more := getdents(second, 65536):
        listed += more
    for directory in (first, second):
        os.close(directory)
    assert sorted(listed) == [".", "..", names[-1]]
