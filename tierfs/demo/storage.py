"""On what kind of storage a directory lies, as far as the kernel knows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tierfs.demo.mounts import read_mounts

SYSFS = Path("/sys/dev/block")


@dataclass(frozen=True, slots=True)
class Storage:
    """A filesystem. ``rotational`` is what the kernel says of the device, None if nothing."""

    device: int
    type: str
    source: str
    rotational: bool | None

    def __str__(self) -> str:
        kind = {True: "rotational", False: "not rotational", None: "kind unknown"}
        return f"{self.type} on {self.source} ({kind[self.rotational]})"


def storage_of(directory: Path) -> Storage:
    """The storage below ``directory``. Raises OSError when it does not exist."""
    number = directory.stat().st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    for entry in read_mounts():
        if entry.device == name:
            return Storage(number, entry.type, entry.source, _rotational(name))
    return Storage(number, "a filesystem", "an unnamed device", None)


def _rotational(name: str) -> bool | None:
    """A partition has no queue of its own: its disk, the directory above, has it."""
    for queue in ("queue", "../queue"):
        path = (SYSFS / name).resolve() / queue / "rotational"
        if path.exists():
            return path.read_text(encoding="ascii").strip() == "1"
    return None
