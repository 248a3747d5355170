"""What Linux does to ranges of files, where Python has no function for it; in bytes."""

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

NO_CLONE: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EPERM}
)
"""Errors of ``clone_range`` after which a copy may still do it."""

_NOT_IN_THE_KERNEL: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.ETXTBSY}
)
"""Errors of copy_file_range(2) after which read and write may still do it."""

_AT_ONCE: Final = 64 * 1024 * 1024
"""Bytes of a copy_file_range(2)."""
_BUFFER: Final = 1024 * 1024


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

    Of a file that is truncated meanwhile, what it still has when it is asked. A filesystem that
    knows no holes says that all is data, which is as good an answer.

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


def copy_data(source: int, target: int, size: int) -> int:
    """Copy the first ``size`` bytes, except for holes, to an empty file; returns how many that is.

    Of a source that is truncated meanwhile, what it still has. The target ends with its last data.

    Raises:
        OSError: they cannot be copied.
    """
    copied = 0
    for start, end in data_ranges(source, 0, size):
        at = start
        while at < end and (done := _copy_some(source, target, at, min(_AT_ONCE, end - at))):
            at += done
        copied += at - start
    return copied


def _copy_some(source: int, target: int, offset: int, length: int) -> int:
    """Copy up to ``length`` bytes; 0: the file ends here."""
    try:
        return os.copy_file_range(source, target, length, offset, offset)
    except OSError as error:
        if error.errno not in _NOT_IN_THE_KERNEL:
            raise
    data = os.pread(source, min(length, _BUFFER), offset)
    done = 0
    while done < len(data):
        done += os.pwrite(target, memoryview(data)[done:], offset + done)
    return done
