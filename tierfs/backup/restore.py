"""Restoring: an index from a backup and the feed behind it, made to agree with the objects.

The index is made beside its place, under another name. Only when it is whole and durable the
markers get its generation, and then it gets its name: a restore that was interrupted has changed
nothing that is read, and is begun again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from tierfs.backup.files import Chain, chain_from, directory_of
from tierfs.backup.making import decompressed, sync_directory
from tierfs.backup.reconcile import Circumstances, Found, Missing, Placement, Tier, decide
from tierfs.common.beneath import open_beneath
from tierfs.common.errors import IndexDamaged, VolumeRefused
from tierfs.common.osio import SYSTEM, Os
from tierfs.common.sync import sync_file
from tierfs.fs.trust import HEADS, OBJECTS, require_trusted
from tierfs.fsck.faults import Paths, cases
from tierfs.fsck.objects import may_be_old, own_copies, walk
from tierfs.metadata.copying import copy_index, empty_index
from tierfs.metadata.index import BESIDE, SERIAL_BLOCK
from tierfs.metadata.inodes import Inode
from tierfs.metadata.integrity import IntegrityCheck, repairing
from tierfs.metadata.restoring import RestoredIndex
from tierfs.policy.volume_file import VolumeFile
from tierfs.storage.layout import object_path
from tierfs.storage.markers import Marker, VolumeLock, read_marker, rewrite_marker, write_marker

UNFINISHED: Final = ".restoring"
"""Behind the name of the index, while it is made."""

_MEMORY: Final = 64 * 1024 * 1024
TICK: Final = 20_000_000
"""Nanoseconds: the time of a file is that of the kernel's last tick, 10 ms before at most."""

Listener = Callable[[bytes, str], None]
"""Called with the path of each file that has lost bytes, and which."""


@dataclass(slots=True)
class Report:
    """What a restore did."""

    backup: Path | None = None
    """None: the index that was there, or none at all."""
    made: int = 0
    """When the last change was written that is known, in nanoseconds since the epoch."""
    changes: int = 0
    """Changes behind the backup that were carried out."""
    inodes: int = 0
    placed: int = 0
    """Files whose bytes are elsewhere than the backup says, or of another length."""
    found: int = 0
    """Files without a name, now in ``lost+found``."""
    missing: int = 0
    """Files of which bytes are gone."""
    problems: list[str] = field(default_factory=list)
    """What in the directories could not be read."""


class Source(NamedTuple):
    """What the index is made of: a chain of backups, an index that is there, a dump, or nothing."""

    chain: Chain | None = None
    old: Path | None = None
    dump: Iterable[str] | None = None


def restore(
    settings: VolumeFile,
    *,
    backup: Path | None = None,
    from_objects: bool = False,
    dump: Iterable[str] | None = None,
    listener: Listener = lambda _path, _what: None,
    os_: Os = SYSTEM,
) -> Report:
    """Make the index of a volume again, which has none, from its backups.

    Args:
        settings: of the volume, whose directories both have their markers.
        backup: the one to take; None: the newest.
        from_objects: take none: each object becomes a file in ``lost+found``.
        dump: take none, but these lines.
        listener: see `Listener`.
        os_: for tests.

    Raises:
        VolumeRefused: there is an index, or no backup; the directories are not a volume; or the
            backup or the dump is of another one.
        VolumeBusy: it is mounted.
        DamageFound: the backup is damaged.
        IndexFailed, OSError: something could not be read or written.
    """
    require_trusted(settings)
    markers = read_marker(settings.flash, "flash"), read_marker(settings.disk, "disk")
    if markers[0].volume != markers[1].volume:
        raise VolumeRefused(
            f"{settings.flash} belongs to volume {markers[0].volume}, {settings.disk} to "
            f"{markers[1].volume}: check 'flash' and 'disk' in the volume file"
        )
    with _locked(settings.flash, settings.disk):
        require_no_index(settings.index)
        source = Source(dump=dump)
        if dump is None and not from_objects:
            source = Source(chain_from(directory_of(settings), backup))
        with made_index(settings, source, markers[1], flash_lost=False, os_=os_) as made:
            made.reconcile(listener)
            generation = made.finish()
            for marker, directory in zip(markers, (settings.flash, settings.disk), strict=True):
                rewrite_marker(directory, marker._replace(generation=generation, damage=""), os_)
            made.put_in_place()
        return made.report


