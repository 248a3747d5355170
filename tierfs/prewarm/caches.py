"""What the kernel holds of a file: asked without reading it, and without the daemon's knowledge."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from typing import Final, NamedTuple

from tierfs.common.errors import TierfsError

PAGE: Final = mmap.PAGESIZE
"""Bytes; what the page cache counts in."""

# The numbers are the same on every architecture but alpha (scripts/syscall.tbl of Linux).
_OPENAT2: Final = 437
_CACHESTAT: Final = 451
_AT_FDCWD: Final = -100
_RESOLVE_CACHED: Final = 0x20
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_LIBC.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)

_NOT_TOLD: Final = "only its owner, root and who may write it are told what memory holds of it"

_MAPPED_AT_ONCE: Final = 1024**3
"""Bytes of address space for mincore(2), which answers with a byte for each page."""


class _OpenHow(ctypes.Structure):
    """openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _Range(ctypes.Structure):
    """cachestat(2)."""

    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _Counts(ctypes.Structure):
    """cachestat(2); pages."""

    _fields_ = (
        ("cached", ctypes.c_uint64),
        ("dirty", ctypes.c_uint64),
        ("writeback", ctypes.c_uint64),
        ("evicted", ctypes.c_uint64),
        ("recently_evicted", ctypes.c_uint64),
    )


class Span(NamedTuple):
    """A part of a file in bytes, and how many of them are in the page cache."""

    length: int
    warm: int

    @property
    def is_warm(self) -> bool:
        """Whether all of it is; nothing at all is warm."""
        return self.warm >= self.length


def is_name_cached(path: bytes) -> bool:
    """Whether the kernel finds ``path`` without asking a filesystem (RESOLVE_CACHED, Linux 5.12).

    Raises:
        OSError: the kernel knows that there is no such file, or that it may not be looked up.
        ValueError: there is a NUL byte in it.
        TierfsError: this kernel cannot tell.
    """
    if b"\0" in path:
        raise ValueError("embedded null byte")
    how = _OpenHow(os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _RESOLVE_CACHED)
    descriptor = _LIBC.syscall(
        _OPENAT2, _AT_FDCWD, path, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))
    )
    if descriptor >= 0:
        os.close(descriptor)
        return True
    number = ctypes.get_errno()
    if number == errno.EAGAIN:
        return False
    if number in {errno.ENOSYS, errno.EINVAL}:
        raise TierfsError("this kernel cannot tell what names it remembers: Linux 5.12 can")
    raise OSError(number, os.strerror(number))


def cached(descriptor: int, offset: int, length: int) -> Span:
    """How much of a range of a file is in the page cache (cachestat(2), or mincore(2)).

    Raises:
        OSError: EPERM: only who may write the file, its owner and root are told.
    """
    if length <= 0:
        return Span(0, 0)
    first = offset // PAGE
    pages = (offset + length - 1) // PAGE - first + 1
    held = min(_cached_pages(descriptor, first * PAGE, pages * PAGE), pages)
    return Span(length, length if held == pages else min(held * PAGE, length))


def _cached_pages(descriptor: int, offset: int, length: int) -> int:
    asked, counts = _Range(offset, length), _Counts()
    if not _LIBC.syscall(
        _CACHESTAT, descriptor, ctypes.byref(asked), ctypes.byref(counts), ctypes.c_uint(0)
    ):
        return int(counts.cached)
    number = ctypes.get_errno()
    if number == errno.ENOSYS:  # before Linux 6.5
        return resident_pages(descriptor, offset, length)
    raise OSError(number, _NOT_TOLD if number == errno.EPERM else os.strerror(number))


def resident_pages(descriptor: int, offset: int, length: int) -> int:
    """How many pages of a range, which begins and ends with a page, mincore(2) finds.

    Raises:
        OSError: EPERM: mincore(2) would say that everything is there.
    """
    if not _may_ask(descriptor):
        raise PermissionError(errno.EPERM, _NOT_TOLD)
    starts = range(offset, offset + length, _MAPPED_AT_ONCE)
    return sum(
        _mincore(descriptor, start, min(_MAPPED_AT_ONCE, offset + length - start))
        for start in starts
    )


def _may_ask(descriptor: int) -> bool:
    """can_do_mincore() of mm/mincore.c."""
    if os.geteuid() in {0, os.fstat(descriptor).st_uid}:
        return True
    return os.access(f"/proc/self/fd/{descriptor}", os.W_OK, effective_ids=True)


def _mincore(descriptor: int, offset: int, length: int) -> int:
    address = _LIBC.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, offset)
    if address == _MAP_FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    vector = ctypes.create_string_buffer(-(-length // PAGE))
    try:
        if _LIBC.mincore(address, length, vector):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        _LIBC.munmap(address, length)
    return sum(byte & 1 for byte in vector.raw)
