"""The sides of the acceptance run: volumes, and peers over the bare directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tierfs.base.errors import TierfsError
from tierfs.base.units import GIB
from tierfs.bench.framework.runner import Say
from tierfs.bench.framework.side import Side
from tierfs.bench.migration import Pace, volume
from tierfs.bench.suite.names import (
    BEFORE,
    BEFORE_ON_EXT4,
    BINDFS,
    DISK,
    EXT4,
    MERGERFS,
    MOVING,
    NATIVE,
    ON_DISK,
    ON_EXT4,
    PYTHON,
    TIERFS,
)
from tierfs.bench.suite.settings import Settings
from tierfs.bench.suite.stage import NO_FASTPATH, Stage, has_option

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
    if DISK in names and settings.disk:
        yield from _on_disk(settings, stage, settings.disk)
    if {EXT4, ON_EXT4} & names and settings.disk:
        yield from _on_ext4(settings, stage, settings.disk, say)


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


def _on_disk(settings: Settings, stage: Stage, disk: Path) -> Iterator[Side]:
    place = stage.directory(disk)
    bare = place / DISK
    bare.mkdir()
    yield Side(DISK, bare)
    yield stage.volume(place, ON_DISK, settings.program)


def _on_ext4(settings: Settings, stage: Stage, disk: Path, say: Say) -> Iterator[Side]:
    """Everything on one ext4: the bare directory, and both tiers and the index of each volume."""
    try:
        place = stage.ext4(stage.directory(disk), EXT4_BYTES)
    except TierfsError as error:
        say(f"no ext4 upon a loop device, which is not measured: {error}")
        return
    bare = place / EXT4
    bare.mkdir()
    yield Side(EXT4, bare)
    yield stage.volume(place, ON_EXT4, settings.program)
    if settings.against:
        yield stage.volume(place, BEFORE_ON_EXT4, settings.against)
