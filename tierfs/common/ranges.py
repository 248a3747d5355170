"""What Linux does to a range of a file, where Python has no function for it; in bytes."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from typing import Final

KEEP_SIZE: Final = 0x01
PUNCH_HOLE: Final = 0x02
ZERO_RANGE: Final = 0x10
"""Modes of fallocate(2), from linux/falloc.h; 0 allocates and extends the file."""

_FICLONERANGE: Final = 0x4020940D
"""_IOW(0x94, 13, struct file_clone_range) of linux/fs.h."""

_CLONE_RANGE: Final = struct.Struct("=qQQQ")
"""struct file_clone_range: descriptor and offset of the source, length, offset of the target."""

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Allocate, punch or zero a range (fallocate(2)).

    Raises:
        OSError: EOPNOTSUPP, the filesystem cannot do that; and others.
    """
    where = ctypes.c_int64(offset), ctypes.c_int64(length)
    while _LIBC.fallocate(fd, mode, *where) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:  # a signal, as after PEP 475
            raise OSError(number, os.strerror(number))


def clone_range(fd: int, offset: int, length: int, source: int, source_offset: int) -> None:
    """Let a range share its blocks with one of another file (ioctl_ficlonerange(2)).

    Raises:
        OSError: EOPNOTSUPP, EXDEV, ENOTTY or EINVAL, it cannot be done here; and others.
    """
    fcntl.ioctl(fd, _FICLONERANGE, _CLONE_RANGE.pack(source, source_offset, length, offset))


def data_ranges(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Beginning and end of each range of data between ``start`` and ``end``, in order; bytes.

    Of a file that is cut meanwhile, what it still has when it is asked. A filesystem that knows no
    holes says that all is data, which is as good an answer.

    Raises:
        OSError: the file cannot be asked.
    """
    at = start
    while at < end:
        try:
            begin = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole follows, or nothing any longer
                return
            raise
        if begin < end:
            yield begin, min(at, end)
