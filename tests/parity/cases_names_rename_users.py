"""Who may rename: the directories' permissions, sticky bits, moved directories, capabilities."""

from __future__ import annotations

import os
from pathlib import Path

from tests.parity.cases_names_rename import AT_FDCWD, EXCHANGE, FLAGS
from tests.parity.harness import Place, case

USER, OTHER = 1000, 1001
CAP_DAC_OVERRIDE, CAP_FOWNER = 1, 3


def rename(place: Place, source: Path, target: Path, flags: int = 0) -> None:
    """The call that a child makes."""
    paths = [os.fsencode(path) for path in (source, target)]
    place.libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], flags)


def folder(place: Place, name: str, mode: int, owner: int) -> Path:
    """A directory of this mode and owner."""
    path = place.directory(name)
    os.chown(path, owner, owner)
    path.chmod(mode)
    return path


def entry(path: Path, kind: str, owner: int) -> Path:
    """A file or directory of this owner."""
    (path.touch if kind == "file" else path.mkdir)()
    os.chown(path, owner, owner)
    return path


@case.each(source_mode=[0o755, 0o777, 0o1777], target_mode=[0o755, 0o777, 0o1777], flags=FLAGS)
def rename_others_entries(place: Place, source_mode: int, target_mode: int, flags: str) -> object:
    source = entry(folder(place, "a", source_mode, OTHER) / "source", "file", OTHER)
    target = entry(folder(place, "b", target_mode, OTHER) / "target", "file", OTHER)
    return place.as_user(USER, USER, [], rename, place, source, target, FLAGS[flags]), place.tree()


@case.each(
    mode=[0o777, 0o1777],
    source=[USER, OTHER],
    target=[USER, OTHER],
    above=[USER, OTHER],
    flags=["plain", "exchange"],
)
def rename_in_shared_directory(
    place: Place, mode: int, source: int, target: int, above: int, flags: str
) -> object:
    path = folder(place, "shared", mode, above)
    old = entry(path / "source", "file", source)
    new = entry(path / "target", "file", target)
    return place.as_user(USER, USER, [], rename, place, old, new, FLAGS[flags]), place.tree()


@case.each(owner=[USER, OTHER], mode=[0o755, 0o777, 0o555, 0o000], across=[True, False])
def rename_directory_as_user(place: Place, owner: int, mode: int, across: bool) -> object:  # noqa: FBT001
    """Moving a directory elsewhere writes its "..": it must be writable to the mover."""
    for name in ("a", "b"):
        folder(place, name, 0o777, OTHER)
    moved = folder(place, "a/moved", mode, owner)
    target = place / ("b/moved" if across else "a/renamed")
    return place.as_user(USER, USER, [], rename, place, moved, target), place.tree()


@case.each(mode=[0o755, 0o555], kinds=[("file", "directory"), ("directory", "directory")])
def exchange_directories_as_user(place: Place, mode: int, kinds: tuple[str, str]) -> object:
    for name in ("a", "b"):
        folder(place, name, 0o777, OTHER)
    left = entry(place / "a/left", kinds[0], USER)
    right = entry(place / "b/right", kinds[1], USER)
    right.chmod(mode)
    return place.as_user(USER, USER, [], rename, place, left, right, EXCHANGE), place.tree()


@case.each(capability=[CAP_DAC_OVERRIDE, CAP_FOWNER], mode=[0o755, 0o1777])
def rename_with_capability(place: Place, capability: int, mode: int) -> object:
    path = folder(place, "above", mode, OTHER)
    source = entry(path / "source", "file", OTHER)
    target = entry(path / "target", "file", OTHER)
    done = place.as_user(USER, USER, [], rename, place, source, target, capabilities=[capability])
    return done, place.tree()


@case.each(gid=[100, 200], mode=[0o775, 0o1775, 0o755])
def rename_by_group(place: Place, gid: int, mode: int) -> object:
    path = folder(place, "above", mode, OTHER)
    os.chown(path, OTHER, 100)
    path.chmod(mode)
    source = entry(path / "source", "file", USER)
    return place.as_user(USER, USER, [gid], rename, place, source, path / "target"), place.tree()


@case.each(missing=["source", "target_directory", "both"])
def rename_missing_without_permission(place: Place, missing: str) -> object:
    """Which of ENOENT and EACCES comes first."""
    path = folder(place, "above", 0o700 if missing == "both" else 0o755, OTHER)
    entry(path / "present", "file", OTHER)
    source = path / ("present" if missing == "target_directory" else "absent")
    target = path / ("no/target" if missing == "target_directory" else "target")
    return place.as_user(USER, USER, [], rename, place, source, target)
