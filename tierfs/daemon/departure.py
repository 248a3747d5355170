"""Unmounting for good: until the daemon has closed its volume and ended."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tierfs.common.errors import MountFailed, NotMounted
from tierfs.daemon.asking import ask
from tierfs.daemon.holders import holders, told
from tierfs.daemon.mountinfo import Mount
from tierfs.daemon.mountpoint import TELL_SECONDS, is_stale, tierfs_at, unmount
from tierfs.daemon.runtime import Run, run_of, runs

END_SECONDS: Final = 600.0
ASK_SECONDS: Final = 5.0

Tell = Callable[[str], object]


def leave(
    mountpoint: Path,
    *,
    lazy: bool = False,
    seconds: float = END_SECONDS,
    tell: Tell = lambda _line: None,
) -> None:
    """Unmount the tierfs mount at ``mountpoint`` and wait for its daemon's end.

    ``tell`` is given a line when that takes longer, and says for whom it waits.
    A lazy unmount does not wait: the daemon goes on until the last program is done.

    Raises:
        NotMounted: there is no tierfs mount.
        MountFailed: it is in use, or its daemon has not ended after ``seconds``.
    """
    mount = tierfs_at(mountpoint)
    run = run_of(mount)
    if lazy or (run is None and is_stale(mount.path)):
        unmount(mount.path, lazy=lazy)
        return
    deadline = time.monotonic() + seconds
    with _watched(run.pid if run else _daemon(mount.path)) as watched:
        unmount(mount.path, seconds=seconds, waiting=lambda: tell(_flushing(mount)))
        if watched is not None:
            _wait(watched, mount, run, deadline, tell)


def _flushing(mount: Mount) -> str:
    return f"{mount.path}: waiting for the kernel, which writes back what programs wrote"


def _wait(watched: int, mount: Mount, run: Run | None, deadline: float, tell: Tell) -> None:
    """Return when the process ``watched`` has ended.

    Raises:
        MountFailed: it has not at ``deadline``.
    """
    last = ""
    while not select.select([watched], [], [], _slice(deadline))[0]:
        why = _reason(mount, run)
        if time.monotonic() >= deadline:
            raise MountFailed(
                f"{mount.path} is unmounted, but its daemon has not ended: {why}; "
                "do not switch the machine off yet"
            )
        if why != last:
            tell(f"{mount.path} is unmounted; waiting for its daemon: {why}")
            last = why


def _slice(deadline: float) -> float:
    return max(0.0, min(TELL_SECONDS, deadline - time.monotonic()))


def _reason(mount: Mount, run: Run | None) -> str:
    """Why the daemon of ``mount``, which is unmounted here, has not ended, for people."""
    now = next((one for one in runs(mount.owner) if run and one.pid == run.pid), None)
    if now is None or now.state != "closing":
        found = told(holders(mount.device, mount.source, mount.number))
        if found:
            return f"it is still {found}"
    who = f"process {run.pid}" if run else "it"
    return f"{who} is writing out what is not durable yet, and closing the volume"


def _daemon(path: Path) -> int | None:
    """The daemon's process ID, unless it does not talk to us: then nobody can be waited for."""
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
