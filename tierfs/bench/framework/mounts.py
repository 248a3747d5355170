"""What is mounted where, from the kernel's table."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MOUNTINFO: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


def filesystem_of(directory: Path) -> str:
    """The type of the filesystem that ``directory`` lies in, as mount(8) names it."""
    number = directory.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    return next((type_ for _, at, type_ in _mounts() if at == device), "unknown")


def mountpoints() -> frozenset[Path]:
    """Where something is mounted. No mount is asked, so that a dead or hanging one is listed."""
    return frozenset(path for path, _, _ in _mounts())


def _mounts() -> Iterator[tuple[Path, str, str]]:
    """Mountpoint, ``MAJOR:MINOR`` and type of every mount; proc_pid_mountinfo(5)."""
    for line in MOUNTINFO.read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        path = _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), fields[4])
        yield Path(os.fsdecode(path)), fields[2].decode(), after.split(b" ")[0].decode()
