"""A real tree to copy: the Python installation that this machine already has."""

from __future__ import annotations

import os
import stat
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from tierfs.base.errors import UsageError
from tierfs.demo.trees import Tree, names_in

ENOUGH = 3_000
"""Names that make the tree worth the name; a distribution's standard library may have fewer."""

AT_MOST = 9_000
"""Names; more would only take more of the user's time."""

LEFT_OUT = frozenset({"site-packages", "dist-packages", "__pycache__"})
"""Installed packages change, and caches at the top are written while we look at them."""


def find_python_trees() -> list[Tree]:
    """The standard library, and installed packages as well where it is small.

    Raises UsageError when no file of it can be read.
    """
    trees: list[Tree] = []
    room = AT_MOST
    for name, place in (("python", "stdlib"), ("packages", "purelib")):
        if AT_MOST - room < ENOUGH:
            root = Path(sysconfig.get_path(place))
            entries, taken = _choose(root, room)
            room -= taken
            trees += [Tree(name, root, entries)] if entries else []
    if not trees:
        raise UsageError(f"no readable Python library at {sysconfig.get_path('stdlib')}")
    return trees


def _choose(root: Path, room: int) -> tuple[tuple[str, ...], int]:
    """Entries of ``root`` that are readable throughout and together have ``room`` names at most."""
    chosen: list[str] = []
    taken = 0
    for entry in sorted(names_in(root)) if root.is_dir() else ():
        names = _readable_names(root, entry)
        if entry not in LEFT_OUT and 0 < names <= room - taken:
            chosen.append(entry)
            taken += names
    return tuple(chosen), taken


def _readable_names(root: Path, entry: str) -> int:
    """How many names ``entry`` has with all below it; 0 when we cannot read all of them."""
    try:
        readable = [_readable(root / path, st) for path, st in _walk(root, entry)]
    except OSError:
        return 0
    return len(readable) if all(readable) else 0


def _walk(root: Path, entry: str) -> Iterator[tuple[Path, os.stat_result]]:
    return Tree("", root, (entry,)).walk()


def _readable(path: Path, status: os.stat_result) -> bool:
    return stat.S_ISLNK(status.st_mode) or os.access(path, os.R_OK)
