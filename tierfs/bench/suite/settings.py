"""What the acceptance run is told: where, how much, how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tierfs.base.units import GIB, KIB, MIB
from tierfs.bench.suite.names import FREE, PINNED
from tierfs.bench.suite.stage import Program


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; the defaults are those of the demands."""

    files: int = 20_000
    file_bytes: int = 32 * KIB
    walked: int = 100_000
    stream_bytes: int = GIB
    created: int = 2000
    moved: int = 400
    """Of 1 MiB each, by the mover."""
    spinning_files: int = 1000
    batches: int = 40
    """Of the simulated training."""
    changed: int = 2000
    """Files and directories changed in a turn, and writes at random."""
    write_bytes: int = 256 * MIB
    """Of the file that is written whole, and of the one that is overwritten."""
    tree_files: int = 80_000
    memory_files: int = 0
    """For the daemon's memory; 0: not measured. A million take a while to be made."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``place`` lies in memory, ``disk`` (if any) does not; ``against`` runs another tierfs.

    ``archive`` is unpacked instead of a tree that is made up. Without ``sides`` all take part.
    """

    program: Program
    place: Path
    disk: Path | None = None
    against: Program | None = None
    archive: Path | None = None
    repeat: int = 5
    core: int = 0
    modes: Sequence[str] = (PINNED, FREE)
    only: Sequence[str] = ()
    sides: Sequence[str] = ()
    sizes: Sizes = field(default_factory=Sizes)
