"""The fast path of one mount: the router, which stands between the kernel and pyfuse3."""

from __future__ import annotations

import logging
import os
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

import trio

from tierfs.daemon.native_metrics import Native
from tierfs.daemon.operations import Operations
from tierfs.daemon.published import PublishedView, RouterReferences
from tierfs.daemon.tuning import cpu_latency_us
from tierfs.fs.filesystem import StatFs
from tierfs.fs.volume import RouterPorts
from tierfs.policy.volume_file import AUTO, FastPathSettings

if TYPE_CHECKING:
    from tierfs.native._router import Router

log = logging.getLogger(__name__)

MOST_WORKERS: Final = 4
"""More than this many do not answer faster: the kernel hands requests out under one lock."""

MAX_WRITE: Final = 512 * 1024
"""Bytes of one WRITE: with its fields, what a pipe holds that anybody may have (F_SETPIPE_SZ of
fcntl(2), fs.pipe-max-size), so that a large write is not copied more often than needed
(``fastpath/src/piped.h``)."""

PM_QOS: Final = Path("/dev/cpu_dma_latency")
"""Takes the longest latency of idle states that its writer can bear, until it is closed
(Documentation/power/pm_qos_interface.rst of Linux)."""


class FastPath:
    """The router of one volume, before, while and after it serves a mount."""

    def __init__(self, extension: ModuleType, settings: FastPathSettings) -> None:
        """``extension``: ``tierfs.native._router``."""
        self._extension = extension
        self._settings = settings
        self._router: Router | None = None
        self._ended = -1

    def make_ports(self, heads: int, objects: int) -> RouterPorts:
        """The ports of the volume; see ``tierfs.fs.volume``. The router duplicates descriptors.

        Raises:
            OSError: there is no memory, or no descriptor.
        """
        self._router = self._extension.Router(
            memory=self._settings.memory, heads=heads, objects=objects
        )
        self._view = PublishedView(self.router)
        return RouterPorts(self._view, RouterReferences(self.router))

    @property
    def router(self) -> Router:
        """The router, once the volume has asked for its ports."""
        assert self._router is not None  # noqa: S101 - open_volume calls make_ports
        return self._router

    def start(self, device: int, operations: Operations) -> int:
        """Serve ``device``, which is taken over, by ``operations``; returns pyfuse3's descriptor.

        Raises:
            OSError: a thread or socket could not be made; ``device`` is closed.
        """
        settings = self._settings
        self.router.set_upcalls(operations)
        self._use_pm_qos(cpu_latency_us(settings.cpu_latency_us))
        peer, self._ended = self.router.start(
            device,
            workers=settings.threads if settings.threads != AUTO else workers(),
            spin_us=settings.spin_us,
            disk_threads=settings.disk_threads,
            max_write=MAX_WRITE,
            io_uring=settings.io_uring,
        )
        return peer

    def _use_pm_qos(self, latency_us: int | None) -> None:
        """Let cores be kept from deep idle states while requests come, if this user may (root)."""
        if latency_us is None:
            return
        try:
            with PM_QOS.open("wb", buffering=0) as device:
                self.router.use_pm_qos(device.fileno(), latency_us)
        except OSError as exc:
            log.info("idle cores are not kept awake: %s: %s", PM_QOS, exc.strerror)

    def prefetch_names(self, mountpoint: Path) -> None:
        """Let names be told to the kernel ahead, if this user may (root); asks the mount."""
        if not self._settings.prefetch_names:
            return
        try:
            device = mountpoint.stat().st_dev
            self.router.prefetch(os.fsencode(mountpoint), device)
        except OSError as exc:
            log.info("names are not told to the kernel ahead: %s", exc.strerror)

    async def wait_for_end(self) -> None:
        """Return when the kernel has ended the connection, or a thread of the router failed."""
        await trio.lowlevel.wait_readable(self._ended)

    def stop(self) -> None:
        """End the router's threads and close the device."""
        self.router.stop()
        if self._ended >= 0:
            os.close(self._ended)
            self._ended = -1

    @property
    def native(self) -> Native:
        """What the router counts, for the metrics."""
        extension = self._extension
        return Native(self.router.counters, extension.ANSWERED, extension.BUCKETS)

    def status(self) -> dict[str, int]:
        """What ``tierfs status`` shows; bytes."""
        counters = self.router.counters()
        return {
            "memory": counters.memory,
            "memory_limit": self._settings.memory,
            "inodes": counters.inodes,
            "names": counters.dentries,
            "to_python": counters.to_python,
            "prefetched_names": counters.prefetched,
        }

    def write_back(self, ino: int, offset: int, length: int) -> None:
        """Have the kernel write what it alone has of a range of a file; waits for the writes."""
        self.router.write_back(ino, offset, length)

    def put_room(self, room: StatFs) -> None:
        """Let statvfs(3) be answered without us for a while."""
        self._view.put_room(room)


def workers() -> int:
    """Threads that suit this machine."""
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS)


def fast_path(settings: FastPathSettings) -> FastPath | None:
    """The fast path, or None with a warning where the extension is not installed properly."""
    try:
        extension = import_module("tierfs.native._router")
    except ImportError as exc:
        log.warning(
            "the fast path is off, and every request goes through Python: %s; install tierfs "
            "again, with a compiler",
            exc,
        )
        return None
    return FastPath(extension, settings)
