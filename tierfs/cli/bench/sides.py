"""Which directories a command line names to be measured, and how their caches are dropped."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tierfs.base.errors import NotMounted, UsageError
from tierfs.bench.framework.caches import Chill, Remount, drop_kernel_caches, keep_caches
from tierfs.bench.framework.mounts import filesystem_of
from tierfs.bench.framework.side import Side
from tierfs.mount.asking import ask
from tierfs.mount.mountinfo import mount_above

NATIVE: Final = "native"
OURS: Final = "tierfs"
PLAIN: Final = "tierfs-bench-plain"
"""The bare directory that is made beside the flash directory when none is named."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The options about sides, as they were given."""

    directory: Path
    native: Path | None = None
    versus: Sequence[tuple[str, str]] = ()
    baseline: str | None = None
    pin_daemons: Sequence[int] = ()
    cold: str | None = None
    remount: Sequence[tuple[str, str]] = ()


def sides_of(asked: Asked) -> tuple[Side, ...]:
    """The sides, the baseline first.

    Raises:
        UsageError: a name is used twice, or names no side; a directory is missing.
    """
    status = _status_of(asked.directory)
    pids = (*((status["pid"],) if status else ()), *asked.pin_daemons)
    sides = [Side(OURS if status else asked.directory.name, asked.directory, daemons=pids)]
    native = asked.native or (_plain_beside(status) if status else None)
    if native:
        sides.insert(0, Side(NATIVE, native))
    sides += [Side(name, _existing(name, Path(path))) for name, path in asked.versus]
    _require_different(sides)
    return _chilled(_baseline_first(sides, asked.baseline), asked)


def _status_of(directory: Path) -> dict[str, Any] | None:
    """What the daemon says, when ``directory`` lies in a tierfs mount that answers us."""
    mount = mount_above(Path(os.path.realpath(directory)))
    if mount is None or not mount.is_tierfs:
        return None
    with suppress(NotMounted):
        return ask(mount.path, "status")
    return None


def _plain_beside(status: dict[str, Any]) -> Path | None:
    """A directory on the storage of the flash tier, where there is one that may be used."""
    flash = Path(status["tiers"]["flash"]["directory"])
    beside = flash.parent / PLAIN
    try:
        if flash.parent.stat().st_dev == flash.stat().st_dev:
            beside.mkdir(exist_ok=True)
            return beside
    except OSError:
        return None
    return None


def _existing(name: str, path: Path) -> Path:
    if not path.is_dir():
        raise UsageError(f"--versus {name}={path}: {path} is not a directory")
    return path


def _require_different(sides: Sequence[Side]) -> None:
    names = [side.name for side in sides]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two sides are called {twice[0]!r}; give one of them another name")


def _find(sides: Sequence[Side], name: str, option: str) -> Side:
    for side in sides:
        if side.name == name:
            return side
    known = ", ".join(side.name for side in sides)
    raise UsageError(f"{option} {name}: there is no such side; the sides are {known}")


def _baseline_first(sides: Sequence[Side], name: str | None) -> list[Side]:
    first = _find(sides, name, "--baseline") if name else sides[0]
    return [first, *(side for side in sides if side is not first)]


def _chilled(sides: Sequence[Side], asked: Asked) -> tuple[Side, ...]:
    commands = dict(asked.remount)
    for name in commands:
        _find(sides, name, "--remount")
    cold = asked.cold or ("remount" if commands else "kernel")
    return tuple(replace(side, chill=_chill(side, cold, commands)) for side in sides)


def _chill(side: Side, cold: str, commands: dict[str, str]) -> Chill:
    if cold == "none":
        return keep_caches
    if cold == "kernel":
        return drop_kernel_caches
    if side.name in commands:
        return Remount(commands[side.name])
    if filesystem_of(side.directory).startswith("fuse"):
        raise UsageError(f"say how to remount {side.name}: --remount '{side.name}=COMMAND'")
    return drop_kernel_caches
