"""What a check found, and how a check reports."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from tierfs.fsck.kinds import Kind, Severity

KEPT = 1000
"""Findings that a report keeps; all of them go to whoever listens."""


class Fault(NamedTuple):
    """What is wrong with one inode, and how; ``remedy`` as in ``Finding``."""

    kind: Kind
    what: str
    remedy: int = 0


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
    """What a check saw; ``findings`` are the first ``KEPT``, ``counts`` are of all."""

    volume: str
    inodes: int = 0
    files: int = 0
    objects: int = 0
    awaiting_removal: int = 0
    """Inodes unlinked while open: the next mount frees them."""
    awaiting_trim: int = 0
    """Files whose objects the next mount trims."""
    complete: bool = True
    """Whether the check came to its end; False: the index could not be read."""
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
        damaged = {kind.name for kind in self.counts if kind.severity == "damage"}
        return ", ".join(f"{name} {count}" for name, count in found if name in damaged)

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if it is one of the first."""
        self.counts[finding.kind] += 1
        if len(self.findings) < KEPT:
            self.findings.append(finding)

    def count(self, severity: Severity) -> int:
        """How many findings are so bad."""
        return sum(count for kind, count in self.counts.items() if kind.severity == severity)
