"""The caller of a request, and which mode bits its changes clear. Pure.

The kernel has checked whether the caller may make the request. What is left to a filesystem is to
clear set-user-ID and set-group-ID (fs/attr.c of Linux); ACLs are in ``acl.py``.
"""

from __future__ import annotations

import stat
from typing import Protocol

PERMISSIONS = 0o7777
SET_ID = stat.S_ISUID | stat.S_ISGID


class Caller(Protocol):
    """The process behind a request; asked only where the answer counts, since asking takes time."""

    def keeps_set_id(self) -> bool:
        """Whether set-user-ID and set-group-ID survive its changes of the bytes (CAP_FSETID)."""

    def in_group(self, gid: int) -> bool:
        """Whether it is in the group, or may do as if it were (CAP_FSETID)."""

    def owns(self, uid: int) -> bool:
        """Whether it is the user, or may do as the owner of a file may (CAP_FOWNER)."""

    def administers(self) -> bool:
        """Whether it sees ``trusted.`` attributes (CAP_SYS_ADMIN)."""


class _Privileged:
    """Root with all its capabilities."""

    def keeps_set_id(self) -> bool:
        return True

    def in_group(self, gid: int) -> bool:  # noqa: ARG002 - root is as good as in every group
        return True

    def owns(self, uid: int) -> bool:  # noqa: ARG002 - root may do as every owner may
        return True

    def administers(self) -> bool:
        return True


PRIVILEGED: Caller = _Privileged()
"""May everything."""


def without_set_id(mode: int, gid: int, caller: Caller) -> int:
    """The mode of an inode of group ``gid`` after ``caller`` changed its owner.

    Set-user-ID goes, and set-group-ID where the group may execute or the caller is not in it
    (``setattr_should_drop_sgid``, fs/attr.c of Linux). Directories keep both.
    """
    if stat.S_ISDIR(mode) or not mode & SET_ID:
        return mode
    mode &= ~stat.S_ISUID
    return mode & ~stat.S_ISGID if mode & stat.S_IXGRP else set_by(mode, gid, caller)


def after_writing(mode: int, gid: int, caller: Caller) -> int:
    """The same after ``caller`` changed the bytes; who has CAP_FSETID changes no mode by that."""
    if not mode & SET_ID or caller.keeps_set_id():
        return mode
    return without_set_id(mode, gid, caller)


def set_by(mode: int, gid: int, caller: Caller) -> int:
    """``mode`` as ``caller`` may set it: set-group-ID is for the members of the group ``gid``."""
    if mode & stat.S_ISGID and not caller.in_group(gid):
        return mode & ~stat.S_ISGID
    return mode
