"""The check of a volume while it is mounted: a consistent copy of the index, and a second look.

The copy is of one moment, so what contradicts itself in it is wrong. Objects are looked at later,
and programs go on: what disagrees with the copy may have been changed since. So each finding that
an object has to do with is looked at again, by the daemon, while nobody changes the bytes of that
inode, and is reported if it is wrong then as well. Nothing is changed, not even a marker.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tierfs.fs.placement import Placement, Placements
from tierfs.fsck import kinds
from tierfs.fsck.check import LEFT_BY_ADOPT, Finding, Report, examine
from tierfs.fsck.faults import Case, Fault, object_faults
from tierfs.metadata.inodes import Inode
from tierfs.metadata.reader import copy_snapshot
from tierfs.policy.volume_file import VolumeFile

OF_OBJECTS: Final = frozenset(
    {
        kinds.MISSING_OBJECT,
        kinds.SHORT_OBJECT,
        kinds.WRONG_BYTES,
        kinds.CHANGED_OUTSIDE,
        kinds.UNREADABLE,
        kinds.GENERATION,
        kinds.HEAD_LOST,
        kinds.STALE_MIRROR,
        kinds.UNOWNED_OBJECT,
        kinds.FOREIGN,
        kinds.UNUSED_OBJECT,
        kinds.LEFTOVER,
    }
)
"""What a change since the copy was made may explain."""

MOST_SUSPECTS: Final = 1_000_000
"""Inodes that are looked at again; beyond, the check is not complete."""

AT_A_TIME: Final = 50
REST_S: Final = 0.001
"""Seconds of pause after ``AT_A_TIME`` second looks, so that requests go first."""
SETTLE_S: Final = 0.2
"""Before a finding is looked at for the last time."""


class Suspects(NamedTuple):
    """What the check of the copy leaves to be looked at again."""

    report: Report
    """With the other findings."""
    inos: list[int]
    elsewhere: list[Finding]
    """Of no inode: something in the object directories, or the markers."""


def examine_apart(settings: VolumeFile, volume: str, checkpoints: int) -> Suspects:
    """Check a volume that is mounted, in a process beside its daemon.

    ``checkpoints`` is the descriptor that `Index.checkpoint_for_snapshot` returned.

    Raises:
        VolumeRefused, IndexFailed, OSError: as `tierfs.fsck.check.check`.
    """
    sure = Report(volume, online=True)
    inos: dict[int, None] = {}
    elsewhere: list[Finding] = []

    def listen(finding: Finding) -> None:
        if finding.kind not in OF_OBJECTS:
            sure.add(finding)
        elif finding.ino and len(inos) < MOST_SUSPECTS:
            inos[finding.ino] = None
        elif not finding.ino and len(elsewhere) < MOST_SUSPECTS:
            elsewhere.append(finding)
        else:
            sure.complete = False

    # Where SQLite has its temporary files.
    place = os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR") or "/var/tmp"  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="tierfs-fsck-", dir=place) as directory:
        copy = Path(directory) / "index.db"
        copy_snapshot(settings.index, copy, checkpoints)
        seen = examine(settings, volume, listener=listen, snapshot=copy)
    complete = seen.complete and sure.complete
    report = dataclasses.replace(
        seen, complete=complete, counts=sure.counts, findings=sure.findings
    )
    return Suspects(report, list(inos), elsewhere)


def look_again(
    suspects: Suspects,
    placements: Placements,
    path_of: Callable[[Inode], str],
    disagreement: Callable[[], str],
    stopping: Callable[[], bool],
) -> Report:
    """The report, with those findings that are still wrong.

    Args:
        suspects: what is to be looked at.
        placements: by which that is done.
        path_of: a path of an inode.
        disagreement: of another time than the index what is, for people; empty: nothing.
        stopping: whether the volume is being closed: then the check is not complete.
    """
    report = suspects.report
    left = [ino for ino in _paced(suspects.inos, stopping) if any(_faults(ino, placements))]
    time.sleep(SETTLE_S if left else 0)
    wrong = 0
    for ino in _paced(left, stopping):
        faults = list(_faults(ino, placements))
        wrong += bool(faults)
        inode = placements.find(ino).inode if faults else None
        path = os.fsencode(path_of(inode)) if inode is not None and inode.nlink else b""
        for kind, what, remedy in faults:
            report.add(Finding(kind, ino, what, path, remedy))
    for finding in suspects.elsewhere:
        if finding.kind == kinds.GENERATION:
            if what := disagreement():
                report.add(finding._replace(what=what))
        elif not finding.path or os.path.lexists(finding.path):
            report.add(finding)
    report.explained = len(suspects.inos) - wrong
    report.complete &= not stopping()
    return report


def _paced(inos: list[int], stopping: Callable[[], bool]) -> Iterator[int]:
    for number, ino in enumerate(inos):
        if number % AT_A_TIME == 0:
            if stopping():
                return
            time.sleep(REST_S)
        yield ino


def _faults(ino: int, placements: Placements) -> Iterator[Fault]:
    """What is wrong with the objects of an inode now."""
    try:
        found = placements.find(ino)
    except OSError as exc:
        yield Fault(kinds.UNREADABLE, f"an object cannot be looked at: {exc.strerror}")
        return
    faults = list(object_faults(_case(ino, found)))
    if found.changed_outside:
        faults.append(Fault(kinds.CHANGED_OUTSIDE, "its original was modified"))
    for fault in faults:
        if not (found.is_arriving and fault.kind in LEFT_BY_ADOPT):
            yield fault


def _case(ino: int, found: Placement) -> Case:
    """As if the index had nothing else of the inode: what else it has is not looked at again."""
    inode = found.inode
    return Case(
        ino=ino,
        inode=inode,
        names=None,
        children=0,
        subdirectories=(0, 0),
        reached=True,
        xattrs=0,
        pin=False,
        request=False,
        pending_truncation=found.may_be_longer,
        checksum=found.checksum,
        adopted=inode is not None and inode.adopted > 0,
        dirty=found.dirty,
        flash=found.flash,
        disk=found.disk,
    )
