"""What a comparison can find, and how it is told to people."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum, unique
from pathlib import Path

from tierfs.base.text import printable

SHOWN = 50
"""Differences that are listed; the rest is counted."""


@unique
class Kind(StrEnum):
    """In what a copied file can differ from its source."""

    MISSING = "is missing"
    EXTRA = "is not in the source"
    UNLISTED = "is there, but its directory does not list it"
    UNREADABLE = "cannot be read"
    TYPE = "is of another type"
    SIZE = "has another size"
    BYTES = "has other bytes"
    MODE = "has another mode"
    OWNER = "has another owner"
    MTIME = "has another modification time"
    DEVICE = "is another device"
    LINK_TARGET = "points elsewhere"
    LINK_GROUP = "has other hard links"
    XATTR_MISSING = "lacks an extended attribute"
    XATTR_EXTRA = "has an extended attribute too many"
    XATTR_DIFFERENT = "has another value of an extended attribute"


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the copy of ``path`` (relative to its tree) is not like the source."""

    path: Path
    kind: Kind
    detail: str = ""

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return f"{printable(self.path)} {self.kind}{detail}"


@dataclass(slots=True)
class Findings:
    """What a comparison found.

    ``set_aside`` are paths whose source changed, appeared or vanished after the copy began:
    nothing can be said about them.
    """

    differences: list[Difference] = field(default_factory=list)
    set_aside: list[Path] = field(default_factory=list)
    compared_bytes: int = 0
    compared_names: int = 0
    compared_xattrs: int = 0

    def below(self, name: str) -> Findings:
        """The same findings, with paths that begin with ``name``."""
        differences = [replace(one, path=name / one.path) for one in self.differences]
        set_aside = [name / path for path in self.set_aside]
        return replace(self, differences=differences, set_aside=set_aside)

    def add(self, other: Findings) -> None:
        """Take in what another reader found."""
        self.differences += other.differences
        self.set_aside += other.set_aside
        self.compared_bytes += other.compared_bytes
        self.compared_names += other.compared_names
        self.compared_xattrs += other.compared_xattrs


def list_differences(differences: list[Difference]) -> str:
    """One line a difference, the first ``SHOWN`` of them."""
    lines = [f"  {difference}" for difference in differences[:SHOWN]]
    if len(differences) > SHOWN:
        lines.append(f"  ... and {len(differences) - SHOWN} more")
    return "\n".join(lines)
