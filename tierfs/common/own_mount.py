"""Calls that the mount of this process answers.

Killed while it waits for such a reply, a thread ends only when there is one (request_wait_answer in
fs/fuse/dev.c); and while it has the descriptor of the device, the kernel does not end the
connection, and no other daemon takes over: the mount would hang. So these calls are made by threads
that have left the descriptors of the process, as `tierfs/native/src/descriptors.h` does in C.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLOSE_RANGE: Final = 436
"""The same number on every architecture (scripts/syscall.tbl of Linux)."""

_UNSHARE: Final = 1 << 1
"""CLOSE_RANGE_UNSHARE."""

_FIRST: Final = 3
_LAST: Final = 2**32 - 1

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_STATX_DONT_SYNC: Final = 0x4000
_STATX_TYPE_AND_INO: Final = 0x001 | 0x100
_STATX: Final = struct.Struct("28x H 2x Q 96x II 112x")
"""stx_mode, stx_ino, and the two parts of stx_dev (linux/stat.h)."""


class Known(NamedTuple):
    """What the kernel knows of a file."""

    device: int
    """As ``st_dev``."""
    mode: int
    """Its type alone."""
    ino: int


def known_of(file: str | os.PathLike[str] | int) -> Known:
    """What the kernel knows of a path or descriptor; its filesystem is not asked (statx(2)).

    For a path the filesystems on the way may be asked.

    Raises:
        OSError: as stat(2).
    """
    descriptor, path, flags = _AT_FDCWD, b"", _AT_STATX_DONT_SYNC
    if isinstance(file, int):
        descriptor, flags = file, flags | _AT_EMPTY_PATH
    else:
        path = os.fsencode(file)
    found = ctypes.create_string_buffer(_STATX.size)
    if _LIBC.statx(descriptor, path, flags, _STATX_TYPE_AND_INO, found):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    mode, ino, major, minor = _STATX.unpack(found.raw)
    return Known(os.makedev(major, minor), mode, ino)


class OwnMountThread:
    """A thread that calls what is asked of our own mount; what it opens nobody else can use.

    A context manager; at its end the thread ends by itself, after the present call, and what it
    left open is closed.
    """

    def __init__(self, name: str, keep: Iterable[int] = ()) -> None:
        """``keep``: descriptors that it has as well, as they are now."""
        self._keep = sorted(keep)
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._work.put(None)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``function`` returns, or raises, in that thread: it has no descriptors of others."""
        future: Future[T] = Future()
        self._work.put((future, lambda: function(*args, **kwargs)))
        return future.result()

    def _run(self) -> None:
        first = _FIRST
        for kept in self._keep:
            _leave(first, kept - 1)
            first = kept + 1
        _leave(first, _LAST)
        while (work := self._work.get()) is not None:
            future, function = work
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - the caller gets it
                future.set_exception(error)
            else:
                future.set_result(result)
            del work, future, function  # else they would live until the next call


def _leave(first: int, last: int) -> None:
    """Close these descriptors of this thread, not of others; Linux before 5.9 cannot."""
    if first <= last:
        numbers = map(ctypes.c_uint, (first, last, _UNSHARE))
        _LIBC.syscall(ctypes.c_long(_CLOSE_RANGE), *numbers)


def call_own_mount(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``function`` returns, or raises, in an `OwnMountThread` of its own; for what is rare."""
    with OwnMountThread("tierfs-own") as thread:
        return thread.call(function, *args, **kwargs)
