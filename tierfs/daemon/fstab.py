"""The lines of fstab(5) that are about tierfs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from tierfs.common.errors import UsageError
from tierfs.daemon.mountinfo import mount_at, mounts
from tierfs.daemon.mountpoint import is_stale, without_links

FSTAB: Final = Path("/etc/fstab")
TYPES: Final = frozenset({"tierfs", "fuse.tierfs"})
FIELDS: Final = 4
"""The volume file, the mountpoint, the type and the options; two more are of no use here."""
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


class Line(NamedTuple):
    """A line of fstab."""

    volume_file: Path
    mountpoint: Path
    options: str


def lines(path: Path = FSTAB) -> list[Line]:
    """The lines of the type tierfs, in their order, without those with ``noauto``.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    found = []
    for line in text.splitlines():
        fields = [_text(field) for field in line.split()]
        if len(fields) < FIELDS or fields[0].startswith("#") or fields[2] not in TYPES:
            continue
        if "noauto" not in fields[3].split(","):
            found.append(Line(Path(fields[0]), Path(fields[1]), fields[3]))
    return found


def is_served(mountpoint: Path) -> bool:
    """Whether a live tierfs mount is there. To mount(8) one that lost its daemon is mounted."""
    listed = mounts()
    found = mount_at(without_links(mountpoint, listed), listed)
    return found is not None and found.is_tierfs and not is_stale(found.path)


def _text(field: str) -> str:
    r"""Blanks in names are written as ``\040``; see fstab(5)."""
    return _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), field)
