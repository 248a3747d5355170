"""Who keeps a mount alive: processes with files of it open, and mount namespaces that have a copy.

Nothing here asks the mount, which may hang: the kernel tells in /proc which mount an open file is
of (``mnt_id`` in fdinfo, see proc_pid_fdinfo(5)), and the mounts of each namespace in mountinfo.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from tierfs.common.text import printable
from tierfs.daemon.mountinfo import Mount, parse

PROC: Final = Path("/proc")
SHOWN: Final = 3
"""Holders of each kind that are named; the others are counted."""

Kind = Literal["mounted in the mount namespace of", "in use by"]


class Holder(NamedTuple):
    """A process that keeps a mount alive, and how."""

    kind: Kind
    pid: int
    name: str
    path: str
    """Where a mount namespace has the mount; empty for a process that uses it."""


def holders(device: str, source: str, mount_id: int) -> list[Holder]:
    """Who keeps the file system ``device`` (``0:45``) of a volume file alive.

    It was mounted as ``mount_id``. Both numbers are given out again once nobody has them.
    Processes of other users are seen by root alone.
    """
    processes = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()]
    spaces: dict[str, tuple[int, list[Mount]]] = {}
    again = False
    for pid in processes:
        with suppress(OSError):
            space = str((PROC / str(pid) / "ns" / "mnt").readlink())
            if space not in spaces:
                listed = parse((PROC / str(pid) / "mountinfo").read_bytes())
                spaces[space] = pid, [one for one in listed if _same(one, device, source)]
                again = again or any(
                    one.number == mount_id and not _same(one, device, source) for one in listed
                )
    ids = {mount.number for _, listed in spaces.values() for mount in listed}
    ids |= set() if again else {mount_id}
    found = [
        Holder("mounted in the mount namespace of", pid, _name(pid), os.fspath(listed[0].path))
        for pid, listed in spaces.values()
        if listed
    ]
    using = (pid for pid in processes if _uses(pid, ids))
    return found + [Holder("in use by", pid, _name(pid), "") for pid in using]


def _same(mount: Mount, device: str, source: str) -> bool:
    return (mount.device, mount.source) == (device, source)


def told(found: list[Holder]) -> str:
    """The holders, for people; empty for none."""
    lines = []
    kinds: tuple[Kind, ...] = ("mounted in the mount namespace of", "in use by")
    for kind in kinds:
        ours = [one for one in found if one.kind == kind]
        if ours:
            named = ", ".join(_shown(one) for one in ours[:SHOWN])
            more = f" and {len(ours) - SHOWN} more" if len(ours) > SHOWN else ""
            lines.append(f"{kind} {named}{more}")
    return "; ".join(lines)


def _shown(one: Holder) -> str:
    at = f", on {printable(one.path)}" if one.path else ""
    return f"process {one.pid} ({one.name}{at})"


def _name(pid: int) -> str:
    """As the process calls itself: any bytes (PR_SET_NAME)."""
    try:
        return printable((PROC / str(pid) / "comm").read_bytes().strip())
    except OSError:
        return "ended"


def _uses(pid: int, ids: set[int]) -> bool:
    """Whether an open file, the working or the root directory of a process is of these mounts."""
    process = PROC / str(pid)
    try:
        return any(number in ids for number in _mounts_of_files(process)) or any(
            _mount_of_directory(process / name) in ids for name in ("cwd", "root")
        )
    except OSError:  # it has ended, or is another user's
        return False


def _mounts_of_files(process: Path) -> Iterator[int]:
    for entry in (process / "fdinfo").iterdir():
        with suppress(FileNotFoundError):
            yield _mount_id(entry)


def _mount_of_directory(link: Path) -> int:
    """Opening a link of /proc with O_PATH asks no file system."""
    descriptor = os.open(link, os.O_PATH | os.O_CLOEXEC)
    try:
        return _mount_id(PROC / "self" / "fdinfo" / str(descriptor))
    finally:
        os.close(descriptor)


def _mount_id(fdinfo: Path) -> int:
    for line in fdinfo.read_bytes().splitlines():
        if line.startswith(b"mnt_id:"):
            return int(line.split()[1])
    return -1
