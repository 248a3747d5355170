"""A volume: two directories and an index that belong together; made, opened, closed."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal, NamedTuple, TypeAlias

from tierfs.common.errors import FsError, VolumeEnded, VolumeRefused
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM, Os
from tierfs.common.times import Clock, system_clock
from tierfs.fs import trust
from tierfs.fs.checkpoint import Checkpoints
from tierfs.fs.filesystem import FileSystem
from tierfs.fs.identity import (
    Markers,
    is_read_only,
    read_markers,
    renew,
    require_agreement,
    volume_uuid,
)
from tierfs.fs.lookup_counts import Descriptors, InheritedCounts, MakePorts, no_router
from tierfs.fs.tiers import Tiers
from tierfs.metadata.index import BESIDE, Index, copy_closed, has_redo, migrate, require_database
from tierfs.metadata.inodes import DIRECTORY_SIZE, ROOT, Inode
from tierfs.metadata.usage import IndexUsage
from tierfs.policy.volume_file import VolumeFile
from tierfs.storage.markers import (
    MARKER,
    Marker,
    VolumeLock,
    check_formattable,
    probe,
    read_marker,
    rewrite_marker,
    write_marker,
)
from tierfs.storage.objects import ObjectStore, Space
from tierfs.storage.replaced import REPLACED, ReplacedObjects

log = logging.getLogger(__name__)

HEADS = trust.HEADS
OBJECTS = trust.OBJECTS
ROOT_MODE = stat.S_IFDIR | 0o755


TierName: TypeAlias = Literal["flash", "disk"]


class Usage(NamedTuple):
    """What a volume holds and where; bytes."""

    counts: IndexUsage
    flash: Space
    disk: Space
    index_bytes: int


def format_volume(settings: VolumeFile) -> uuid.UUID:
    """Make both directories a new, empty volume and return its UUID.

    Raises:
        VolumeRefused: a directory is not empty, missing, of a volume or open to others, or the
            index exists.
        OSError: a directory could not be written.
    """
    check_formattable(settings.flash, "flash")
    check_formattable(settings.disk, "disk")
    trust.require_trusted(settings, formatting=True)
    if settings.index.exists():
        raise VolumeRefused(
            f"{settings.index}: the index exists already: remove it, or name another with --index"
        )
    volume = uuid.uuid4()
    try:
        _write_empty_index(settings.index, volume)
        write_marker(settings.disk, Marker(volume, "disk"))
        write_marker(settings.flash, Marker(volume, "flash"))
    except BaseException:  # the next attempt must find empty directories, not half a volume
        for path in (settings.flash / MARKER, settings.disk / MARKER, settings.index):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    return volume


def _write_empty_index(path: Path, volume: uuid.UUID) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as exc:
        raise VolumeRefused(f"{path}: the index cannot be made there: {exc.strerror}") from exc
    index = Index(path, SYSTEM, Metrics())
    try:
        with index.transaction():
            index.inodes.insert(_root(time.time_ns()))
        index.keep_counts()
        index.bind(volume)
    finally:
        index.close()


def _root(now: int) -> Inode:
    return Inode(
        ino=ROOT,
        mode=ROOT_MODE,
        uid=os.getuid(),
        gid=os.getgid(),
        nlink=2,
        size=DIRECTORY_SIZE,
        rdev=0,
        atime=now,
        mtime=now,
        ctime=now,
        prefix=0,
        version=0,
        parent=ROOT,
        target=None,
        sparse=0,
        mirrored=0,
        btime=now,
    )


def remove_ended(settings: VolumeFile, target: Path) -> None:
    """Remove what is left of a volume that has ended: objects and index. Its markers stay.

    Raises:
        VolumeRefused: it has not ended, or its files are elsewhere than in ``target``.
        VolumeBusy: it is open.
        OSError: something could not be removed; the next call goes on.
    """
    with ExitStack() as locks:
        for directory in (settings.disk, settings.flash):
            locks.callback(VolumeLock(directory).release)
        try:
            marker = read_marker(settings.disk, "disk")
        except VolumeEnded as ended:
            if not str(target).startswith(ended.target):
                raise
        else:
            raise VolumeRefused(f"{settings.disk}: volume {marker.volume} has not ended")
        with suppress(VolumeEnded):  # else a crash came between the two
            marker = read_marker(settings.flash, "flash")
            rewrite_marker(settings.flash, marker._replace(ended=str(target)))
        for tier, objects in ((settings.disk, OBJECTS), (settings.flash, HEADS)):
            for root in (tier / objects, tier / REPLACED):
                if root.exists():
                    shutil.rmtree(root)
        for suffix in ("", *BESIDE):
            settings.index.with_name(settings.index.name + suffix).unlink(missing_ok=True)


_COPIES: Final = "/var/tmp"  # noqa: S108 - a directory of root alone is made there
"""Where an index is copied that cannot be written: it may have gigabytes."""


class Volume:
    """An open volume; no other process can open it until it is closed."""

    def __init__(
        self,
        settings: VolumeFile,
        metrics: Metrics,
        *,
        os_: Os = SYSTEM,
        clock: Clock = system_clock,
        make_ports: MakePorts = no_router,
        read_only: bool = False,
        force: bool = False,
        earlier: Descriptors | None = None,
    ) -> None:
        """``earlier``: take over what another process has served, while the kernel knows it."""
        self.settings = settings
        trust.require_trusted(settings)
        self.read_only = read_only
        self.uuid = volume_uuid(settings)
        self._os = os_
        with ExitStack() as resources:
            locks = [
                VolumeLock(settings.flash, earlier and earlier.flash_lock),
                VolumeLock(settings.disk, earlier and earlier.disk_lock),
            ]
            for lock in locks:
                resources.callback(lock.release)
            markers = read_markers(settings)
            _require_undamaged(settings, markers.flash, force=force)
            path = _readable_index(settings, os_, resources) if read_only else settings.index
            self.index = _open_index(path, self.uuid, os_, metrics, read_only=read_only)
            resources.callback(self.index.close)
            require_agreement(settings, markers, self.index.generations())
            if not read_only:
                self._begin(settings, markers, takes_over=earlier is not None)
            self._flash = _open_store(
                "flash", settings.flash / HEADS, os_, resources, earlier and earlier.flash
            )
            self._disk = _open_store(
                "disk", settings.disk / OBJECTS, os_, resources, earlier and earlier.disk
            )
            self.descriptors = Descriptors(
                locks[0].descriptor,
                locks[1].descriptor,
                self._flash.directory,
                self._disk.directory,
            )
            replaced = tuple(
                _open_replaced(store, os_, resources, read_only=read_only)
                for store in (self._flash, self._disk)
            )
            if not read_only:
                self.index.check_reservations(self._flash.set_aside_unowned)
            ports = make_ports(self._flash.directory, self._disk.directory)
            self.inherited_counts = (
                InheritedCounts(
                    ports.lookup_counts, self.index.made_from, self.index.inodes.orphans()
                )
                if earlier
                else None
            )
            self.index.attach_cache(ports.cache)
            self.fs = FileSystem(
                index=self.index,
                tiers=Tiers(self._flash, self._disk, metrics, os_, self.index.made_from, replaced),
                head=settings.head,
                volume=self.uuid,
                metrics=metrics,
                lookup_counts=self.inherited_counts or ports.lookup_counts,
                clock=clock,
            )
            resources.callback(self.fs.dirty.close)
            self.checkpoints = Checkpoints(
                self.index,
                self.fs.syncer,
                self.fs.reclaimer,
                self._flash.space().capacity,
                lambda: renew(settings, read_markers(settings), self.index, os_),
            )
            self._resources = resources.pop_all()

    def _begin(self, settings: VolumeFile, markers: Markers, *, takes_over: bool) -> None:
        """Begin a mount generation, or continue with that of the daemon before."""
        if takes_over:
            self.index.answered.take_over()
            with self.index.transaction():
                pass  # before it, serials are reserved: those of the earlier daemon are skipped
            return
        renew(settings, markers, self.index, self._os)
        self.index.answered.begin()

    def free_forgotten(self, is_known: Callable[[int], bool]) -> None:
        """After a takeover: let the unlinked inodes be freed that the kernel does not know now."""
        if self.inherited_counts is not None:
            for ino in self.inherited_counts.unknown(is_known):
                self.fs.reclaimer.add_unlinked(ino)

    def usage(self) -> Usage:
        """Counts and room by tier: what the index keeps, and a statvfs of each directory."""
        return Usage(self.index.usage(), self._flash.space(), self._disk.space(), self.index.size())

    def probe(self, tier: TierName, *, device: bool) -> Space:
        """The room in a tier's filesystem, once that has answered a read; may hang with it.

        With ``device`` the read is not answered from memory.

        Raises:
            OSError: the device or its filesystem failed.
        """
        store = self._flash if tier == "flash" else self._disk
        probe(store.root.parent, tier, self._os, device=device)
        return store.space()

    def flash_space(self) -> Space:
        """The room in the flash directory's filesystem.

        Raises:
            OSError: statvfs failed.
        """
        return self._flash.space()

    @property
    def disk(self) -> ObjectStore:
        """The objects of the disk tier."""
        return self._disk

    def end(self, target: Path) -> None:
        """Let nobody open the volume again, durably: its files are in ``target``.

        Its objects and its index are left to ``remove_ended``.

        Raises:
            OSError: a marker could not be written. With one of them the volume has ended.
        """
        markers = read_markers(self.settings)
        rewrite_marker(self.settings.disk, markers.disk._replace(ended=str(target)), self._os)
        self.read_only = True  # no marker is written any more, at the end of this either
        rewrite_marker(self.settings.flash, markers.flash._replace(ended=str(target)), self._os)

    def close(self) -> None:
        """Free unlinked files, make everything durable, and close the volume."""
        with self._resources:
            if self.read_only:
                return
            # No request is left, so even the thread of the event loop may wait.
            self.fs.recovery.never_wait.clear()
            try:
                self.fs.adoption.settle()
                self.fs.reclaimer.add_leftovers()
                self.checkpoints.make()
                self.index.keep_counts()
            except (FsError, OSError, VolumeRefused) as exc:
                log.warning("closing left work to the next mount: %s", exc)
            finally:
                self.index.feed.on_close()


def open_volume(
    settings: VolumeFile,
    *,
    metrics: Metrics,
    os_: Os = SYSTEM,
    clock: Clock = system_clock,
    make_ports: MakePorts = no_router,
    read_only: bool = False,
    force: bool = False,
    earlier: Descriptors | None = None,
) -> Volume:
    """Open a volume for one daemon and recover it.

    With ``read_only`` nothing is written, neither to the directories nor to the index, and nothing
    recovered: what a crash has left waits. With ``force`` a volume is opened although a check found
    damage. With ``earlier`` it is the volume of a daemon that has ended, whose mount lives.

    Raises:
        VolumeRefused: the directories are not this volume, not of the same time, damaged, or
            others can change them.
        VolumeBusy: another daemon has it.
        FsError, OSError: the index or a directory cannot be used.
    """
    volume = Volume(
        settings,
        metrics,
        os_=os_,
        clock=clock,
        make_ports=make_ports,
        read_only=read_only,
        force=force,
        earlier=earlier,
    )
    try:
        volume.fs.adoption.recover()
        if earlier:
            volume.fs.names.take_over(volume.index.inodes.orphans())
        volume.fs.recovery.run(kernel_knows=earlier is not None)
    except BaseException:
        volume.close()
        raise
    return volume


def _require_undamaged(settings: VolumeFile, marker: Marker, *, force: bool) -> None:
    if not marker.damage:
        return
    what = f"{settings.path}: 'tierfs fsck' found damage ({marker.damage})"
    if not force:
        raise VolumeRefused(
            f"{what}: repair it with 'tierfs fsck --repair {settings.path}', or mount it as it is "
            "with the option 'force', best together with 'ro', to copy what can be read"
        )
    log.warning("%s; it is mounted anyway (force)", what)


def write_protected(settings: VolumeFile) -> list[Path]:
    """The directories of the volume on a filesystem that is mounted read-only; [] usually.

    One that is missing is none of them: who opens the volume says what is wrong with it.
    """
    directories = dict.fromkeys((settings.flash, settings.disk, settings.index.parent))
    return [directory for directory in directories if is_read_only(directory)]


def _readable_index(settings: VolumeFile, os_: Os, resources: ExitStack) -> Path:
    """The index that is to be read only: with the present schema, and nothing in a redo log.

    Where it cannot be written, and has a redo log, it is a copy.
    """
    require_database(settings.index, writable=False)
    if not is_read_only(settings.index.parent):
        migrate(settings.index, os_, Metrics())
    elif has_redo(settings.index):
        directory = resources.enter_context(TemporaryDirectory(prefix="tierfs-", dir=_COPIES))
        log.warning(
            "%s cannot be written, and needs its redo log: it is read from a copy below %s",
            settings.index,
            _COPIES,
        )
        try:
            copy = copy_closed(settings.index, Path(directory))
        except OSError as exc:
            raise VolumeRefused(
                f"{settings.index}: its last changes are in its redo log alone, and there is no "
                f"place for a copy below {_COPIES}: {exc.strerror}"
            ) from exc
        migrate(copy, os_, Metrics())
        return copy
    return settings.index


def _open_index(
    path: Path, volume: uuid.UUID, os_: Os, metrics: Metrics, *, read_only: bool
) -> Index:
    require_database(path, writable=not read_only)
    index = Index(path, os_, metrics, read_only=read_only)
    try:
        index.require(volume)
    except BaseException:
        index.close()
        raise
    return index


def _open_replaced(
    store: ObjectStore, os_: Os, resources: ExitStack, *, read_only: bool
) -> ReplacedObjects:
    objects = ReplacedObjects(store.name, store.directories, os_, read_only=read_only)
    resources.callback(objects.close)
    return objects


def _open_store(
    name: str, root: Path, os_: Os, resources: ExitStack, directory: int | None
) -> ObjectStore:
    store = ObjectStore(name, root, os_, directory)
    resources.callback(store.close)
    return store
