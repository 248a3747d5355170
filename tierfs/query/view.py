"""Views: directories of links to the files that an expression holds for, by the value of a field.

They are made through the mount, with the rights of who makes them. The directory of a view says in
an attribute what it is of, and so do those in it, from which the filesystem knows that a link in
them does not move the file: the policy goes by its other path.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tierfs.common.errors import UsageError, printable
from tierfs.common.tierfs_xattrs import VIEW, VIEW_CLASS

PRIVATE: Final = 0o700
LONGEST: Final = 255
"""Bytes of a name."""
HASHED: Final = 16
"""Digits of a hash that stands for the end of a long name."""


class BadView(UsageError):
    """A directory that is no view."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What a view is of: files below ``source``, a path from the root of the mount."""

    expression: str
    by: str
    source: str
    symlink: bool


class Member(NamedTuple):
    """A file of a view; ``path`` from the root of the mount."""

    path: str
    inode: int
    label: str


@dataclass(slots=True)
class Changes:
    """What became of the links of a view."""

    made: int = 0
    kept: int = 0
    removed: int = 0
    gone: int = 0
    """Files that were removed or replaced meanwhile."""
    foreign: list[str] = field(default_factory=list)
    """Names in the view that are no links of it, and stay."""


def component(label: str) -> str:
    """A value as a name of a directory; different values have different names."""
    name = label.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    if not name:
        return "%"
    if not name.strip(".") and len(name) <= len(".."):
        name = name.replace(".", "%2E")
    return _shortened(name, label)


def _shortened(name: str, whole: str, end: str = "") -> str:
    data = os.fsencode(name)
    if len(data) + len(os.fsencode(end)) <= LONGEST:
        return name + end
    digest = hashlib.sha256(os.fsencode(whole)).hexdigest()[:HASHED]
    room = LONGEST - len(digest) - 1 - len(os.fsencode(end))
    return f"{data[:room].decode('utf-8', 'ignore')}%{digest}{end}"


def names(members: Iterable[Member]) -> dict[str, dict[str, Member]]:
    """The names in each directory: those of the files, with the inode number where some collide."""
    taken: dict[str, dict[str, list[Member]]] = {}
    for member in members:
        of_label = taken.setdefault(component(member.label), {})
        of_label.setdefault(member.path.rpartition("/")[2], []).append(member)
    wanted: dict[str, dict[str, Member]] = {}
    for label, named in taken.items():
        wanted[label] = {}
        for name, same in named.items():
            for member in same:
                stem, dot, end = name.rpartition(".")
                if len(same) == 1:
                    unique = name
                elif stem:
                    unique = _shortened(stem, name, f".{member.inode}{dot}{end}")
                else:
                    unique = _shortened(name, name, f".{member.inode}")
                wanted[label][unique] = member
    return wanted


def define(directory: Path, definition: Definition) -> None:
    """Make the directory of a view, or take an empty one.

    Raises:
        UsageError: it is not empty.
        OSError: it cannot be made.
    """
    try:
        directory.mkdir(PRIVATE)
    except FileExistsError:
        if not directory.is_dir() or any(directory.iterdir()):
            raise UsageError(f"{directory} is there and not an empty directory") from None
    os.setxattr(directory, VIEW, json.dumps(asdict(definition)).encode())


def definition_of(directory: Path) -> Definition:
    """What a view is of.

    Raises:
        BadView: it is none.
    """
    try:
        return Definition(**json.loads(os.getxattr(directory, VIEW)))
    except (OSError, ValueError, TypeError):
        raise BadView(f"{printable(directory)} is not a view: see tierfs view create") from None


def refresh(
    directory: Path, root: Path, wanted: Mapping[str, Mapping[str, Member]], *, symlink: bool
) -> Changes:
    """Let a view have these links and no others; ``root`` is the mountpoint.

    Whatever ends it, the next one continues.

    Raises:
        OSError: a link or a directory cannot be made.
    """
    changes = Changes()
    for label in _labels(directory):
        _clear(directory / label, root, wanted.get(label, {}), changes, symlink=symlink)
    for label, members in wanted.items():
        place = directory / label
        place.mkdir(PRIVATE, exist_ok=True)
        os.setxattr(place, VIEW_CLASS, b"")
        there = {entry.name for entry in os.scandir(place)}
        for name, member in members.items():
            if name not in there:
                _link(place / name, root, member, changes, symlink=symlink)
    return changes


def remove(directory: Path) -> Changes:
    """Remove a view with its links, and nothing else.

    Raises:
        OSError: a name cannot be removed.
    """
    changes = Changes()
    for label in _labels(directory):
        _clear(directory / label, directory, {}, changes, symlink=False)
    if not any(directory.iterdir()):
        directory.rmdir()
    return changes


def _labels(directory: Path) -> list[str]:
    found = []
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            try:
                os.getxattr(entry.path, VIEW_CLASS)
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise
            else:
                found.append(entry.name)
    return found


def _clear(
    place: Path, root: Path, wanted: Mapping[str, Member], changes: Changes, *, symlink: bool
) -> None:
    """Remove what does not belong into a directory, and the directory if nothing does."""
    for entry in list(os.scandir(place)):
        member = wanted.get(entry.name)
        if member is not None and _is(Path(entry.path), root, member, symlink=symlink):
            changes.kept += 1
        elif _is_link(entry):
            Path(entry.path).unlink()
            changes.removed += 1
        else:
            changes.foreign.append(entry.path)
    if not wanted and not any(place.iterdir()):
        place.rmdir()


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Whether nothing is lost with a name."""
    status = entry.stat(follow_symlinks=False)
    return stat.S_ISLNK(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink > 1)


def _is(link: Path, root: Path, member: Member, *, symlink: bool) -> bool:
    if symlink:
        return link.is_symlink() and os.fspath(link.readlink()) == _target(link, root, member)
    return link.lstat().st_ino == member.inode


def _target(link: Path, root: Path, member: Member) -> str:
    return os.path.relpath(f"{root}{member.path}", link.parent)


def _link(link: Path, root: Path, member: Member, changes: Changes, *, symlink: bool) -> None:
    source = Path(f"{root}{member.path}")
    if symlink:
        link.symlink_to(_target(link, root, member))
        changes.made += 1
        return
    try:
        os.link(source, link, follow_symlinks=False)
    except FileNotFoundError:
        changes.gone += 1
        return
    if link.lstat().st_ino != member.inode:
        link.unlink()
        changes.gone += 1
        return
    changes.made += 1
