"""Mount a simulated disk, and let each read and write wait for the head."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pyfuse3
import trio

from tests.benchmarks.disk.head import Head
from tests.benchmarks.disk.layout import survey
from tests.benchmarks.disk.model import SimulatedDisk
from tests.benchmarks.disk.nodes import Nodes, allow_many_files
from tests.benchmarks.disk.operations import Operations
from tierfs.common.errors import MountFailed
from tierfs.common.units import KIB

OPTIONS: Final = frozenset({"default_permissions", "fsname=disk-simulator", "subtype=disksim"})
FOR_ROOT: Final = frozenset({"allow_other", "dev", "suid"})
BDI: Final = Path("/sys/class/bdi")
HIGHEST_PRIORITY: Final = -20
TASKS: Final = 10_000
"""Requests under way at a time: more than the kernel queues, so all of them wait at the head."""


def serve(
    backing: Path,
    mountpoint: Path,
    disk: SimulatedDisk,
    read_ahead: int,
    ready: Callable[[Path], None],
) -> None:
    """Show ``backing`` as a disk, call ``ready`` when it answers; return when it is unmounted.

    ``read_ahead`` is the kernel's, in bytes; only root can set it, others get 128 KiB.
    SIGTERM and SIGINT unmount it, at once, even while programs use it.

    Raises:
        MountFailed: a directory cannot be used, or the kernel refused the mount.
    """
    real, inside = mountpoint.resolve(), backing.resolve()
    if not real.is_dir():
        raise MountFailed(f"mountpoint {real} is not a directory")
    if inside in (real, *real.parents):
        raise MountFailed(f"mountpoint {real} lies in {inside}, which it is to show")
    allow_many_files()
    with suppress(OSError):  # a disk does not become slower because the processors are busy
        os.setpriority(os.PRIO_PROCESS, 0, HIGHEST_PRIORITY)
    os.umask(0)  # the kernel has applied the caller's
    try:
        layout = survey(backing)
        nodes = Nodes(backing, forgotten=layout.remove)
    except OSError as error:
        raise MountFailed(f"{error.filename or backing}: {error.strerror}") from error

    def answers() -> None:
        with suppress(OSError):
            device = real.stat().st_dev
            knob = BDI / f"{os.major(device)}:{os.minor(device)}" / "read_ahead_kb"
            knob.write_text(f"{read_ahead // KIB}\n", encoding="ascii")
        ready(real)

    head = Head(disk, layout)
    try:
        trio.run(_run, real, Operations(nodes, layout, disk, head), head, answers)
    finally:
        nodes.close()


async def _run(
    mountpoint: Path, operations: Operations, head: Head, answers: Callable[[], None]
) -> None:
    options = OPTIONS | FOR_ROOT if os.geteuid() == 0 else OPTIONS
    try:
        pyfuse3.init(operations, os.fspath(mountpoint), set(options))
    except RuntimeError as error:
        # libfuse has printed the reason on standard error.
        raise MountFailed(f"{mountpoint}: the kernel refused the mount ({error})") from error
    try:
        async with trio.open_nursery() as helpers:
            helpers.start_soon(head.serve)
            helpers.start_soon(_end_on_signal)
            helpers.start_soon(trio.to_thread.run_sync, answers)
            await pyfuse3.main(max_tasks=TASKS)
            helpers.cancel_scope.cancel()
    finally:
        pyfuse3.close(unmount=True)


async def _end_on_signal() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            pyfuse3.terminate()
            return
