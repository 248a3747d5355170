"""Who holds a volume that somebody else wants to open, and the wait for a daemon that closes it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from tierfs.common.errors import NotMounted, VolumeBusy, VolumeRefused
from tierfs.daemon.control_client import volume_of
from tierfs.daemon.mountinfo import Mount, mounts
from tierfs.daemon.runtime import Run, runs
from tierfs.daemon.unmount import describe, holders
from tierfs.fs.identity import volume_uuid
from tierfs.policy.volume_file import VolumeFile
from tierfs.storage.markers import MARKER

CLOSING_SECONDS: Final = 20.0
"""How long a daemon that is already unmounted may take to close its volume; less than
``START_SECONDS``, so that the message can say who holds the volume."""
DETACHED_SECONDS: Final = 2.0
"""How long a volume whose mount is not visible here may be in use, as between umount(8) and the end
of the last request."""
RETRY_SECONDS: Final = 0.1


def where_mounted(settings: VolumeFile) -> str:
    """A message that says where, even if by a volume file of another name; empty: nowhere here."""
    mount = next((each for each in mounts() if each.is_tierfs and _is_of(each, settings)), None)
    if mount is None:
        return ""
    if mount.source == os.fspath(settings.path):
        return f"{settings.path}: the volume is mounted on {mount.path}: unmount it first"
    return (
        f"{settings.path}: the volume is mounted on {mount.path}, by the volume file "
        f"{mount.source}: unmount it first; if this one is a copy of it, give it a UUID of its "
        f"own: tierfs new-uuid {settings.path}"
    )


def _is_of(mount: Mount, settings: VolumeFile) -> bool:
    if mount.source == os.fspath(settings.path):
        return True
    try:
        return volume_of(mount) == volume_uuid(settings)
    except (NotMounted, VolumeRefused):
        return False


def serve_when_free(
    settings: VolumeFile, serving: Callable[[], None], *, seconds: float = CLOSING_SECONDS
) -> None:
    """Call ``serving``; again while a daemon that was unmounted still holds the volume.

    umount(8) returns before the daemon has closed its volume; a mount right after it must succeed.

    Raises:
        VolumeBusy: the volume is mounted, or still held after ``seconds``.
    """
    began = time.monotonic()
    while True:
        try:
            return serving()
        except VolumeBusy:
            if where := where_mounted(settings):
                raise VolumeBusy(where) from None
            ours, waited = str(volume_uuid(settings)), time.monotonic() - began
            run = next((run for run in runs() if run.uuid == ours and run.alive()), None)
            # Programs may use a detached mount for days; closing a volume is soon done.
            detached = run is not None and run.state == "serving"
            if waited > (min(seconds, DETACHED_SECONDS) if detached else seconds):
                raise VolumeBusy(_held(settings, run)) from None
        time.sleep(RETRY_SECONDS)


def _held(settings: VolumeFile, run: Run | None) -> str:
    """Who holds the volume, and why."""
    if run is None or run.pid == os.getpid():
        return (
            f"{settings.path}: the volume is in use by a process without a run file, such as "
            "tierfs fsck or a daemon of another user; "
            f"see which: fuser -v {settings.flash / MARKER}"
        )
    who = f"{settings.path}: the volume is held by its daemon, process {run.pid}, which"
    if run.state == "starting":
        return f"{who} is just mounting it on {run.mountpoint}"
    if run.state == "closing" or not (
        found := describe(holders(run.device, run.volume, run.mount_id))
    ):
        seconds = max(0.0, time.time() - run.since)
        since = f" for {seconds:.0f} s" if run.state == "closing" else ""
        return (
            f"{who} was unmounted from {run.mountpoint} and has been writing out what is not "
            f"durable yet{since}; mount again when it has ended"
        )
    return (
        f"{who} is not mounted here any more, but still {found}; end these programs, or unmount "
        "it there, then mount again"
    )
