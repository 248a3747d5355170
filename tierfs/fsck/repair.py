"""Repairs, of what can be mended without a byte, name or guess being lost.

A round of repairs is one transaction; then the volume is checked again, since one repair may show
the need for another: a directory that is there again has no name yet.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from tierfs.base.beneath import DIRECTORY, open_beneath, parent_beneath
from tierfs.core.volume import HEADS, OBJECTS
from tierfs.fsck import kinds
from tierfs.fsck.check import Found, examine, ignore, locked
from tierfs.fsck.findings import Finding, Report
from tierfs.fsck.kinds import Kind
from tierfs.index.mending import Mending, mending
from tierfs.policy.volume_file import VolumeFile
from tierfs.store.objects import object_path

AT_A_TIME = 100_000
"""Repairs in a round: so many are kept in memory."""

ROUNDS = 100
"""More are not tried; each mends something."""

SHELTER = "lost+found"
"""In a tier's directory: objects of no file."""

HOPELESS = frozenset({kinds.INDEX, kinds.SCHEMA, kinds.ROOT})
"""With one of these nothing is mended: what else was found may be its consequence."""

OF_NEWER = frozenset({kinds.LEFTOVER})
"""With an index that is older than the objects: what it does not know may be a file's bytes."""

Agree = Callable[[Counter[Kind]], bool]
"""Asked once whether so many findings of each kind are to be mended."""


class Outcome(NamedTuple):
    """``report`` is of the last check; ``mended`` counts findings."""

    report: Report
    mended: Counter[Kind]


class _Look(NamedTuple):
    report: Report
    mendable: list[Finding]
    counts: Counter[Kind]

    def without(self, spared: frozenset[Kind]) -> _Look:
        """The same, and these kinds are not to be mended."""
        mendable = [finding for finding in self.mendable if finding.kind not in spared]
        counts = {kind: count for kind, count in self.counts.items() if kind not in spared}
        return self._replace(mendable=mendable, counts=Counter(counts))


def repair(settings: VolumeFile, *, agree: Agree, found: Found = ignore) -> Outcome:
    """Check a volume that is not mounted, and mend what can be; ``found`` hears the first check.

    Raises:
        VolumeRefused, VolumeBusy, OSError: as ``check``; OSError: an object cannot be moved.
        IndexFailed: the index cannot be written.
    """
    mended: Counter[Kind] = Counter()
    with locked(settings, to_write=True) as volume:
        look = _look(settings, volume, found)
        spared = OF_NEWER if kinds.SERIAL in look.report.counts else frozenset[Kind]()
        look = look.without(spared)
        if not look.mendable or not agree(look.counts):
            return Outcome(look.report, mended)
        for _ in range(ROUNDS):
            _mend(settings, look.mendable)
            mended.update(finding.kind for finding in look.mendable)
            before, look = look, _look(settings, volume, ignore).without(spared)
            if not look.mendable or look.mendable == before.mendable:
                break
    return Outcome(look.report, mended)


def can_mend(finding: Finding) -> bool:
    """Whether a repair loses nothing."""
    return finding.kind in _ACTIONS and finding.remedy > 0


def _look(settings: VolumeFile, volume: str, found: Found) -> _Look:
    mendable: list[Finding] = []
    counts: Counter[Kind] = Counter()

    def listen(finding: Finding) -> None:
        found(finding)
        if can_mend(finding):
            counts[finding.kind] += 1
            if len(mendable) < AT_A_TIME:
                mendable.append(finding)

    report = examine(settings, volume, found=listen)
    if HOPELESS & set(report.counts):
        return _Look(report, [], Counter())
    return _Look(report, mendable, counts)


def _mend(settings: VolumeFile, findings: list[Finding]) -> None:
    with mending(settings.index) as mend:
        mend.drop_names(finding.ino for finding in findings if finding.kind == kinds.DANGLING)
        for finding in findings:
            _ACTIONS[finding.kind](mend, finding)
    unowned = [finding.ino for finding in findings if finding.kind == kinds.UNOWNED_OBJECT]
    for tier, name in ((settings.flash, HEADS), (settings.disk, OBJECTS)):
        _shelter(tier, name, unowned)


def _shelter(tier: Path, store: str, inos: list[int]) -> None:
    """Move objects of no file out of the way, within their filesystem."""
    if not inos:
        return
    with ExitStack() as stack:
        above = os.open(tier, DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, above)
        with suppress(FileExistsError):
            os.mkdir(SHELTER, 0o700, dir_fd=above)
        shelter = open_beneath(SHELTER, DIRECTORY, dir_fd=above)
        stack.callback(os.close, shelter)
        for ino in inos:
            path = f"{store}/{object_path(ino)}"
            with suppress(FileNotFoundError), parent_beneath(path, dir_fd=above) as (parent, name):
                if not _is_taken(name, shelter):
                    os.rename(name, name, src_dir_fd=parent, dst_dir_fd=shelter)
        os.fsync(shelter)


def _is_taken(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _elsewhere(_mend: Mending, _finding: Finding) -> None:
    """Done for all of the kind at once."""


_ACTIONS: dict[Kind, Callable[[Mending, Finding], None]] = {
    kinds.SERIAL: lambda mend, finding: mend.raise_serial(finding.remedy),
    kinds.COUNTS: lambda mend, _finding: mend.count_anew(),
    kinds.DANGLING: _elsewhere,
    kinds.HOMELESS: lambda mend, finding: mend.restore_directory(finding.ino, finding.remedy),
    kinds.UNNAMED: lambda mend, finding: mend.rescue(finding.ino),
    kinds.LINKS: lambda mend, finding: mend.set_links(finding.ino, finding.remedy),
    kinds.PARENT: lambda mend, finding: mend.set_parent(finding.ino, finding.remedy),
    kinds.HEAD_LOST: lambda mend, finding: mend.read_from_disk(finding.ino),
    kinds.STALE_MIRROR: lambda mend, finding: mend.forget_mirror(finding.ino),
    kinds.UNOWNED_OBJECT: _elsewhere,
    kinds.STRAY_ROW: lambda mend, finding: mend.forget(finding.ino),
    kinds.LEFTOVER: lambda mend, finding: mend.trim(finding.ino),
}
