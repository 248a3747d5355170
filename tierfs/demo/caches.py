"""Make the next read a first read: write everything out and forget what memory holds of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def drop_caches(directories: Iterable[Path]) -> bool:
    """Drop the cached pages of all files below ``directories``; of the whole machine as root.

    Returns whether names and attributes were dropped as well, which only root can do.
    """
    os.sync()
    for directory in directories:
        for path, _, names in os.walk(directory):
            for name in names:
                _forget(Path(path, name))
    return _forget_everything()


def _forget(path: Path) -> None:
    """Drop the pages of one file (posix_fadvise(2)); a file that cannot be opened has none."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _forget_everything() -> bool:
    try:
        DROP_CACHES.write_text("3\n", encoding="ascii")
    except OSError:
        return False
    return True
