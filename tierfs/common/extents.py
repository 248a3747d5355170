"""Offset arithmetic alone: which bytes of a file are on flash and which on disk.

A file's ``prefix`` P says it all: bytes ``[0, P)`` are on flash, bytes ``[P, size)`` on disk.
Byte N of the file is at offset N of either object, so a split never shifts an offset.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

BLOCK = 4096
"""Bytes that are allocated together, on almost every filesystem."""

SECTOR = 512
"""Bytes in which st_blocks counts, whatever the filesystem's blocks are (stat(2))."""

WHOLE_FILE = 2**63 - 1
"""The prefix of a file that is on flash whole, whatever its size."""

MAX_FILE_SIZE = 2**63 - 1
"""The largest file in bytes: MAX_LFS_FILESIZE of Linux (include/linux/fs.h)."""


class Extent(NamedTuple):
    """``length`` bytes from ``offset``; both in bytes."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The first byte behind the extent."""
        return self.offset + self.length


class Split(NamedTuple):
    """The two parts of an extent; a part without a byte is None."""

    flash: Extent | None
    disk: Extent | None


def split(extent: Extent, prefix: int) -> Split:
    """Cut ``extent`` at ``prefix``."""
    offset, length = extent
    if length <= 0:
        return Split(None, None)
    if offset + length <= prefix:
        return Split(extent, None)
    if offset >= prefix:
        return Split(None, extent)
    return Split(Extent(offset, prefix - offset), Extent(prefix, offset + length - prefix))


def clip(extent: Extent, size: int) -> Extent:
    """The part of ``extent`` inside a file of ``size`` bytes; of length 0 at or past its end."""
    return Extent(extent.offset, max(0, min(extent.length, size - extent.offset)))


class Lengths(NamedTuple):
    """How long the two objects of a file are, in bytes; 0: there is no object."""

    flash: int
    disk: int


_make_lengths = cast("Callable[[tuple[int, int]], Lengths]", partial(tuple.__new__, Lengths))
"""As ``Lengths._make``, in half the time."""


def object_lengths(size: int, prefix: int, *, mirrored: int = 0) -> Lengths:
    """The lengths that the objects of a file of ``size`` bytes must have.

    An object may be longer, with what a crash left past the end, but never shorter:
    that is how a lost byte is told from a hole. The disk object of a mirrored file is all of it.
    """
    disk = size if size > prefix or mirrored else 0
    return _make_lengths((min(size, prefix), disk))


def changes_flash(size: int, new_size: int, offset: int, prefix: int) -> bool:
    """Whether a change at ``offset`` may touch bytes below ``prefix``, where a mirror has a copy.

    The file has ``size`` bytes before and ``new_size`` after. What only cuts it leaves the copy of
    the bytes that remain as good as it was.
    """
    if new_size < size:
        return False
    return offset < prefix or size <= prefix


def whole_blocks(length: int) -> int:
    """``length`` bytes, rounded up to whole blocks."""
    return -(-length // BLOCK) * BLOCK


def skips_block(size: int, offset: int, length: int, new_size: int) -> bool:
    """Whether a file of ``size`` bytes gets a block that nobody wrote, and with it a hole.

    By ``length`` bytes written at ``offset``, after which it has ``new_size`` bytes.
    """
    first_written = offset - offset % BLOCK if length else new_size
    return whole_blocks(size) < first_written
