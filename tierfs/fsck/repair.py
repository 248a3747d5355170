"""Repairs, of what can be mended without a byte, name or guess being lost.

A round of repairs is one transaction; then the volume is checked again, since one repair may show
the need for another: a directory that is there again has no name yet.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from tierfs.fs.identity import read_markers
from tierfs.fs.volume import HEADS, OBJECTS
from tierfs.fsck import kinds
from tierfs.fsck.check import (
    Finding,
    Listener,
    Report,
    examine,
    ignore,
    locked,
    note_damage,
)
from tierfs.fsck.kinds import Kind
from tierfs.metadata.integrity import Repair, repairing
from tierfs.policy.volume_file import VolumeFile
from tierfs.storage.markers import rewrite_marker
from tierfs.storage.objects import set_aside

AT_A_TIME = 100_000
"""Repairs in a round: so many are kept in memory."""

ROUNDS = 100
"""More are not tried; each mends something."""

HOPELESS = frozenset({kinds.INDEX, kinds.SCHEMA, kinds.ROOT})
"""With one of these nothing is mended: what else was found may be its consequence."""

OLD_INDEX = frozenset({kinds.GENERATION, kinds.SERIAL})
"""With one of these the index may be older than the objects."""

OF_NEWER = frozenset({kinds.LEFTOVER})
"""With an index that may be older than the objects: what it does not know may be a file's bytes."""

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


def repair(settings: VolumeFile, *, agree: Agree, listener: Listener = ignore) -> Outcome:
    """Check a volume that is not mounted, and mend what can be.

    ``listener`` gets what the first check finds.

    Raises:
        VolumeRefused, VolumeBusy, OSError: as ``check``; OSError: an object cannot be moved.
        IndexFailed: the index cannot be written.
    """
    mended: Counter[Kind] = Counter()
    with locked(settings, to_write=True) as volume:
        look = _look(settings, volume, listener)
        spared = OF_NEWER if OLD_INDEX & set(look.report.counts) else frozenset[Kind]()
        look = look.without(spared)
        if look.mendable and agree(look.counts):
            for _ in range(ROUNDS):
                _mend(settings, look.mendable)
                mended.update(finding.kind for finding in look.mendable)
                before, look = look, _look(settings, volume, ignore).without(spared)
                if not look.mendable or look.mendable == before.mendable:
                    break
        note_damage(settings, look.report, thorough=False)
    return Outcome(look.report, mended)


def can_mend(finding: Finding) -> bool:
    """Whether a repair loses nothing."""
    return finding.kind in _ACTIONS and finding.remedy > 0


def _look(settings: VolumeFile, volume: str, listener: Listener) -> _Look:
    mendable: list[Finding] = []
    counts: Counter[Kind] = Counter()

    def listen(finding: Finding) -> None:
        listener(finding)
        if can_mend(finding):
            counts[finding.kind] += 1
            if len(mendable) < AT_A_TIME:
                mendable.append(finding)

    report = examine(settings, volume, listener=listen)
    if HOPELESS & set(report.counts):
        return _Look(report, [], Counter())
    return _Look(report, mendable, counts)


def _mend(settings: VolumeFile, findings: list[Finding]) -> None:
    generation = str(uuid.uuid4()) if any(f.kind == kinds.GENERATION for f in findings) else ""
    with repairing(settings.index) as mend:
        if generation:
            mend.accept(generation)
        mend.drop_names(finding.ino for finding in findings if finding.kind == kinds.DANGLING)
        for finding in findings:
            _ACTIONS[finding.kind](mend, finding)
    if generation:
        # A crash before this leaves markers that agree with nothing: the repair begins again.
        for marker, tier in zip(
            read_markers(settings), (settings.flash, settings.disk), strict=True
        ):
            rewrite_marker(tier, marker._replace(generation=generation))
    unowned = [finding.ino for finding in findings if finding.kind == kinds.UNOWNED_OBJECT]
    for store in (settings.flash / HEADS, settings.disk / OBJECTS):
        for ino in unowned:
            with suppress(FileNotFoundError):
                set_aside(store, ino)


def _elsewhere(_mend: Repair, _finding: Finding) -> None:
    """Done for all of the kind at once."""


_ACTIONS: dict[Kind, Callable[[Repair, Finding], None]] = {
    kinds.GENERATION: lambda mend, finding: mend.raise_serial(finding.remedy),
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
