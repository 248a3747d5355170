"""The sides of the acceptance run: volumes, and peers over the bare directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tierfs.bench.framework.runner import Say
from tierfs.bench.framework.side import Side
from tierfs.bench.migration import Pace, volume
from tierfs.bench.suite.names import (
    BEFORE,
    BINDFS,
    DISK,
    MERGERFS,
    MOVING,
    NATIVE,
    ON_DISK,
    PYTHON,
    TIERFS,
)
from tierfs.bench.suite.settings import Settings
from tierfs.bench.suite.stage import NO_FASTPATH, Stage, has_option


def make_sides(settings: Settings, stage: Stage, names: set[str], say: Say) -> Iterator[Side]:
    """Those of the sides ``names`` that can be made here; the others are told of.

    Raises:
        TierfsError, OSError: one cannot be made.
    """
    home = stage.directory(settings.place)
    native = home / NATIVE
    native.mkdir()
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


def _other_versions(
    settings: Settings, stage: Stage, names: set[str], home: Path, say: Say
) -> Iterator[Side]:
    if PYTHON in names:
        if has_option(settings.program, "mount", NO_FASTPATH):
            yield stage.volume(home, PYTHON, settings.program, NO_FASTPATH)
        else:
            say(f"this tierfs has no {NO_FASTPATH}: what is compared with it is not measured")
    if BEFORE in names:
        if settings.before:
            yield stage.volume(home, BEFORE, settings.before)
        else:
            say("no older tierfs was given (--before): what is compared with it is not measured")


def _on_disk(settings: Settings, stage: Stage, disk: Path) -> Iterator[Side]:
    place = stage.directory(disk)
    bare = place / DISK
    bare.mkdir()
    yield Side(DISK, bare)
    yield stage.volume(place, ON_DISK, settings.program)
