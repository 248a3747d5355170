"""What is timed: loops over paths that do little besides the system calls.

Paths are bytes, encoded before; a buffer is made once. What Python adds to each call (well below
a microsecond) is the same on every side. Every loop checks what it got, so that a filesystem that
answers fast and wrongly is not measured but refused.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence

from tierfs.common.errors import DamageFound


def read_files(paths: Sequence[bytes], size: int) -> int:
    """Open, read to the end and close every file of ``size`` bytes; returns the bytes read.

    Reading goes on until read(2) answers 0, as data loaders do that do not know the size.

    Raises:
        DamageFound: a file is shorter or longer.
        OSError: a call failed.
    """
    buffer = bytearray(size + 1)
    vector = [buffer]
    flags = os.O_RDONLY | os.O_CLOEXEC
    for path in paths:
        descriptor = os.open(path, flags)
        got = 0
        while more := os.readv(descriptor, vector):
            got += more
        os.close(descriptor)
        if got != size:
            raise _wrong_size(path, got, size)
    return size * len(paths)


def stat_files(paths: Sequence[bytes], size: int) -> int:
    """lstat(2) every path; returns how many. Raises DamageFound when a size is not ``size``."""
    for path in paths:
        if os.lstat(path).st_size != size:
            raise _wrong_size(path, os.lstat(path).st_size, size)
    return len(paths)


def get_xattrs(paths: Sequence[bytes], name: str, value: bytes) -> int:
    """Read an extended attribute that every file has; returns how many.

    Raises:
        DamageFound: a value is not ``value``.
        OSError: a file has none, or a call failed.
    """
    for path in paths:
        if os.getxattr(path, name) != value:
            raise DamageFound(f"{os.fsdecode(path)}: {name} is not what was written")
    return len(paths)


def miss_xattrs(paths: Sequence[bytes], name: str) -> int:
    """Ask for an extended attribute that no file has; returns how many.

    Raises:
        DamageFound: a file has it.
        OSError: a call failed with something else than ENODATA.
    """
    for path in paths:
        try:
            os.getxattr(path, name)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
        else:
            raise DamageFound(f"{os.fsdecode(path)}: {name} was never set")
    return len(paths)


def walk(root: bytes) -> int:
    """`os.walk` and lstat(2) of everything, as ``ls -lR`` does; returns the number of files."""
    found = 0
    for path, _, names in os.walk(root):
        for name in names:
            os.lstat(os.path.join(path, name))
        found += len(names)
    return found


def read_stream(path: bytes, size: int, step: int) -> int:
    """Read a file of ``size`` bytes from start to end by ``step`` bytes; returns the bytes read.

    Raises:
        DamageFound: it is shorter or longer.
        OSError: a call failed.
    """
    vector, got = [bytearray(step)], 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while more := os.readv(descriptor, vector):
            got += more
    finally:
        os.close(descriptor)
    if got != size:
        raise _wrong_size(path, got, size)
    return got


def read_at(path: bytes, offsets: Iterable[int], step: int) -> int:
    """Read ``step`` bytes at each of ``offsets``, all within the file; returns the bytes read.

    Raises:
        DamageFound: a read was short.
        OSError: a call failed.
    """
    vector, total = [bytearray(step)], 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for offset in offsets:
            got = os.preadv(descriptor, vector, offset)
            if got != step:
                raise _wrong_size(path, offset + got, offset + step)
            total += got
    finally:
        os.close(descriptor)
    return total


def write_stream(path: bytes, size: int, block: bytes) -> int:
    """Write a new file of ``size`` bytes, ``block`` after block; returns the bytes written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        left = size
        while left:
            left -= os.write(descriptor, block[:left] if left < len(block) else block)
    finally:
        os.close(descriptor)
    return size


def create_files(paths: Sequence[bytes], block: bytes) -> int:
    """Create every file, write ``block`` in one call, close; returns how many."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    for path in paths:
        descriptor = os.open(path, flags, 0o644)
        os.write(descriptor, block)
        os.close(descriptor)
    return len(paths)


def _wrong_size(path: bytes, got: int, wanted: int) -> DamageFound:
    return DamageFound(f"{os.fsdecode(path)}: {got} bytes instead of {wanted}")
