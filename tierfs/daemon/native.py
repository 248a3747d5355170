"""The native router of one mount: its set-up, and the metadata cache that the index fills.

``FastPath`` starts the router, which is between the kernel and pyfuse3. The filesystem core reports
changes to ``NativeCache``, and asks ``NativeLookupCounts`` for lookup counts.
``CacheFiller`` loads whole directories into the metadata cache after several misses in them.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

import trio

from tierfs.common.errors import FsError
from tierfs.common.extents import BLOCK
from tierfs.common.own_mount import call_own_mount, known_of
from tierfs.daemon.metrics import NativeCounters
from tierfs.fs.attributes import StatFs
from tierfs.fs.cache_fill import CacheFill
from tierfs.fs.lookup_counts import RouterPorts
from tierfs.policy.volume_file import ANY_LATENCY, AUTO, AUTO_LATENCY, FastPathSettings

if TYPE_CHECKING:
    from tierfs.daemon.takeover import Earlier
    from tierfs.native._router import Router

log = logging.getLogger(__name__)

EXTENSION: Final = "tierfs.native._router"

MAX_WORKERS: Final = 4
"""More threads do not answer faster: the kernel hands requests out under one lock."""

MAX_WRITE: Final = 512 * 1024
"""Bytes of one WRITE: with its header, what a pipe of an unprivileged user holds (F_SETPIPE_SZ of
fcntl(2), fs.pipe-max-size), so that a large write is not copied more often than needed
(``native/src/splice.h``)."""

PM_QOS: Final = Path("/dev/cpu_dma_latency")
"""Takes the longest wake-up latency that its writer can bear, until it is closed
(Documentation/power/pm_qos_interface.rst of Linux)."""

IDLE_DRIVER: Final = Path("/sys/devices/system/cpu/cpuidle/current_driver")

HALTS: Final = "haltpoll"
"""The idle driver of KVM guests: a core that halts is given back to the host, and waking it took
20 microseconds where a whole request takes 6 to 8 (docs/benchmarks.md)."""

STATFS_S: Final = 1.0
"""Seconds for which the router may answer statvfs(3) without asking, unless something changes."""

NO_STATFS: Final = (0, 0, 0, 0, 0, 0, 0, 0)


class FastPath:
    """The router of one volume, before, while and after it serves a mount."""

    def __init__(self, extension: ModuleType, settings: FastPathSettings) -> None:
        """``extension``: ``tierfs.native._router``."""
        self._extension = extension
        self._settings = settings
        self._router: Router | None = None
        self._ended = -1

    def make_ports(self, heads: int, objects: int) -> RouterPorts:
        """The ports of the volume. The router duplicates the descriptors.

        Raises:
            OSError: there is no memory, or no descriptor.
        """
        self._router = self._extension.Router(
            memory=self._settings.memory, heads=heads, objects=objects
        )
        self._cache = NativeCache(self.router)
        return RouterPorts(self._cache, NativeLookupCounts(self.router))

    @property
    def router(self) -> Router:
        """The router, once the volume has asked for its ports."""
        assert self._router is not None  # noqa: S101 - open_volume calls make_ports
        return self._router

    def start(
        self, device: int, operations: object, *, rings: bool, earlier: Earlier | None = None
    ) -> int:
        """Serve ``device``, which becomes the router's, with the methods of ``operations``.

        ``rings``: as the settings say; else by the device alone. ``earlier``: continue with its
        connection. Returns the descriptor that pyfuse3 serves: forwarded requests arrive there.

        Raises:
            OSError: a thread or socket could not be made; ``device`` is closed.
        """
        settings = self._settings
        self.router.set_upcalls(operations)
        self._request_latency(cpu_latency_us(settings.cpu_latency_us))
        peer, self._ended = self.router.start(
            device,
            workers=settings.threads
            if settings.threads != AUTO
            else min(len(os.sched_getaffinity(0)), MAX_WORKERS),
            spin_us=settings.spin_us,
            disk_threads=settings.disk_threads,
            max_write=earlier.max_write if earlier else MAX_WRITE,
            io_uring=settings.io_uring and rings,
            init=earlier.init if earlier else b"",
        )
        return peer

    def _request_latency(self, latency_us: int | None) -> None:
        """Let the router hold a PM QoS request while it is busy, if this user may (root)."""
        if latency_us is None:
            return
        try:
            with PM_QOS.open("wb", buffering=0) as device:
                self.router.use_pm_qos(device.fileno(), latency_us)
        except OSError as exc:
            log.info("idle cores are not kept awake: %s: %s", PM_QOS, exc.strerror)

    def prefetch_names(self, mountpoint: Path) -> None:
        """Start readdirplus prefetch, if this user may (root); looks up the mountpoint."""
        if not self._settings.prefetch_names:
            return
        try:
            device = known_of(mountpoint).device
            call_own_mount(self.router.prefetch, os.fsencode(mountpoint), device)
        except OSError as exc:
            log.info("names are not prefetched: %s", exc.strerror)

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
    def counters(self) -> NativeCounters:
        """What the router counts, for the metrics."""
        extension = self._extension
        return NativeCounters(self.router.counters, extension.ANSWERED, extension.BUCKETS)

    @property
    def attributed_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of requests and tiers in what the router attributes."""
        return self._extension.ANSWERED, self._extension.TIERS

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
        """Have the kernel write back its dirty pages of a range of a file; waits for the WRITEs."""
        self.router.write_back(ino, offset, length)

    def invalidate_name(self, parent: int, name: bytes) -> None:
        """Have the kernel look a name up again before it next believes what it is, or is not."""
        self.router.invalidate_name(parent, name)

    def put_statfs(self, room: StatFs) -> None:
        """Let the router answer statvfs(3) with ``room`` for ``STATFS_S``."""
        self._cache.put_statfs(room)


