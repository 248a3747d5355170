"""On what it was measured: what must be known to read the figures."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tierfs.bench.framework.mounts import filesystem_of
from tierfs.bench.framework.side import Side

CPUINFO: Final = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Machine:
    """``filesystems`` are the types below the sides, by name; ``load`` that of the last minute."""

    system: str
    processor: str
    cores: int
    python: str
    load: float
    filesystems: dict[str, str]


def look(sides: Iterable[Side]) -> Machine:
    """The machine as it is now. Raises OSError when a side is not there."""
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        load=round(os.getloadavg()[0], 2),
        filesystems={side.name: filesystem_of(side.directory) for side in sides},
    )


def _processor() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", CPUINFO.read_text("utf-8"), re.MULTILINE)
        if found:
            return found[1]
    return platform.machine()
