"""Whether anybody but root, or the user who runs this, can change what a path leads to.

Like sshd's StrictModes (sshd_config(5)): a user who can write to a directory on the path can
put something else there, so every directory and every symbolic link is checked.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

MOST_LINKS: Final = 40
"""As the kernel follows (path_resolution(7))."""

_INITIAL_MAP: Final = ["0", "0", "4294967295"]


class Exposed(NamedTuple):
    """A file on the way that somebody else can change."""

    path: Path
    how: str
    """Who can, as the rest of a sentence that begins with the path."""
    remedy: str
    """A command."""


def exposed(path: Path, *, sticky: bool = False) -> Exposed | None:
    """The first file on the way to ``path``, or it itself, that others can change; None: none.

    In a directory with the sticky bit nobody can replace what belongs to others: it is good enough
    on the way; with ``sticky`` also at the end. What is missing is not judged.

    Raises:
        OSError: a directory cannot be looked at, or the links go in circles.
    """
    trusted = _trusted()
    at, names = Path("/"), list(reversed(path.absolute().parts[1:]))
    if found := _judge(at, os.lstat(at), trusted, sticky=True):
        return found
    links = 0
    while names:
        name = names.pop()
        if name == "..":
            at = at.parent
            continue
        here = at / name
        try:
            status = os.lstat(here)
        except FileNotFoundError:
            return None
        if found := _judge(here, status, trusted, sticky=sticky or bool(names)):
            return found
        if not stat.S_ISLNK(status.st_mode):
            at = here
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
        target = here.readlink()
        if target.is_absolute():
            at = Path("/")
        names.extend(reversed([part for part in target.parts if part != "/"]))
    return None


def is_foreign(status: os.stat_result) -> bool:
    """Whether a file belongs to a user who is not trusted."""
    return status.st_uid not in _trusted()


def user_name(uid: int) -> str:
    """A user for people."""
    with suppress(KeyError):
        return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    return f"user {uid}"


def _judge(
    path: Path, status: os.stat_result, trusted: frozenset[int], *, sticky: bool
) -> Exposed | None:
    """A sticky directory's owner can replace everything in it anyway."""
    if status.st_uid not in trusted:
        remedy = f"chown {'-h ' if stat.S_ISLNK(status.st_mode) else ''}root '{path}'"
        return Exposed(path, f"belongs to {user_name(status.st_uid)}", remedy)
    mode = status.st_mode
    if stat.S_ISLNK(mode) or (sticky and stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        return None
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX and mode & (stat.S_IWGRP | stat.S_IWOTH):
        how = "is a directory in which others can make files"
        return Exposed(path, how, "make a directory of root's own in it, and use that")
    if mode & stat.S_IWOTH:
        return Exposed(path, "can be written by everybody", f"chmod go-w '{path}'")
    if mode & stat.S_IWGRP:
        who = f"can be written by {_group_name(status.st_gid)}"
        return Exposed(path, who, f"chmod g-w '{path}'")
    return None


def _group_name(gid: int) -> str:
    with suppress(KeyError):
        return f"group {grp.getgrgid(gid).gr_name} ({gid})"
    return f"group {gid}"


def _trusted() -> frozenset[int]:
    """Root and ourselves; in a user namespace that maps some users only, also the root outside.

    All who are not mapped show as one user (user_namespaces(7)); none of them is in the namespace.
    """
    trusted = {0, os.geteuid()}
    with suppress(OSError, ValueError):
        if Path("/proc/self/uid_map").read_text().split() != _INITIAL_MAP:
            trusted.add(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    return frozenset(trusted)
