"""Things of every kind that a name can be, for cases that try them all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from tests.parity.harness import Place

Make = Callable[[Place, str], object]

NULL = os.makedev(1, 3)


def _full(place: Place, name: str) -> None:
    place.directory(name)
    place.file(f"{name}/inner", b"inner")


def _to(target: str) -> Make:
    return lambda place, name: place.symlink(name, target)


def _node(mode: int) -> Make:
    return lambda place, name: os.mknod(place / name, mode | 0o644, NULL)


def _link_to_file(place: Place, name: str) -> None:
    if not (place / "pointed-at").exists():
        place.file("pointed-at", b"behind the link")
    place.symlink(name, _up(name) + "pointed-at")


def _link_to_directory(place: Place, name: str) -> None:
    if not (place / "pointed-into").exists():
        _full(place, "pointed-into")
    place.symlink(name, _up(name) + "pointed-into")


def _up(name: str) -> str:
    """From the directory of `name` to the place; relative, as the places differ in their paths."""
    return "../" * name.count("/")


KINDS: dict[str, Make] = {
    "missing": lambda _place, _name: None,
    "file": lambda place, name: place.file(name, name.encode()),
    "empty_directory": lambda place, name: place.directory(name),
    "full_directory": _full,
    "link_to_file": _link_to_file,
    "link_to_directory": _link_to_directory,
    "dangling_link": _to("nowhere"),
    "looping_link": lambda place, name: place.symlink(name, os.path.basename(name)),
    "fifo": _node(stat.S_IFIFO),
    "socket": _node(stat.S_IFSOCK),
    "device": _node(stat.S_IFCHR),
}
"""How to make each, by its name."""

ALL = list(KINDS)
PRESENT = ALL[1:]
USUAL = ["file", "empty_directory", "full_directory", "dangling_link", "fifo"]
"""Those that a rename tells apart."""


def make(place: Place, name: str, kind: str) -> None:
    """Make `name` a thing of this kind."""
    KINDS[kind](place, name)
