"""The kernel's list of mounts, /proc/self/mountinfo, as proc(5) describes it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOUNTINFO: Final = Path("/proc/self/mountinfo")
TIERFS: Final = "fuse.tierfs"
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
_USER_ID: Final = re.compile(r"(?:^|,)user_id=(\d+)(?:,|$)")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    path: Path
    fstype: str
    source: str
    """For tierfs the absolute path of the volume file."""
    options: str
    """Of this mount, such as ``rw,nosuid``."""
    super_options: str
    """Of the filesystem, such as ``rw,user_id=0,default_permissions``."""
    number: int = 0
    """The mount's ID, which the kernel reuses after its end."""
    device: str = ""
    """Of the filesystem, such as ``0:45``; unique while this one is served."""

    @property
    def is_tierfs(self) -> bool:
        """Whether a tierfs daemon made it."""
        return self.fstype == TIERFS

    def is_same(self, other: Mount) -> bool:
        """Whether both are one mount, even if it was moved or its options were changed.

        The kernel may give both numbers to the next mount at once: that has another source.
        """
        ours, theirs = ((one.number, one.device, one.fstype, one.source) for one in (self, other))
        return ours == theirs

    @property
    def owner(self) -> int:
        """The user that mounted it; 0 if the kernel does not say."""
        found = _USER_ID.search(self.super_options)
        return int(found[1]) if found else 0


def parse(data: bytes) -> list[Mount]:
    """The mounts of a mountinfo file in its order: of two at one path the later is on top."""
    return [_parse_line(line) for line in data.splitlines() if line]


def volume_file_of(path: Path) -> Path:
    """The volume file of the mount at ``path``; ``path`` itself where none is mounted there."""
    mount = mount_at(Path(os.path.abspath(path)))  # noqa: PTH100 - resolve() looks at the mount
    return Path(mount.source) if mount is not None and mount.is_tierfs else path


def mounts() -> list[Mount]:
    """Every mount this process sees."""
    return parse(MOUNTINFO.read_bytes())


def mount_at(path: Path, listed: list[Mount] | None = None) -> Mount | None:
    """The topmost mount whose mountpoint is exactly ``path``, an absolute path without links."""
    found = (mount for mount in reversed(listed or mounts()) if mount.path == path)
    return next(found, None)


def mount_above(path: Path, listed: list[Mount] | None = None) -> Mount | None:
    """The mount that ``path`` lies in."""
    every = listed or mounts()
    steps = (mount_at(parent, every) for parent in (path, *path.parents))
    return next((mount for mount in steps if mount is not None), None)


def _parse_line(line: bytes) -> Mount:
    """A line is ``ID PARENT MAJOR:MINOR ROOT PATH OPTIONS [FIELD...] - TYPE SOURCE SUPER``."""
    before, _, after = line.partition(b" - ")
    fields = before.split(b" ")
    fstype, source, super_options = [*after.split(b" "), b"", b""][:3]
    return Mount(
        path=Path(_text(fields[4])),
        options=_text(fields[5]),
        fstype=_text(fstype),
        source=_text(source),
        super_options=_text(super_options),
        number=int(fields[0]),
        device=_text(fields[2]),
    )


def _text(field: bytes) -> str:
    r"""The kernel writes blanks, newlines and backslashes in names as ``\ooo``."""
    return os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), field))
