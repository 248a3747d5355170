"""What the kernel does better for a mount that was told more of itself."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from tierfs.policy.volume_file import ANY_LATENCY, AUTO_LATENCY

log = logging.getLogger(__name__)

READ_AHEAD_KIB: Final = 1024
"""Through Python: a tail is read by requests of this size, each of which costs a thread.

The default of 128 KiB halved the throughput of a first sequential read (docs/benchmarks.md).
"""

KIB: Final = 1024

BDI: Final = Path("/sys/class/bdi")

IDLE_DRIVER: Final = Path("/sys/devices/system/cpu/cpuidle/current_driver")

GIVES_BACK: Final = "haltpoll"
"""The idle driver of KVM guests: a core that halts is given back to the host, and waking it took
20 microseconds where a whole request takes 6 to 8 (docs/benchmarks.md)."""


def native_read_ahead_kib(head: int) -> int:
    """Read-ahead with the fast path, for heads of ``head`` bytes: as long as a head.

    From a longer one the first request for a file would reach into its tail, and so the first
    byte would wait for the disk. The router reads the tail ahead by itself.
    """
    return min(head // KIB, READ_AHEAD_KIB)


def cpu_latency_us(setting: int, idle_driver: Path = IDLE_DRIVER) -> int | None:
    """The longest wake-up of a core, in microseconds, that ``setting`` means on this machine.

    None: any. `AUTO_LATENCY` asks for polling where halting was measured to cost too much.
    """
    if setting != AUTO_LATENCY:
        return None if setting == ANY_LATENCY else setting
    try:
        return 0 if idle_driver.read_text().strip() == GIVES_BACK else None
    except OSError:
        return None  # a kernel without cpuidle: there is no state to choose


def tune(mountpoint: Path, bdi: Path = BDI, *, kib: int = READ_AHEAD_KIB) -> None:
    """Set the read-ahead of the filesystem at ``mountpoint``, if this user may (root).

    The file is documented in Documentation/ABI/testing/sysfs-class-bdi of Linux.
    """
    try:
        device = mountpoint.stat().st_dev
        path = bdi / f"{os.major(device)}:{os.minor(device)}" / "read_ahead_kb"
        path.write_text(f"{kib}\n")
    except OSError as error:
        log.info("read-ahead stays as it is: %s", error)
