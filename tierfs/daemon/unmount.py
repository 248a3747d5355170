"""Unmounting: until the daemon has closed its volume and ended, and who keeps a mount alive.

Processes with open files, and copies of the mount in other mount namespaces, keep it alive. The
kernel shows them in /proc: ``mnt_id`` in fdinfo says which mount an open file is of (see
proc_pid_fdinfo(5)), and mountinfo lists the mounts of each namespace. Nothing is asked of the mount
itself, which may hang.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from tierfs.common.errors import MountFailed, NotMounted, printable
from tierfs.daemon.clearing import TELL_SECONDS, unmount
from tierfs.daemon.control_client import ask
from tierfs.daemon.mountinfo import Mount, parse
from tierfs.daemon.mountpoint import is_stale, tierfs_at
from tierfs.daemon.runtime import Run, run_of, runs

END_SECONDS: Final = 600.0
ASK_SECONDS: Final = 5.0

Tell = Callable[[str], object]


def unmount_and_wait(
    mountpoint: Path,
    *,
    lazy: bool = False,
    seconds: float = END_SECONDS,
    tell: Tell = lambda _line: None,
) -> None:
    """Unmount the tierfs mount at ``mountpoint`` and wait for the end of its daemon.

    ``tell`` is called with a line that names what it waits for, if that takes longer than
    ``TELL_SECONDS``. A lazy unmount does not wait: the daemon runs until no program uses the mount.

    Raises:
        NotMounted: there is no tierfs mount.
        MountFailed: it is in use, or its daemon has not ended after ``seconds``.
    """
    mount = tierfs_at(mountpoint)
    run = run_of(mount)
    if lazy or (run is None and is_stale(mount.path)):
        unmount(mount.path, lazy=lazy)
        return
    flushing = f"{mount.path}: waiting for the kernel, which writes back what programs wrote"
    deadline = time.monotonic() + seconds
    with _watched(run.pid if run else _daemon(mount.path)) as watched:
        unmount(mount.path, seconds=seconds, waiting=lambda: tell(flushing))
        if watched is not None:
            _wait(watched, mount, run, deadline, tell)


def _wait(watched: int, mount: Mount, run: Run | None, deadline: float, tell: Tell) -> None:
    """Return when the process ``watched`` has ended.

    Raises:
        MountFailed: it has not at ``deadline``.
    """
    last = ""
    while True:
        left = max(0.0, min(TELL_SECONDS, deadline - time.monotonic()))
        if select.select([watched], [], [], left)[0]:
            return
        why = _reason(mount, run)
        if time.monotonic() >= deadline:
            raise MountFailed(
                f"{mount.path} is unmounted, but its daemon has not ended: {why}; "
                "do not switch the machine off yet"
            )
        if why != last:
            tell(f"{mount.path} is unmounted; waiting for its daemon: {why}")
            last = why


def _reason(mount: Mount, run: Run | None) -> str:
    """Why the daemon of ``mount``, which is unmounted here, has not ended, for people."""
    now = next((one for one in runs(mount.owner) if run and one.pid == run.pid), None)
    if now is None or now.state != "closing":
        found = describe(holders(mount.device, mount.source, mount.number))
        if found:
            return f"it is still {found}"
    who = f"process {run.pid}" if run else "it"
    return f"{who} is writing out what is not durable yet, and closing the volume"


def _daemon(path: Path) -> int | None:
    """The daemon's process ID; None if it does not answer, so that it cannot be waited for."""
    try:
        return int(ask(path, "status", seconds=ASK_SECONDS, wait=0)["pid"])
    except (NotMounted, LookupError, ValueError):
        return None


@contextmanager
def _watched(pid: int | None) -> Iterator[int | None]:
    """A descriptor that becomes readable when the process ends, pidfd_open(2)."""
    try:
        descriptor = os.pidfd_open(pid) if pid is not None else None
    except ProcessLookupError:
        descriptor = None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


# ------------------------------------------------------------------ who keeps a mount alive

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
    """The processes that keep the filesystem ``device`` (``0:45``) of volume file ``source`` alive.

    It was mounted as ``mount_id``. The kernel reuses both numbers once nobody has them.
    Only root sees the processes of other users.
    """
    processes = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()]
    spaces: dict[str, tuple[int, list[Mount]]] = {}
    reused = False  # another mount has the number now
    for pid in processes:
        with suppress(OSError):  # it has ended, or belongs to another user
            space = str((PROC / str(pid) / "ns" / "mnt").readlink())
            if space not in spaces:
                listed = parse((PROC / str(pid) / "mountinfo").read_bytes())
                spaces[space] = pid, [one for one in listed if _same(one, device, source)]
                reused = reused or any(
                    one.number == mount_id and not _same(one, device, source) for one in listed
                )
    ids = {mount.number for _, listed in spaces.values() for mount in listed}
    ids |= set() if reused else {mount_id}
    found = [
        Holder("mounted in the mount namespace of", pid, _name(pid), os.fspath(listed[0].path))
        for pid, listed in spaces.values()
        if listed
    ]
    using = (pid for pid in processes if _uses(pid, ids))
    return found + [Holder("in use by", pid, _name(pid), "") for pid in using]


def _same(mount: Mount, device: str, source: str) -> bool:
    return (mount.device, mount.source) == (device, source)


def describe(found: list[Holder]) -> str:
    """The holders in a line for people; empty for none."""
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
        for entry in (process / "fdinfo").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                if _mount_id(entry) in ids:
                    return True
        return any(_mount_of_directory(process / name) in ids for name in ("cwd", "root"))
    except OSError:  # it has ended, or is another user's
        return False


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
