"""What is mounted where, from the kernel's table (proc(5), ``mountinfo``)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TABLE = Path("/proc/self/mountinfo")
ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of the table. ``device`` is ``MAJOR:MINOR``."""

    path: bytes
    device: str
    type: str
    source: str


def read_mounts() -> Iterator[MountEntry]:
    """All mounts that this process sees. Raises OSError where there is no /proc."""
    for line in TABLE.read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        fields, (kind, source, *_) = before.split(b" "), after.split(b" ")
        path = ESCAPE.sub(lambda found: bytes([int(found[1], 8)]), fields[4])
        yield MountEntry(path, fields[2].decode(), kind.decode(), os.fsdecode(source))


def is_mounted(path: Path) -> bool:
    """Whether something is mounted at ``path``.

    The mount itself is never asked, as os.path.ismount would: it may be dead or hang.
    """
    return any(entry.path == os.fsencode(path) for entry in read_mounts())
