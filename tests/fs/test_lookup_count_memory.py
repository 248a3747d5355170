"""A program that takes few files out of many makes the kernel know inodes that lie far apart."""

from __future__ import annotations

import tracemalloc

import pytest

from tierfs.fs.lookup_counts import LookupCounter

INODES = 10_000
FEW_BYTES = 400
"""Less than half of what the kernel spends on an inode (struct fuse_inode and a dentry)."""


@pytest.mark.parametrize("distance", [1, 10, 1000])
def test_an_inode_takes_few_bytes(distance: int) -> None:
    counts = LookupCounter()
    tracemalloc.start()
    try:
        for number in range(INODES):
            counts.add(16 + number * distance)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < INODES * FEW_BYTES
