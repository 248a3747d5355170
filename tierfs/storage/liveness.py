"""Whether the device of a tier answers: memory does not tell."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import Final

from tierfs.common.osio import Os

BLOCK: Final = 4096
"""Bytes of an aligned read that every device and filesystem with O_DIRECT takes."""


def read_first(path: Path, tier: str, os_: Os, *, device: bool) -> None:
    """Return when the first bytes of ``path`` were read; with ``device`` not from memory.

    A filesystem that has shut down fails the read either way.

    Raises:
        OSError: the device, or the filesystem on it, failed.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os_.call(f"{tier}.open", os.open, path, flags | os.O_DIRECT * device)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        descriptor = os_.call(f"{tier}.open", os.open, path, flags)  # a filesystem in memory
    try:
        with mmap.mmap(-1, BLOCK) as aligned:
            os_.call(f"{tier}.preadv", os.preadv, descriptor, [aligned], 0)
    finally:
        os.close(descriptor)