def require_no_index(path: Path) -> None:
    """Check that nothing would be replaced; a log without its database belongs to nothing.

    Raises:
        VolumeRefused: there is an index.
    """
    if path.exists() and path.stat().st_size:
        raise VolumeRefused(
            f"{path}: there is an index. If 'tierfs fsck' calls it damaged, move it away, then "
            "restore"
        )


@contextmanager
def _locked(*directories: Path) -> Iterator[None]:
    with ExitStack() as stack:
        for directory in directories:
            stack.callback(VolumeLock(directory).release)
        yield


@contextmanager
def made_index(
    settings: VolumeFile, source: Source, disk: Marker, *, flash_lost: bool, os_: Os
) -> Iterator[MadeIndex]:
    """An index from its source, under its unfinished name; the volume is locked."""
    made = MadeIndex(settings, disk, flash_lost=flash_lost, os_=os_)
    made.discard()
    try:
        os_.call("restore.index", made.make, source)
        yield made
    finally:
        made.discard()


class MadeIndex:
    """An index that is being made, for one thread."""

    def __init__(self, settings: VolumeFile, disk: Marker, *, flash_lost: bool, os_: Os) -> None:
        self._settings = settings
        self._volume = disk.volume
        self._flash_lost = flash_lost
        self._os = os_
        self._generation = str(uuid.uuid4())
        self.path = settings.index.with_name(settings.index.name + UNFINISHED)
        self.report = Report()
        self._known_until = 0
        """Every change before this time, in nanoseconds, is in the index."""
        self._stores: dict[Tier, Path] = {
            "flash": settings.flash / HEADS,
            "disk": settings.disk / OBJECTS,
        }

    def discard(self) -> None:
        """Remove what an attempt has left; what was put in place is not there any more."""
        for suffix in ("", *BESIDE):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def make(self, source: Source) -> None:
        """The rows, as the source has them; of a new generation."""
        report = self.report
        if source.chain is not None:
            report.backup, report.made = source.chain.backup.path, source.chain.made
            with decompressed(source.chain.backup.path) as stream, _new_file(self.path) as file:
                shutil.copyfileobj(stream, file, 1024 * 1024)
        elif source.old is not None:
            report.made = source.old.stat().st_mtime_ns
            copy_index(source.old, self.path, _MEMORY)
        else:
            empty_index(self.path)
        with closing(RestoredIndex(self.path)) as index:
            index.migrate()
            if source.dump is not None:
                report.made = index.load(source.dump)
            if source == Source():
                index.make_root(os.getuid(), os.getgid())
            elif (owner := index.volume()) != str(self._volume):
                raise VolumeRefused(
                    f"{report.backup or source.old or 'the dump'}: is of volume {owner}, not of "
                    f"{self._volume}"
                )
            for segment in source.chain.segments if source.chain else ():
                report.changes += index.replay(segment.path)
            # A file of a backup is written some time after what is in it was read.
            self._known_until = min(report.made, index.last_change() - TICK)
            index.begin_anew(str(self._volume), self._generation)

    def reconcile(self, listener: Listener) -> None:
        """Make the rows agree with the objects."""
        with tempfile.TemporaryFile("w+", encoding="ascii") as decisions:
            with closing(IntegrityCheck(self.path)) as index:
                if problems := index.problems(thorough=False):
                    raise IndexDamaged(errno.EIO, f"the backup is damaged: {problems[0]}")
            with repairing(self.path) as repair:
                own_copies(self._stores["disk"], repair, least_prefix=0)
            with closing(IntegrityCheck(self.path)) as index:
                index.prepare()
                for tier, root in self._stores.items():
                    index.remember(tier, walk(root, self._add_problem))
                following = max(index.largest_serial() + 1, index.next_serial()) + SERIAL_BLOCK
                self._decide(index, listener, decisions.write)
            decisions.seek(0)
            with repairing(self.path) as repair:
                repair.raise_serial(following)
                for ino, what, size, prefix, mirrored, trim in map(json.loads, decisions):
                    if what == "missing":
                        repair.require_size(ino, size)
                    elif what == "found":
                        repair.insert_file(ino, size, prefix)
                        repair.link_to_lost_and_found(ino)
                    else:
                        repair.place(ino, size, prefix, mirrored)
                        if trim:
                            repair.trim(ino)
                if self._flash_lost:
                    repair.clear_dirty()

    def _decide(
        self, index: IntegrityCheck, listener: Listener, write: Callable[[str], object]
    ) -> None:
        paths = Paths(index)
        known = Circumstances(
            self._flash_lost,
            self._settings.head,
            self._known_until,
            self._is_whole,
            self._changed_at,
            self._made_at,
            self._is_old,
        )
        for case in cases(index):
            self.report.inodes += case.inode is not None
            match decide(case, known):
                case Placement(size, prefix, mirrored, trim):
                    self.report.placed += 1
                    write(json.dumps([case.ino, "placed", size, prefix, mirrored, trim]) + "\n")
                case Found(size, prefix):
                    self.report.found += 1
                    write(json.dumps([case.ino, "found", size, prefix, 0, False]) + "\n")
                case Missing(what):
                    self.report.missing += 1
                    if case.dirty is not None and case.inode is not None:
                        size = case.inode.size
                        write(json.dumps([case.ino, "missing", size, 0, 0, False]) + "\n")
                    listener(paths.of(case.ino, case.names), what)

    def finish(self) -> str:
        """Make it durable under its unfinished name; returns its mount generation."""
        with self.path.open("rb") as file:
            self._os.call("restore.fsync", sync_file, file.fileno())
        return self._generation

    def put_in_place(self) -> None:
        """Give it its name, durably: the volume has an index."""
        index = self._settings.index
        for suffix in BESIDE:
            index.with_name(index.name + suffix).unlink(missing_ok=True)
        self._os.call("restore.rename", self.path.rename, index)
        sync_directory(index.parent)

    def mark_new_flash(self, disk: Marker) -> None:
        """Make the flash directory one of the volume, and let the disk's marker agree."""
        settings = self._settings
        rewrite_marker(settings.disk, disk._replace(generation=self._generation), self._os)
        (settings.flash / ".tierfs").unlink(missing_ok=True)
        marker = Marker(disk.volume, "flash", self._generation)
        self._os.call("restore.mark", write_marker, settings.flash, marker)

    def _is_whole(self, tier: Tier, ino: int, start: int, end: int) -> bool:
        with self._opened(tier, ino) as descriptor:
            if descriptor is None or os.fstat(descriptor).st_size < end:
                return False
            return start >= end or os.lseek(descriptor, start, os.SEEK_HOLE) >= end

    def _changed_at(self, ino: int) -> int:
        changed = 0
        for tier in self._stores:
            with self._opened(tier, ino) as descriptor:
                if descriptor is not None:
                    changed = max(changed, os.fstat(descriptor).st_mtime_ns)
        return changed

    def _made_at(self, ino: int) -> int:
        with self._opened("disk", ino) as descriptor:
            return 0 if descriptor is None else os.fstat(descriptor).st_ctime_ns

    def _is_old(self, inode: Inode) -> bool:
        return may_be_old(self._stores["flash"], self._stores["disk"], inode, self._known_until)

    @contextmanager
    def _opened(self, tier: Tier, ino: int) -> Iterator[int | None]:
        """An object; None: there is none, or it cannot be opened."""
        root = self._stores[tier]
        with ExitStack() as stack:
            above = os.open(root.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, above)
            try:
                path = f"{root.name}/{object_path(ino)}"
                descriptor = self._os.call(
                    f"{tier}.open", partial(open_beneath, dir_fd=above), path, os.O_RDONLY
                )
            except OSError:
                yield None
                return
            stack.callback(os.close, descriptor)
            yield descriptor

    def _add_problem(self, path: Path, error: OSError | None) -> None:
        self.report.problems.append(f"{path}: {error.strerror if error else 'is not an object'}")


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
