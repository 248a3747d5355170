"""What the kernel does better for a mount that was told more of itself."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

READ_AHEAD_KIB: Final = 1024
"""A tail is read by requests of this size: each costs a thread, so that few large ones are better.

The default of 128 KiB halved the throughput of a first sequential read (docs/benchmarks.md).
"""

BDI: Final = Path("/sys/class/bdi")


def tune(mountpoint: Path, bdi: Path = BDI) -> None:
    """Raise the read-ahead of the filesystem at ``mountpoint``, if this user may (root).

    The file is documented in Documentation/ABI/testing/sysfs-class-bdi of Linux.
    """
    try:
        device = mountpoint.stat().st_dev
        path = bdi / f"{os.major(device)}:{os.minor(device)}" / "read_ahead_kb"
        path.write_text(f"{READ_AHEAD_KIB}\n")
    except OSError as error:
        log.info("read-ahead stays as it is: %s", error)
