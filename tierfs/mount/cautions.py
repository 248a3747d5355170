"""What whoever mounts may not have meant; it is mounted all the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tierfs.base.errors import ConfigError
from tierfs.mount.daemon import Request
from tierfs.mount.mountinfo import mount_at
from tierfs.mount.mountpoint import within
from tierfs.policy.volume_file import load_volume_file

LOOK_SECONDS: Final = 2.0
"""A directory that does not answer by then is the daemon's affair."""


def cautions(request: Request) -> list[str]:
    """Lines for whoever asks for the mount, before it is made."""
    looks: list[Callable[[], str | None]] = [
        lambda: _hidden(request.mountpoint),
        lambda: _one_filesystem(request.volume_file),
    ]
    return list(_answers(looks))


def _answers(looks: list[Callable[[], str | None]]) -> Iterator[str]:
    for look in looks:
        try:
            found = within(LOOK_SECONDS, look)
        except (OSError, TimeoutError):
            continue  # the daemon says it better
        if found:
            yield found


def _hidden(mountpoint: Path) -> str | None:
    if mount_at(mountpoint) is not None:
        return None  # a dead mount, which is replaced, or one that is in the way
    with os.scandir(mountpoint) as entries:
        if next(entries, None) is None:
            return None
    return f"{mountpoint} is not empty: what is in it is hidden while the volume is mounted"


def _one_filesystem(volume_file: Path) -> str | None:
    try:
        settings = load_volume_file(volume_file)
    except ConfigError:
        return None
    if settings.flash.stat().st_dev != settings.disk.stat().st_dev:
        return None
    return (
        f"{settings.flash} and {settings.disk} are on one filesystem: that is good for a trial, "
        "but nothing becomes faster, and what is moved off flash frees no room there"
    )
