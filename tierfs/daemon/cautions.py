"""What whoever mounts may not have meant; it is mounted all the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tierfs.common.errors import ConfigError
from tierfs.daemon.daemon import Request
from tierfs.daemon.mountinfo import mount_at
from tierfs.daemon.mountpoint import begun, within

if TYPE_CHECKING:
    from tierfs.policy.volume_file import VolumeFile

LOOK_SECONDS: Final = 2.0
"""A directory that does not answer by then is the daemon's affair."""


class Cautions:
    """Begins to look before the mount is made, and goes on while its daemon starts."""

    def __init__(self, request: Request) -> None:
        hidden = _answer(partial(within, LOOK_SECONDS, lambda: _hidden(request.mountpoint)))
        self._hidden = hidden  # while nothing is mounted yet
        self._one_filesystem = begun(lambda: _one_filesystem(request.volume_file))

    def lines(self) -> list[str]:
        """For whoever asked for the mount."""
        found = [self._hidden, _answer(partial(self._one_filesystem, LOOK_SECONDS))]
        return [line for line in found if line]


def _answer(look: Callable[[], str | None]) -> str | None:
    try:
        return look()
    except (OSError, TimeoutError):
        return None  # the daemon says it better


def _hidden(mountpoint: Path) -> str | None:
    if mount_at(mountpoint) is not None:
        return None  # a dead mount, which is replaced, or one that is in the way
    with os.scandir(mountpoint) as entries:
        if next(entries, None) is None:
            return None
    return f"{mountpoint} is not empty: what is in it is hidden while the volume is mounted"


def _one_filesystem(volume_file: Path) -> str | None:
    # Takes as long to load as all else that a command needs which mounts.
    policy = import_module("tierfs.policy.volume_file")
    try:
        settings: VolumeFile = policy.load_volume_file(volume_file)
    except ConfigError:
        return None
    if settings.flash.stat().st_dev != settings.disk.stat().st_dev:
        return None
    return (
        f"{settings.flash} and {settings.disk} are on one filesystem: that is good for a trial, "
        "but nothing becomes faster, and what is moved off flash frees no room there"
    )
