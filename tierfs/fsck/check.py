"""The check itself: what it asks of whom, and in which order.

One pass over every table and both object directories, merged by inode number: memory does not
grow with the volume. Nothing is changed.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tierfs.common.errors import IndexDamaged, IndexFailed, VolumeRefused
from tierfs.common.osio import SYSTEM
from tierfs.fs.checksums import State, inspect
from tierfs.fs.identity import disagreement, locked, read_markers
from tierfs.fs.tiers import DISK
from tierfs.fs.trust import HEADS, OBJECTS
from tierfs.fsck import kinds
from tierfs.fsck.faults import Case, Fault, Paths, cases, link_faults, object_faults, row_faults
from tierfs.fsck.kinds import Kind, Severity
from tierfs.fsck.objects import first_difference, walk
from tierfs.metadata.checksums import Checksum
from tierfs.metadata.index import SERIAL_BLOCK
from tierfs.metadata.integrity import IntegrityCheck, Tier
from tierfs.policy.volume_file import VolumeFile
from tierfs.storage.layout import object_path
from tierfs.storage.markers import read_marker, rewrite_marker
from tierfs.storage.objects import ObjectStore
from tierfs.storage.replaced import replaced_lengths, to_put_back

BY_STATE: Mapping[State, Kind] = {
    "bad-head": kinds.WRONG_HEAD,
    "bad-mirror": kinds.WRONG_MIRROR,
    "lost": kinds.WRONG_BYTES,
    "unreadable": kinds.UNREADABLE,
    "differs": kinds.MIRROR_DIFFERS,
}
"""What it means that the bytes of a file are so."""

LEFT_BY_ADOPT = frozenset({kinds.MISSING_OBJECT, kinds.UNOWNED_OBJECT})
"""What a killed adoption leaves for the next mount: an original has the bytes."""

KEPT = 1000
"""Findings that a report keeps; `Listener` gets all of them."""


class Finding(NamedTuple):
    """Something found; ``ino`` is 0 where it concerns no single inode.

    ``path`` is in the volume; of what concerns no inode in the filesystem below, or empty.
    ``remedy`` is what a repair needs to know, such as the right link count; 0: there is no repair.
    """

    kind: Kind
    ino: int
    what: str
    path: bytes = b""
    remedy: int = 0


@dataclass(slots=True)
class Report:
    """What a check saw; ``findings`` are the first `KEPT`, ``counts`` are of all."""

    volume: str
    inodes: int = 0
    files: int = 0
    objects: int = 0
    awaiting_removal: int = 0
    """Inodes unlinked while open: the next mount frees them."""
    awaiting_trim: int = 0
    """Files whose objects the next mount trims."""
    verified: int = 0
    """Files whose bytes were compared with their checksums."""
    complete: bool = True
    """Whether the check came to its end; False: the index could not be read."""
    online: bool = False
    """Whether the volume was mounted meanwhile."""
    explained: int = 0
    """Inodes that looked wrong, since they were changed during the check, and are right."""
    unnoted: str = ""
    """Why the damage could not be noted in the marker of flash; empty: it is, or there is none."""
    counts: Counter[Kind] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether there is nothing but notes."""
        return all(kind.severity == "note" for kind in self.counts)

    @property
    def damage(self) -> str:
        """What is damaged, for people: kinds and how many of each; empty: nothing."""
        found = [(kind.name, count) for kind, count in self.counts.items() if count]
        damaged = {
            kind.name
            for kind in self.counts
            if kind.severity == "damage" and kind not in kinds.HEALED_BY_SCRUB
        }
        return ", ".join(f"{name} {count}" for name, count in found if name in damaged)

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if it is one of the first."""
        self.counts[finding.kind] += 1
        if len(self.findings) < KEPT:
            self.findings.append(finding)

    def count(self, severity: Severity) -> int:
        """How many findings are so bad."""
        return sum(count for kind, count in self.counts.items() if kind.severity == severity)


Listener = Callable[[Finding], None]
"""Called with every finding when it is found."""


def ignore(_finding: Finding) -> None:
    """A listener for who needs the report alone."""


def check(
    settings: VolumeFile,
    *,
    thorough: bool = False,
    data: bool = False,
    listener: Listener = ignore,
) -> Report:
    """Check a volume that is not mounted.

    ``thorough``: mirrors byte by byte, and SQLite's indexes. ``data``: all bytes that have
    checksums.

    Raises:
        VolumeRefused: the directories or the index are not this volume, or of another schema.
        VolumeBusy: a daemon or another check has it.
        IndexFailed: there was no room for SQLite's temporary files, or no leave to open one.
        OSError: a marker cannot be opened.
    """
    with locked(settings) as volume:
        report = examine(settings, volume, thorough=thorough, data=data, listener=listener)
        note_damage(settings, report, thorough=thorough)
        return report


def note_damage(settings: VolumeFile, report: Report, *, thorough: bool) -> None:
    """Let the marker of flash say what is damaged, so that nobody mounts it unawares.

    What a thorough check found only another one clears: others do not look at all of it.
    """
    marker = read_marker(settings.flash, "flash")
    if report.damage:
        wanted = marker._replace(damage=report.damage, thorough=thorough)
    elif report.complete and (thorough or not marker.thorough):
        wanted = marker._replace(damage="", thorough=False)
    else:
        return
    if wanted != marker:
        try:
            rewrite_marker(settings.flash, wanted)
        except OSError as exc:
            report.unnoted = f"{settings.flash}: {exc.strerror}"


def examine(
    settings: VolumeFile,
    volume: str,
    *,
    thorough: bool = False,
    data: bool = False,
    listener: Listener = ignore,
    snapshot: Path | None = None,
) -> Report:
    """Check a volume that the caller has locked; as ``check``.

    ``snapshot``: a copy of the index of a volume that is mounted. Objects may be newer than it, and
    some findings therefore be none: see `tierfs.fsck.online`.
    """
    report = Report(volume, online=snapshot is not None)
    checker = _Checker(settings, report, listener, data=data)
    try:
        with closing(IntegrityCheck(snapshot or settings.index)) as index, checker:
            checker.run(index, thorough=thorough)
    except IndexFailed as exc:
        if exc.errno != errno.EIO:
            raise
        report.complete = False
        kind = kinds.INDEX if isinstance(exc, IndexDamaged) else kinds.UNREADABLE
        checker.add(Finding(kind, 0, str(exc)))
    return report


def _older(objects: Iterable[tuple[int, int]], following: int) -> Iterator[tuple[int, int]]:
    """Those that are not of files made since ``following`` was the next number to be given."""
    return ((ino, length) for ino, length in objects if ino < following)


def _unpaced(_nbytes: int) -> None:
    """Somebody waits for the check."""


class _Checker:
    """One check under way."""

    def __init__(
        self, settings: VolumeFile, report: Report, listener: Listener, *, data: bool
    ) -> None:
        self._data = data
        self._opened: list[ObjectStore] = []
        """Both stores, once bytes were compared with checksums."""
        self._settings = settings
        self._report = report
        self._listener = listener
        self._adopting: list[range] = []
        self._put_back: set[int] = set()
        """Inodes of which the next mount puts an object back."""
        self._stores: dict[Tier, Path] = {
            "flash": settings.flash / HEADS,
            "disk": settings.disk / OBJECTS,
        }

    def __enter__(self) -> None:
        """Nothing is open yet."""

    def __exit__(self, *_: object) -> None:
        for store in self._opened:
            store.close()

    def add(self, finding: Finding) -> None:
        """Count a finding and pass it on."""
        self._report.add(finding)
        self._listener(finding)

    def run(self, index: IntegrityCheck, *, thorough: bool) -> None:
        """Find everything."""
        if not self._index_is_sound(index, thorough=thorough):
            self._report.complete = False
            return
        index.prepare()
        for tier, root in self._stores.items():
            objects = self._counted(walk(root, self._add_foreign))
            if self._report.online:
                index.remember(tier, _older(objects, index.next_serial()))
            else:
                index.remember(tier, self._as_mounted(objects, root.parent, index))
        self._adopting = index.adopting()
        self._check_generation(index)
        self._check_serials(index)
        self._check_counts(index)
        paths = Paths(index)
        for ino, location in index.bad_names():
            path = paths.at(location)
            self.add(Finding(kinds.BAD_NAME, ino, f"name {location.name!r}", path))
        for case in cases(index):
            self._check_case(case, index, paths, thorough=thorough)

    def _as_mounted(
        self, objects: Iterable[tuple[int, int]], tier: Path, index: IntegrityCheck
    ) -> Iterator[tuple[int, int]]:
        """The objects as the next mount makes them: it puts replaced ones back."""
        lengths = replaced_lengths(tier)
        back = {each.ino: lengths[each] for each in to_put_back(lengths, index.version_of)}
        self._put_back.update(back)
        for ino, length in objects:
            yield ino, back.pop(ino, length)
        yield from back.items()

    def _index_is_sound(self, index: IntegrityCheck, *, thorough: bool) -> bool:
        """Whether the tables can be read at all."""
        problems = index.problems(thorough=thorough)
        if problems and (where := index.unreadable_file()):
            self.add(Finding(kinds.UNREADABLE, 0, where, os.fsencode(index.path)))
            return False
        for problem in problems:
            self.add(Finding(kinds.INDEX, 0, problem))
        if problems:
            return False
        index.require_current()
        differences = index.schema_differences()
        for name in differences:
            self.add(Finding(kinds.SCHEMA, 0, f"{name} is missing, unknown or different"))
        if differences:
            return False
        if (owner := index.owner()) != self._report.volume:
            raise VolumeRefused(
                f"{index.path}: this index belongs to volume {owner or '(none)'}, not to "
                f"{self._report.volume}: check 'index' in the volume file"
            )
        return True

    def _check_serials(self, index: IntegrityCheck) -> None:
        largest, following = index.largest_serial(), index.next_serial()
        if largest >= following:
            what = f"{largest} is in use, and {following} would be given next"
            self.add(Finding(kinds.SERIAL, 0, what, remedy=largest + 1))

    def _check_counts(self, index: IntegrityCheck) -> None:
        wrong = index.miscounted()
        if wrong:
            what = ", ".join(f"{name} is {old}, not {new}" for name, (old, new) in wrong.items())
            self.add(Finding(kinds.COUNTS, 0, what, remedy=1))

    def _check_generation(self, index: IntegrityCheck) -> None:
        what = disagreement(self._settings, read_markers(self._settings), index.generations())
        if what:
            self._data = False  # bytes may be newer than their checksums
            # The index may have handed out more than it knows: to directories, or beyond a block.
            following = max(index.largest_serial() + 1, index.next_serial())
            self.add(Finding(kinds.GENERATION, 0, what, remedy=following + SERIAL_BLOCK))

    def _check_case(
        self, case: Case, index: IntegrityCheck, paths: Paths, *, thorough: bool
    ) -> None:
        self._count(case)
        found = [*row_faults(case), *link_faults(case, paths), *object_faults(case)]
        if case.inode and case.inode.adopted and case.inode.nlink and case.disk is not None:
            found += self._original_faults(case, index)
        if found and any(case.ino in each for each in self._adopting):
            found = [fault for fault in found if fault.kind not in LEFT_BY_ADOPT]
        is_clean = not found and case.dirty is None and case.ino not in self._put_back
        # Others may change the object of an adopted file: that is not damage of a mirror.
        is_shared = case.inode is not None and case.inode.adopted > 0
        if is_clean and self._data and case.known is not None and case.is_file:
            found += self._data_faults(case, case.known)
        elif is_clean and (thorough or self._data) and not is_shared and case.is_mirrored:
            found += self._mirror_faults(case)
        if found:
            path = paths.of(case.ino, case.names)
            for kind, what, remedy in found:
                self.add(Finding(kind, case.ino, what, path, remedy))

    def _original_faults(self, case: Case, index: IntegrityCheck) -> Iterator[Fault]:
        original = index.original(case.ino)
        if original is None:  # the index was restored: the first read takes what is there
            return
        try:
            status = os.lstat(self._stores["disk"] / object_path(case.ino))
        except OSError as exc:
            yield Fault(kinds.UNREADABLE, f"its disk object cannot be looked at: {exc.strerror}")
            return
        if not original.is_unchanged(status):
            what = f"its original has {status.st_size} bytes, and had {original.size}"
            if original.size == status.st_size:
                what = "its original was modified"
            yield Fault(kinds.CHANGED_OUTSIDE, what)

    def _mirror_faults(self, case: Case) -> Iterator[Fault]:
        if case.inode is None or not case.inode.nlink:
            return
        try:
            offset = first_difference(self._stores["flash"], self._stores["disk"], case.inode)
        except OSError as exc:
            yield Fault(kinds.UNREADABLE, f"an object cannot be read: {exc}")
        else:
            if offset is not None:
                yield Fault(kinds.MIRROR_DIFFERS, f"byte {offset} differs")

    def _data_faults(self, case: Case, known: Checksum) -> Iterator[Fault]:
        """What of the bytes of a file, whose objects are long enough, is not as it was."""
        if case.inode is None or not case.inode.nlink:
            return
        if not self._opened:
            roots = self._stores.items()
            self._opened += [ObjectStore(tier, root, SYSTEM) for tier, root in roots]
        verdict = inspect(self._opened, case.inode, known, _unpaced)
        self._report.verified += 1
        kind = BY_STATE.get(verdict.state)
        if case.inode.adopted and (verdict.state == "bad-mirror" or verdict.lost == (DISK,)):
            kind = kinds.CHANGED_OUTSIDE  # though its size and its mtime are what they were
        if kind is not None:
            yield Fault(kind, verdict.what, int(kind in kinds.HEALED_BY_SCRUB))

    def _count(self, case: Case) -> None:
        report = self._report
        if case.inode is not None:
            report.inodes += 1
            report.files += case.is_file
            report.awaiting_removal += case.inode.nlink == 0
            report.awaiting_trim += case.pending_truncation and case.inode.nlink > 0

    def _counted(self, objects: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        for found in objects:
            self._report.objects += 1
            yield found

    def _add_foreign(self, path: Path, exc: OSError | None) -> None:
        """What is in an object directory and no object, or cannot be read."""
        if self._report.online and isinstance(exc, FileNotFoundError):
            return  # it was removed since its name was read
        if exc is None:
            finding = Finding(kinds.FOREIGN, 0, "is not an object of tierfs", os.fsencode(path))
        else:
            what = f"cannot be read: {exc.strerror}"
            finding = Finding(kinds.UNREADABLE, 0, what, os.fsencode(path))
        self.add(finding)
