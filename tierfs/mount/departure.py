"""Unmounting for good: until the daemon has closed its volume and ended."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tierfs.base.errors import MountFailed, NotMounted
from tierfs.mount.asking import ask
from tierfs.mount.mountpoint import is_stale, tierfs_at, unmount

END_SECONDS: Final = 600.0


def leave(mountpoint: Path, *, lazy: bool = False, seconds: float = END_SECONDS) -> None:
    """Unmount the tierfs mount at ``mountpoint`` and wait for its daemon's end.

    A lazy unmount does not wait: the daemon goes on until the last program is done.

    Raises:
        NotMounted: there is no tierfs mount.
        MountFailed: it is in use, or its daemon has not ended after ``seconds``.
    """
    path = tierfs_at(mountpoint).path
    if lazy or is_stale(path):
        unmount(path, lazy=lazy)
        return
    with _watched(_daemon(path)) as watched:
        unmount(path)
        if watched is not None and not select.select([watched], [], [], seconds)[0]:
            raise MountFailed(
                f"{path} is unmounted, but its daemon is still closing the volume after "
                f"{seconds:g} s; do not switch the machine off yet"
            )


def _daemon(path: Path) -> int | None:
    """The daemon's process ID, unless it does not talk to us: then nobody can be waited for."""
    try:
        return int(ask(path, "status")["pid"])
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
