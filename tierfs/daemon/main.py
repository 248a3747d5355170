"""The daemon's main function: read, check, log, serve, and report to the command that waits."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tierfs.common.errors import NotMounted, TierfsError, VolumeBusy
from tierfs.common.text import printable
from tierfs.daemon import service_manager
from tierfs.daemon.control_client import volume_of
from tierfs.daemon.listener import raise_descriptor_limit
from tierfs.daemon.logs import default_log_file, start_logging, stop_echo
from tierfs.daemon.mountinfo import Mount, mounts
from tierfs.daemon.mountpoint import prepare
from tierfs.daemon.options import Privileges, for_kernel, parse_options, reading_only
from tierfs.daemon.runtime import Run, runs
from tierfs.daemon.session import serve
from tierfs.daemon.startup import MountRequest, StartupNotifier
from tierfs.daemon.takeover import Supervised
from tierfs.daemon.unmount import describe, holders
from tierfs.fs.identity import volume_uuid
from tierfs.fs.volume import write_protected
from tierfs.policy.volume_file import VolumeFile, load_volume_file
from tierfs.storage.markers import MARKER

log = logging.getLogger(__name__)

CLOSING_SECONDS: Final = 20.0
"""How long a daemon that is already unmounted may take to close its volume; less than
``START_SECONDS``, so that the message can say who holds the volume."""
DETACHED_SECONDS: Final = 2.0
"""How long a volume whose mount is not visible here may be in use, as between umount(8) and the end
of the last request."""
RETRY_SECONDS: Final = 0.1


def run(
    request: MountRequest, notifier: StartupNotifier, supervised: Supervised | None = None
) -> None:
    """Serve ``request`` until it is unmounted; ``notifier`` reports that the mount is up, or not.

    With ``supervised``, go on with the mount of an earlier daemon, if there is one.

    Raises:
        TierfsError: there is no mount; ``notifier`` has reported it.
    """
    try:
        _serve(request, notifier, supervised)
    except TierfsError as error:
        notifier.failed(error.exit_code, str(error))
        if supervised is not None:
            supervised.failed(str(error))
        raise
    except Exception:
        log.critical("the daemon failed unexpectedly", exc_info=True)
        raise


def run_supervised(request: MountRequest, notifier: StartupNotifier, descriptor: int) -> None:
    """``run`` for the supervisor at the other end of the socket ``descriptor``."""
    run(request, notifier, Supervised(descriptor))


def _serve(request: MountRequest, notifier: StartupNotifier, supervised: Supervised | None) -> None:
    raise_descriptor_limit()
    options = parse_options(request.options)
    settings = load_volume_file(request.volume_file)
    protected = [] if options.read_only else write_protected(settings)
    if protected:
        options = reading_only(options)
    options = for_kernel(options, Privileges.current(), trusted=not settings.allow_untrusted)
    earlier = None if supervised is None else supervised.wait()
    log_to = settings.log
    background = notifier.pending if earlier is None else earlier.background
    if earlier is not None:  # the file may name others by now
        settings = replace(settings, flash=earlier.flash, disk=earlier.disk, index=earlier.index)
    if background and not log_to.file and log_to.format != "journald":
        # In the background there is no stderr for the log.
        log_to = replace(log_to, file=default_log_file(volume_uuid(settings)))
        settings = replace(settings, log=log_to)
    if supervised is not None:
        supervised.background = background
    start_logging(settings.log, level=options.log_level, echo=notifier.pending)
    own = (settings.flash, settings.disk, settings.index, settings.policy, settings.log.file)
    if earlier is not None:
        mountpoint = request.mountpoint  # which nobody can look at yet
    else:
        mountpoint = prepare(request.mountpoint, [path for path in own if path is not None])

    warning = " ".join(f"{path} is write-protected, mounting read-only" for path in protected[:1])
    if warning:
        log.warning("%s: %s", settings.path, warning)

    def up() -> None:
        if earlier is not None and background:
            stop_echo(settings.log.file)
        log.info("%s is mounted on %s (%s)", settings.path, mountpoint, ",".join(options.shown))
        service_manager.ready(printable(f"{settings.path} is mounted on {mountpoint}"))
        if notifier.pending:
            stop_echo(settings.log.file)
            notifier.ready(warning)

    serve_when_free(
        settings,
        lambda: _without_group(lambda: serve(settings, mountpoint, options, up, supervised)),
    )
    log.info("%s is unmounted from %s", settings.path, mountpoint)


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
            if mount := _mount_of(settings):
                raise VolumeBusy(_mounted(settings, mount)) from None
            run, waited = _run_of(settings), time.monotonic() - began
            # Programs may use a detached mount for days; closing a volume is soon done.
            detached = run is not None and run.state == "serving"
            if waited > (min(seconds, DETACHED_SECONDS) if detached else seconds):
                raise VolumeBusy(_held(settings, run)) from None
        time.sleep(RETRY_SECONDS)


def _mount_of(settings: VolumeFile) -> Mount | None:
    """Where the volume is mounted, even if by a volume file of another name."""
    return next((mount for mount in mounts() if mount.is_tierfs and _is_of(mount, settings)), None)


def _mounted(settings: VolumeFile, mount: Mount) -> str:
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
    except NotMounted:
        return False


def _run_of(settings: VolumeFile) -> Run | None:
    """The run file of the daemon that holds the volume, if it is one of this user."""
    ours = str(volume_uuid(settings))
    return next((run for run in runs() if run.uuid == ours and run.alive()), None)


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


def _without_group(serving: Callable[[], None]) -> None:
    """Call ``serving``; raise the exception of a single task without the groups around it."""
    try:
        serving()
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
