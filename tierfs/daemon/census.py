"""The mounts of this machine and their daemons, without asking any of them."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from tierfs.daemon.mountinfo import Mount, mounts
from tierfs.daemon.mountpoint import ask_daemon
from tierfs.daemon.runtime import Run, runs

ASK_SECONDS = 1.0

State = Literal["mounted", "dead", "starting", "closing", "detached"]


class Listed(NamedTuple):
    """A mount, or a daemon whose mount is not seen here."""

    mountpoint: str
    volume: str
    """The volume file."""
    state: State
    pid: int | None
    """None where nobody tells: the daemon is gone, or another user's."""
    uuid: str | None


def census() -> list[Listed]:
    """The mounts that this process sees, then the daemons that are left over."""
    listed = [mount for mount in mounts() if mount.is_tierfs]
    told = [
        run
        for owner in sorted({os.geteuid(), 0, *(mount.owner for mount in listed)})
        for run in runs(owner)
        if run.alive()
    ]
    found, seen = [], set()
    for mount in listed:
        run = next((run for run in told if run.serves(mount)), None)
        seen |= {run.pid} if run else set()
        found.append(_mounted(mount, run))
    return found + [_left_over(run) for run in told if run.pid not in seen]


def _mounted(mount: Mount, run: Run | None) -> Listed:
    path = os.fspath(mount.path)
    if run is not None:
        return Listed(path, mount.source, "mounted", run.pid, run.uuid)
    return Listed(path, mount.source, "mounted" if _answers(mount) else "dead", None, None)


def _left_over(run: Run) -> Listed:
    state: State = "detached" if run.state == "serving" else run.state
    return Listed(run.mountpoint, run.volume, state, run.pid, run.uuid)


def _answers(mount: Mount) -> bool:
    """Whether a mount of which no daemon tells has one; one that merely hangs has."""
    try:
        ask_daemon(mount.path, ASK_SECONDS)
    except TimeoutError:
        return True
    except OSError as error:
        return isinstance(error, PermissionError)  # another user's, who lets nobody in
    return True
