"""The sides of the acceptance run, and what the run is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.benchmarks.mover import Pace, volume
from tests.benchmarks.runner import Say
from tests.benchmarks.scenario import Side
from tests.benchmarks.stage import NO_FASTPATH, Program, Stage, has_option
from tierfs.common.errors import TierfsError
from tierfs.common.units import GIB, KIB, MIB

NATIVE: Final = "native"
TIERFS: Final = "tierfs"
PYTHON: Final = "no-fastpath"
MERGERFS: Final = "mergerfs"
BINDFS: Final = "bindfs"
FLOOR: Final = "floor"
"""A daemon that does nothing but answer, and keeps no byte: see `floor.c`."""
BEFORE: Final = "before"
"""Another tierfs, such as that of the last release."""
DISK: Final = "disk"
ON_DISK: Final = "tierfs on disk"
EXT4: Final = "ext4"
ON_EXT4: Final = "tierfs on ext4"
FLOOR_ON_EXT4: Final = "floor on ext4"
"""The same, which keeps the bytes there."""
BEFORE_ON_EXT4: Final = "before on ext4"
MOVING: Final = "tierfs, moving"

PINNED: Final = "pinned"
FREE: Final = "free"


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


EXT4_BYTES: Final = 16 * GIB
"""Of the image, of which only what is written takes room."""


def make_sides(settings: Settings, stage: Stage, names: set[str], say: Say) -> Iterator[Side]:
    """Those of the sides ``names`` that can be made here; the others are told of.

    Raises:
        TierfsError, OSError: one cannot be made.
    """
    home = stage.directory(settings.place)
    native = home / NATIVE
    native.mkdir()
    if NATIVE in names:
        yield Side(NATIVE, native)
    if TIERFS in names:
        yield stage.volume(home, TIERFS, settings.program)
    if MOVING in names:
        yield volume(stage, home, MOVING, settings.program, Pace())
    yield from _other_versions(settings, stage, names, home, say)
    for name in sorted({MERGERFS, BINDFS} & names):
        peer = stage.peer(home, name, native)
        if peer:
            yield peer
        else:
            say(f"{name} is not installed: apt-get install {name}")
    if FLOOR in names:
        yield from _floor(stage.floor(home, FLOOR), say)
    if DISK in names and settings.disk:
        yield from _on_disk(settings, stage, settings.disk)
    if {EXT4, ON_EXT4} & names and settings.disk:
        yield from _on_ext4(settings, stage, settings.disk, names, say)


def _other_versions(
    settings: Settings, stage: Stage, names: set[str], home: Path, say: Say
) -> Iterator[Side]:
    if PYTHON in names:
        if has_option(settings.program, "mount", NO_FASTPATH):
            yield stage.volume(home, PYTHON, settings.program, NO_FASTPATH)
        else:
            say(f"this tierfs has no {NO_FASTPATH}: what is compared with it is not measured")
    if BEFORE in names and settings.against:
        yield stage.volume(home, BEFORE, settings.against)


def _floor(side: Side | None, say: Say) -> Iterator[Side]:
    if side:
        yield side
    else:
        say("there is no C compiler: what any daemon would cost is not measured")


def _on_disk(settings: Settings, stage: Stage, disk: Path) -> Iterator[Side]:
    place = stage.directory(disk)
    bare = place / DISK
    bare.mkdir()
    yield Side(DISK, bare)
    yield stage.volume(place, ON_DISK, settings.program)


def _on_ext4(
    settings: Settings, stage: Stage, disk: Path, names: set[str], say: Say
) -> Iterator[Side]:
    """Everything on one ext4: the bare directory, and both tiers and the index of each volume."""
    try:
        place = stage.ext4(stage.directory(disk), EXT4_BYTES)
    except TierfsError as error:
        say(f"no ext4 upon a loop device, which is not measured: {error}")
        return
    bare = place / EXT4
    bare.mkdir()
    yield Side(EXT4, bare)
    if FLOOR_ON_EXT4 in names:
        store = place / "floor.store"
        store.mkdir()
        yield from _floor(stage.floor(place, FLOOR_ON_EXT4, store), say)
    yield stage.volume(place, ON_EXT4, settings.program)
    if settings.against:
        yield stage.volume(place, BEFORE_ON_EXT4, settings.against)
