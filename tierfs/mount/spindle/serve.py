"""Mount a simulated drive and serve it until it is unmounted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pyfuse3
import trio

from tierfs.base.errors import MountFailed
from tierfs.base.units import KIB
from tierfs.bench.spindle_layout import Layout
from tierfs.bench.spindle_model import Spindle
from tierfs.mount.mountinfo import Mount, mount_at
from tierfs.mount.mountpoint import place_of, prepare, unmount
from tierfs.mount.options import FuseOption, Privileges
from tierfs.mount.spindle.head import Head
from tierfs.mount.spindle.nodes import Nodes, allow_many_files
from tierfs.mount.spindle.operations import Operations
from tierfs.mount.spindle.survey import survey
from tierfs.mount.tuning import tune

SUBTYPE: Final = "spindle"
HIGHEST_PRIORITY: Final = -20
TASKS: Final = 10_000
"""Requests under way at a time: more than the kernel queues, so all of them wait at the head."""


def serve(
    backing: Path,
    mountpoint: Path,
    spindle: Spindle,
    read_ahead: int,
    ready: Callable[[Path], None],
) -> None:
    """Mount ``backing`` as a drive, call ``ready`` when it answers; return when it is unmounted.

    ``read_ahead`` is the kernel's, in bytes; only root can set it, others get 128 KiB.
    SIGTERM and SIGINT unmount it, at once, even while programs use it.

    Raises:
        MountFailed: a directory cannot be used, or the kernel refused the mount.
    """
    real = _place(backing, mountpoint)
    allow_many_files()
    with suppress(OSError):  # a drive does not become slower because the processors are busy
        os.setpriority(os.PRIO_PROCESS, 0, HIGHEST_PRIORITY)
    os.umask(0)  # the kernel has applied the caller's
    try:
        layout = survey(backing)
        nodes = Nodes(backing, forgotten=layout.remove)
    except OSError as error:
        raise MountFailed(f"{error.filename or backing}: {error.strerror}") from error

    def answers() -> None:
        tune(real, kib=read_ahead // KIB)
        ready(real)

    try:
        trio.run(_run, real, _options(backing), nodes, layout, spindle, answers)
    finally:
        nodes.close()


def _place(backing: Path, mountpoint: Path) -> Path:
    if not backing.is_dir():
        raise MountFailed(f"{backing} is not a directory; it is to hold the files of the drive")
    real = prepare(mountpoint, [backing])
    found = mount_at(real)
    if found is not None and found.fstype == f"fuse.{SUBTYPE}":
        raise MountFailed(f"a simulated drive is already mounted on {real}: umount {real}")
    return real


def _options(backing: Path) -> set[str]:
    named = {"default_permissions", f"subtype={SUBTYPE}"}
    source = os.fspath(backing).replace("\\", "\\\\").replace(",", "\\,")
    named.add(FuseOption(f"fsname={source}"))
    privileges = Privileges.current()
    named |= {"allow_other"} if privileges.may_allow_others else set()
    return named | ({"dev", "suid"} if privileges.root else set())


async def _run(
    mountpoint: Path,
    options: set[str],
    nodes: Nodes,
    layout: Layout,
    spindle: Spindle,
    answers: Callable[[], None],
) -> None:
    head = Head(spindle, layout)
    try:
        pyfuse3.init(Operations(nodes, layout, spindle, head), os.fspath(mountpoint), options)
    except RuntimeError as error:
        # libfuse has printed the reason on standard error.
        raise MountFailed(f"{mountpoint}: the kernel refused the mount ({error})") from error
    own = mount_at(mountpoint)
    hidden = trio.Event()
    try:
        async with trio.open_nursery() as helpers:
            helpers.start_soon(head.serve)
            helpers.start_soon(_unmount_on_signal, own, hidden)
            helpers.start_soon(trio.to_thread.run_sync, answers)
            await pyfuse3.main(max_tasks=TASKS)
            helpers.cancel_scope.cancel()
    finally:
        # Once ours is hidden, what is mounted there is not ours to take away.
        pyfuse3.close(unmount=not hidden.is_set())


async def _unmount_on_signal(own: Mount | None, hidden: trio.Event) -> None:
    """Detach it: what programs still read fails then, which a simulation may do."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            await trio.to_thread.run_sync(_detach, own)
            hidden.set()
            pyfuse3.terminate()
            return


def _detach(own: Mount | None) -> None:
    """Ours alone: what somebody else unmounted or mounted over is left as it is."""
    with suppress(MountFailed):
        if own is not None:
            unmount(place_of(own), lazy=True)
