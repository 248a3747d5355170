"""A program that uses a mount until it is ended: `python -m tests.monitoring.load DIRECTORY`.

Reads of both tiers, writes, changes, a refused request and a pin, again and again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from pathlib import Path

from tests.support.mounting import HEAD


def use(folder: Path, *, pin: bool) -> None:
    """One turn in a new directory."""
    folder.mkdir()
    file = folder / "file"
    file.write_bytes(os.urandom(2 * HEAD))
    with contextlib.suppress(OSError):
        folder.rmdir()
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.pread(descriptor, HEAD, 0)
    os.pread(descriptor, HEAD, HEAD)
    os.close(descriptor)
    if pin:
        os.setxattr(file, "tierfs.pin", b"1")
    file.rename(folder / "renamed")


if __name__ == "__main__":
    for number in itertools.count():
        use(Path(sys.argv[1], f"d{number}"), pin=number == 0)
        time.sleep(0.02)
