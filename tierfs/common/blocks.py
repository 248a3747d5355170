"""Block arithmetic alone: how much of a filesystem's room a length takes, and where holes begin."""

from __future__ import annotations

BLOCK = 4096
"""Bytes that are allocated together, on almost every filesystem."""

SECTOR = 512
"""Bytes in which st_blocks counts, whatever the filesystem's blocks are (stat(2))."""


def whole_blocks(length: int) -> int:
    """``length`` bytes, rounded up to whole blocks."""
    return -(-length // BLOCK) * BLOCK


def skips_block(size: int, offset: int, length: int, new_size: int) -> bool:
    """Whether a file of ``size`` bytes gets a block that nobody wrote, and with it a hole.

    By ``length`` bytes written at ``offset``, after which it has ``new_size`` bytes.
    """
    first_written = offset - offset % BLOCK if length else new_size
    return whole_blocks(size) < first_written
