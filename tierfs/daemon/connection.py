"""The connection to the kernel: mounting it, giving it to pyfuse3, and its end."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pyfuse3

from tierfs.common.errors import MountFailed
from tierfs.common.metrics import Metrics
from tierfs.common.own_mount import call_own_mount
from tierfs.daemon import mounting
from tierfs.daemon.clearing import place_of, unmount
from tierfs.daemon.mountinfo import Mount, mount_at
from tierfs.daemon.mountpoint import is_stale
from tierfs.daemon.native import MAX_WRITE, FastPath
from tierfs.daemon.takeover import Supervised
from tierfs.fs.lookup_counts import Descriptors, LookupCounter, RouterPorts
from tierfs.metadata.cache_updater import NoMetadataCache
from tierfs.metadata.inodes import Inode

log = logging.getLogger(__name__)

FOR_LIBFUSE: Final = frozenset({"allow_root"})
"""The only option that libfuse itself must know, which does not mount here."""

READ_AHEAD_KIB: Final = 1024
"""Through Python: a tail is read by requests of this size, each of which costs a thread.

The default of 128 KiB halved the throughput of a first sequential read (docs/benchmarks.md).
"""

KIB: Final = 1024

BDI: Final = Path("/sys/class/bdi")


class Connection:
    """One mount at ``mountpoint``; ``fast_path`` stands between the kernel and pyfuse3, if any.

    ``invalidation`` is of use without it. With ``supervised`` another daemon may continue with the
    connection when this one ends, as this one may with that of an earlier one.
    """

    def __init__(
        self,
        mountpoint: Path,
        fast_path: FastPath | None,
        invalidation: Invalidation,
        supervised: Supervised | None = None,
    ) -> None:
        self.mountpoint = mountpoint
        self.fast_path = fast_path
        self._invalidation = invalidation
        self.supervised = supervised
        self._earlier = None if supervised is None else supervised.earlier
        self._device = -1
        self._own: Mount | None = None
        self._is_up = False

    @property
    def own(self) -> Mount | None:
        """The mount as it was made; None before ``open``."""
        return self._own

    @property
    def leaves_umask_to_daemon(self) -> bool:
        """Whether the kernel leaves the umask to the daemon; with the router it always does."""
        return self.fast_path is not None or mounting.leaves_umask_to_daemon()

    def read_bytes(self, metrics: Metrics) -> dict[str, int]:
        """Bytes that applications read from each tier: what ``metrics`` counted and the router."""
        tiers = ("flash", "disk")
        read = {tier: int(metrics.read_bytes.labels(tier).count()) for tier in tiers}
        if self.fast_path is not None:
            counters = self.fast_path.router.counters()
            read["flash"] += counters.flash_bytes
            read["disk"] += counters.disk_bytes
        return read

    @contextmanager
    def open(
        self, adapter: pyfuse3.Operations, upcalls: object, source: Path, words: Collection[str]
    ) -> Iterator[None]:
        """Mount with the options ``words``, and let pyfuse3 serve ``adapter``.

        ``upcalls`` has the functions that the router calls.

        If it ends with an unmount, or before ``up`` was called, nothing is left at the mountpoint.
        Otherwise the mount stays, dead: every call gives ENOTCONN, where without the mount programs
        would write into the directory below it.

        Raises:
            MountFailed: it cannot be mounted, or not be served, or its dead mount is left.
        """
        earlier = self._earlier
        self._device = earlier.device if earlier else mounting.mount(self.mountpoint, source, words)
        self._own = earlier.mount if earlier else mount_at(self.mountpoint)
        endpoint = self._device
        try:
            if self.fast_path is not None:
                try:
                    endpoint = self.fast_path.start(
                        self._device,
                        upcalls,
                        rings=self.supervised is None,
                        earlier=earlier,
                    )
                except OSError as exc:
                    raise MountFailed(f"the fast path cannot start: {exc.strerror}") from exc
            with (
                _served(adapter, endpoint, FOR_LIBFUSE & set(words)),
                self._invalidation.serving(),
            ):
                yield
        finally:
            if self.fast_path is not None:
                self.fast_path.stop()
            left = self._end()
        if left is not None:
            raise MountFailed(_left_dead(left))

    def up(self, descriptors: Descriptors) -> None:
        """The mount answers: from now on programs may rely on it.

        ``descriptors``: those of the volume, for a daemon that takes over.
        """
        self._is_up = True
        if self.supervised is not None and self.fast_path is None:
            self.supervised.refuse("it is served without the fast path")
        elif self.supervised is not None and self.fast_path is not None:
            init = self.fast_path.router.init()
            self.supervised.keep(self._device, descriptors, init, MAX_WRITE, self._own)

    def unmount(self, *, lazy: bool = False) -> None:
        """Unmount our mount, wherever it is now, and no other; ``lazy``: even while in use.

        Raises:
            MountFailed: it is in use, unmounted already, or something lies over it.
        """
        unmount(self._place(), lazy=lazy)

    def drop_pages(self, ino: int) -> None:
        """Have the kernel forget the bytes of a file that it holds; waits for reads and writes.

        Not for a thread that these need.
        """
        if self.fast_path is not None:
            self.fast_path.write_back(ino, 0, 0)
        else:
            with suppress(OSError):  # the kernel does not know the inode, or the mount has ended
                pyfuse3.invalidate_inode(ino)

    def invalidate_names(self, directory: int, names: Sequence[bytes]) -> None:
        """Have the kernel look names up again that were made without it.

        It may wait for a request in the directory: not for a thread that serves requests.
        """
        for name in names:
            if self.fast_path is not None:
                self.fast_path.invalidate_name(directory, name)
            else:
                self._invalidation.drop_name(directory, name)

    async def end_with_fast_path(self) -> None:
        """Let ``pyfuse3.main`` return when the router has ended, which pyfuse3 does not notice."""
        if self.fast_path is not None:
            await self.fast_path.wait_for_end()
            pyfuse3.terminate()

    def _end(self) -> Path | None:
        """Where our mount is left, dead; its descriptors are closed, so that nothing waits."""
        try:
            place = self._place()
        except MountFailed:
            return None  # it was unmounted
        if not is_stale(place):
            return None
        if not self._is_up:
            try:
                unmount(place, lazy=True)
            except MountFailed as exc:
                log.warning("%s", exc)
            return None
        log.error("%s", _left_dead(place))
        return place

    def _place(self) -> Path:
        if self._own is None:
            raise MountFailed(f"{self.mountpoint} is missing in the list of mounts")
        return place_of(self._own)


def _left_dead(place: Path) -> str:
    return (
        f"serving ended, but {place} was not unmounted: it is left mounted, dead, so that nothing "
        "is written into the directory below it; `tierfs mount` replaces it"
    )


@contextmanager
def _served(adapter: pyfuse3.Operations, endpoint: int, words: Collection[str]) -> Iterator[None]:
    """pyfuse3 on a descriptor that is open already, which it closes in the end."""
    try:
        pyfuse3.init(adapter, f"/dev/fd/{endpoint}", set(words))
    except RuntimeError as exc:
        os.close(endpoint)
        raise MountFailed(f"libfuse does not take the connection ({exc})") from exc
    try:
        yield
    finally:
        pyfuse3.close(unmount=False)


class Invalidation(NoMetadataCache):
    """Without the fast path: a view that keeps nothing, and invalidates the kernel's attributes.

    Why it must, and why that waits for nothing: ``tierfs/native/src/coherence.h``. Python does not
    note which thread got attributes, so it invalidates after every change.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Held during an invalidation: pyfuse3 must not be closed meanwhile."""
        self._serving = False

    def make_ports(self, _heads: int, _objects: int) -> RouterPorts:
        """The ports of a volume; see ``tierfs.fs.volume``."""
        return RouterPorts(self, LookupCounter())

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A block in which pyfuse3 is connected to the kernel."""
        with self._lock:
            self._serving = True
        try:
            yield
        finally:
            with self._lock:
                self._serving = False

    def drop_name(self, directory: int, name: bytes) -> None:
        """Have the kernel look a name up again."""
        with self._lock:
            if self._serving:
                pyfuse3.invalidate_entry_async(directory, name, ignore_enoent=True)

    def change_inode(self, row: Inode, /) -> None:
        """See ``MetadataCache``; an inode without a name is left alone."""
        if not row.nlink:
            return
        with self._lock:
            if self._serving:
                # ENOENT: the kernel does not know the inode; else the connection is over.
                with suppress(OSError):
                    pyfuse3.invalidate_inode(row.ino, attr_only=True)


# ------------------------------------------------------------------ read-ahead


def native_read_ahead_kib(head: int) -> int:
    """Read-ahead with the fast path, in KiB, for heads of ``head`` bytes: as long as a head.

    With a longer one the first request for a file would reach into its tail, and so the first byte
    would wait for the disk. The router reads the tail ahead by itself.
    """
    return min(head // KIB, READ_AHEAD_KIB)


def set_read_ahead(mountpoint: Path, bdi: Path = BDI, *, kib: int = READ_AHEAD_KIB) -> None:
    """Set the read-ahead of the filesystem at ``mountpoint``, if this user may (root).

    The file is documented in Documentation/ABI/testing/sysfs-class-bdi of Linux.
    """
    try:
        # Answered after INIT, whose reply sets the read-ahead as well (process_init_reply).
        device = call_own_mount(os.stat, mountpoint).st_dev
        path = bdi / f"{os.major(device)}:{os.minor(device)}" / "read_ahead_kb"
        path.write_text(f"{kib}\n")
    except OSError as error:
        log.info("read-ahead stays as it is: %s", error)
