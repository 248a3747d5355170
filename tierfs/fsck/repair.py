"""Repairs of what can be repaired without losing a byte or a name, and without a guess.

A round of repairs is one transaction; then the volume is checked again, since one repair may show
the need for another: a directory that is there again has no name yet.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from tierfs.fs.identity import locked, read_markers
from tierfs.fs.trust import HEADS, OBJECTS
from tierfs.fsck import kinds
from tierfs.fsck.check import (
    Finding,
    Listener,
    Report,
    examine,
    ignore,
    note_damage,
)
from tierfs.fsck.kinds import Kind
from tierfs.fsck.objects import may_be_old, own_copies
from tierfs.metadata.integrity import Repair, repairing
from tierfs.policy.volume_file import VolumeFile
from tierfs.storage.layout import set_aside
from tierfs.storage.markers import rewrite_marker

AT_A_TIME = 100_000
"""Repairs in a round, at most: they are kept in memory."""

ROUNDS = 100
"""More are not tried; each repairs something."""

HOPELESS = frozenset({kinds.INDEX, kinds.SCHEMA, kinds.ROOT})
"""With one of these nothing is repaired: what else was found may be its consequence."""

OLD_INDEX = frozenset({kinds.GENERATION, kinds.SERIAL})
"""With one of these the index may be older than the objects."""

OF_NEWER = frozenset({kinds.UNUSED_OBJECT, kinds.LEFTOVER, *kinds.HEALED_BY_SCRUB})
"""With an index that may be older than the objects: what it does not know may be a file's bytes,
and bytes that differ from a checksum may be newer."""

Agree = Callable[[Counter[Kind]], bool]
"""Asked once whether the findings are to be repaired, with their number by kind."""


class Outcome(NamedTuple):
    """``report`` is of the last check; ``repaired`` counts findings."""

    report: Report
    repaired: Counter[Kind]


class _Look(NamedTuple):
    report: Report
    repairable: list[Finding]
    counts: Counter[Kind]

    def without(self, spared: frozenset[Kind]) -> _Look:
        """The same, and these kinds are not to be repaired."""
        repairable = [finding for finding in self.repairable if finding.kind not in spared]
        counts = {kind: count for kind, count in self.counts.items() if kind not in spared}
        return self._replace(repairable=repairable, counts=Counter(counts))


def repair(
    settings: VolumeFile, *, agree: Agree, data: bool = False, listener: Listener = ignore
) -> Outcome:
    """Check a volume that is not mounted, and repair what can be; ``data`` as ``check``.

    ``listener`` gets what the first check finds.

    Raises:
        VolumeRefused, VolumeBusy, OSError: as ``check``; OSError: an object cannot be moved.
        IndexFailed: the index cannot be written.
    """
    repaired: Counter[Kind] = Counter()
    with locked(settings, to_write=True) as volume:
        look = _look(settings, volume, listener, data=data)
        spared = OF_NEWER if OLD_INDEX & set(look.report.counts) else frozenset[Kind]()
        look = look.without(spared)
        if look.repairable and agree(look.counts):
            for _ in range(ROUNDS):
                _repair(settings, look.repairable)
                repaired.update(finding.kind for finding in look.repairable)
                again = _look(settings, volume, ignore, data=data)
                before, look = look, again.without(spared)
                if not look.repairable or look.repairable == before.repairable:
                    break
        note_damage(settings, look.report, thorough=False)
    return Outcome(look.report, repaired)


def can_repair(finding: Finding) -> bool:
    """Whether a repair loses nothing."""
    return finding.kind in _ACTIONS and finding.remedy > 0


def _look(settings: VolumeFile, volume: str, listener: Listener, *, data: bool) -> _Look:
    repairable: list[Finding] = []
    counts: Counter[Kind] = Counter()

    def listen(finding: Finding) -> None:
        listener(finding)
        if can_repair(finding):
            counts[finding.kind] += 1
            if len(repairable) < AT_A_TIME:
                repairable.append(finding)

    report = examine(settings, volume, data=data, listener=listen)
    if HOPELESS & set(report.counts):
        return _Look(report, [], Counter())
    return _Look(report, repairable, counts)


def _repair(settings: VolumeFile, findings: list[Finding]) -> None:
    generation = str(uuid.uuid4()) if any(f.kind == kinds.GENERATION for f in findings) else ""
    with repairing(settings.index) as index:
        if generation:
            index.accept(generation)
            _forget_mirrors(settings, index)
            own_copies(settings.disk / OBJECTS, index, least_prefix=1)  # reads check the others
        index.drop_names(finding.ino for finding in findings if finding.kind == kinds.DANGLING)
        for finding in findings:
            _ACTIONS[finding.kind](index, finding)
    if generation:
        # A crash before this leaves markers that agree with nothing: the repair begins again.
        for marker, tier in zip(
            read_markers(settings), (settings.flash, settings.disk), strict=True
        ):
            rewrite_marker(tier, marker._replace(generation=generation))
    unowned = [finding.ino for finding in findings if finding.kind == kinds.UNOWNED_OBJECT]
    unused = [finding for finding in findings if finding.kind == kinds.UNUSED_OBJECT]
    for number, store in enumerate((settings.flash / HEADS, settings.disk / OBJECTS), start=1):
        unneeded = [finding.ino for finding in unused if finding.remedy == number]
        for ino in unowned + unneeded:
            with suppress(FileNotFoundError):
                set_aside(store, ino)


def _forget_mirrors(settings: VolumeFile, index: Repair) -> None:
    """Forget mirrors that are older than their heads, or an eviction would keep them."""
    flash, disk = settings.flash / HEADS, settings.disk / OBJECTS
    after, known_until = 0, index.last_change()
    while found := index.mirrored(after):
        after = found[-1].ino
        for inode in found:
            if may_be_old(flash, disk, inode, known_until):
                index.forget_mirror(inode.ino)


def _elsewhere(_index: Repair, _finding: Finding) -> None:
    """Done for all of the kind at once."""


_ACTIONS: dict[Kind, Callable[[Repair, Finding], None]] = {
    kinds.GENERATION: lambda index, finding: index.raise_serial(finding.remedy),
    kinds.SERIAL: lambda index, finding: index.raise_serial(finding.remedy),
    kinds.COUNTS: lambda index, _finding: index.recount(),
    kinds.DANGLING: _elsewhere,
    kinds.HOMELESS: lambda index, finding: index.restore_directory(finding.ino, finding.remedy),
    kinds.UNNAMED: lambda index, finding: index.link_to_lost_and_found(finding.ino),
    kinds.LINKS: lambda index, finding: index.set_links(finding.ino, finding.remedy),
    kinds.PARENT: lambda index, finding: index.set_parent(finding.ino, finding.remedy),
    kinds.HEAD_LOST: lambda index, finding: index.read_from_disk(finding.ino),
    kinds.STALE_MIRROR: lambda index, finding: index.drop_mirror(finding.ino),
    kinds.WRONG_HEAD: lambda index, finding: index.read_from_disk(finding.ino),
    kinds.WRONG_MIRROR: lambda index, finding: index.drop_mirror(finding.ino),
    kinds.UNOWNED_OBJECT: _elsewhere,
    kinds.UNUSED_OBJECT: _elsewhere,
    kinds.STRAY_ROW: lambda index, finding: index.delete_rows(finding.ino),
    kinds.LEFTOVER: lambda index, finding: index.trim(finding.ino),
}
