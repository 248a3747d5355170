"""The groups and capabilities of the caller of a request: FUSE gives only user and group."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

CAP_FOWNER: Final = 3
CAP_FSETID: Final = 4
CAP_SYS_ADMIN: Final = 21
EVERY_CAPABILITY: Final = -1
NO_CAPABILITY: Final = 0
ROOT_UID: Final = 0
PROC: Final = Path("/proc")


class Credentials(NamedTuple):
    """The supplementary groups and effective capabilities of a process."""

    groups: frozenset[int]
    capabilities: int
    """A bit for each, by the numbers of linux/capability.h."""


class ProcessCaller:
    """The process that waits for the answer; its credentials are read once, when needed."""

    def __init__(self, uid: int, gid: int, pid: int) -> None:
        """``pid``: the thread of the caller, from ``fuse_in_header``."""
        self._uid = uid
        self._gid = gid
        self._pid = pid

    def keeps_set_id(self) -> bool:
        """See ``Caller``."""
        return self._has(CAP_FSETID)

    def in_group(self, gid: int) -> bool:
        """See ``Caller``."""
        return gid == self._gid or gid in self._credentials.groups or self._has(CAP_FSETID)

    def owns(self, uid: int) -> bool:
        """See ``Caller``."""
        return uid == self._uid or self._has(CAP_FOWNER)

    def administers(self) -> bool:
        """See ``Caller``."""
        return self._has(CAP_SYS_ADMIN)

    def _has(self, capability: int) -> bool:
        return bool(self._credentials.capabilities >> capability & 1)

    @functools.cached_property
    def _credentials(self) -> Credentials:
        by_user = EVERY_CAPABILITY if self._uid == ROOT_UID else NO_CAPABILITY
        return credentials(self._pid) or Credentials(frozenset(), by_user)


def credentials(pid: int, proc: Path = PROC) -> Credentials | None:
    """Those of a process or thread; None if it is gone or in another PID namespace.

    Capabilities count only in this user namespace, as for the kernel's ``capable()``.
    """
    process = proc / str(pid)
    try:
        fields = _fields((process / "status").read_text(encoding="utf-8", errors="replace"))
        ours = (process / "ns/user").readlink() == (proc / "self/ns/user").readlink()
    except OSError:
        return None
    return Credentials(
        groups=frozenset(int(group) for group in fields["Groups"].split()),
        capabilities=int(fields["CapEff"], 16) if ours else NO_CAPABILITY,
    )


def _fields(status: str) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in status.splitlines())
    return {name: value.strip() for name, _, value in pairs}