def fast_path(settings: FastPathSettings) -> FastPath | None:
    """The fast path, or None with a warning where the extension is not installed properly."""
    try:
        extension = import_module(EXTENSION)
    except ImportError as exc:
        log.warning(
            "the fast path is off, and every request goes through Python: %s; install tierfs "
            "again, with a compiler",
            exc,
        )
        return None
    return FastPath(extension, settings)


def cpu_latency_us(setting: int, idle_driver: Path = IDLE_DRIVER) -> int | None:
    """The bound on the wake-up latency, in microseconds, that ``setting`` means on this machine.

    None: no bound. `AUTO_LATENCY` asks for polling where halting was measured to cost too much.
    """
    if setting != AUTO_LATENCY:
        return None if setting == ANY_LATENCY else setting
    try:
        return 0 if idle_driver.read_text().strip() == HALTS else None
    except OSError:
        return None  # a kernel without cpuidle: there is no state to choose


# ------------------------------------------------------------------ the metadata cache


class NativeCache:
    """The index's ``MetadataCache``, kept in the router's metadata cache."""

    def __init__(self, router: Router) -> None:
        # Called for every row: the router's own methods, not some that call them.
        self.put_inode = router.put_inode
        self.make_inode = router.make_inode
        self.change_inode = router.change_inode
        self.drop_inode = router.drop_inode
        self.put_dentry = router.put_dentry
        self.drop_dentry = router.drop_dentry
        self.put_xattrs = router.put_xattrs
        self.drop_xattrs = router.drop_xattrs
        self.begin_fill = router.begin_fill
        self.complete_fill = router.complete_fill
        self.put_listing = router.put_listing
        self.clear = router.clear
        self.drop_listing = router.drop_listing
        self._router = router
        self._has_statfs = False

    def committed(self) -> None:
        """A program that has just written or removed something wants to see that in df(1)."""
        if self._has_statfs:
            self._has_statfs = False
            self._router.put_statfs(NO_STATFS, 0.0)

    def put_statfs(self, room: StatFs) -> None:
        """See ``FastPath.put_statfs``."""
        blocks, free, available, files, files_free, name_max = room
        fields = (blocks, free, available, files, files_free, BLOCK, name_max, BLOCK)
        self._router.put_statfs(fields, STATFS_S)
        self._has_statfs = True


class NativeLookupCounts:
    """Lookup counts kept by the router, whose own answers make most of them."""

    def __init__(self, router: Router) -> None:
        self.add = router.add_lookups
        self.orphan = router.orphan
        self.forgotten = router.forgotten
        self.count = router.lookup_count

    def drop(self, ino: int, count: int) -> None:
        """Never called: the router takes every FORGET."""


class CacheFiller:
    """Counts misses, in any thread, and fills the metadata cache on the event loop."""

    def __init__(self, fill: CacheFill) -> None:
        self._fill = fill
        self._woken = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None

    def missed(self, ino: int) -> None:
        """The metadata cache did not have an inode."""
        self._fill.missed(ino)
        self._wake()

    def missed_in(self, directory: int) -> None:
        """The metadata cache did not have a name in a directory."""
        self._fill.missed_in(directory)
        self._wake()

    async def run(self) -> None:
        """Do cache fills until cancelled; a page at a time, so that requests come in between."""
        while True:
            if self._fill.idle:
                await self._wait()
            try:
                self._fill.fill()
            except FsError as exc:
                log.warning("the names of a directory cannot be loaded ahead: %s", exc)
            await trio.lowlevel.checkpoint()

    async def _wait(self) -> None:
        """Return when a directory is due."""
        woken = trio.Event()
        self._woken = woken
        self._token = trio.lowlevel.current_trio_token()
        if self._fill.idle:  # or it became due just now
            await woken.wait()
        self._token = None

    def _wake(self) -> None:
        token = self._token
        if token is not None and not self._fill.idle:
            self._token = None
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._woken.set)
