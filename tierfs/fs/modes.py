"""Pure rules on mode bits."""

from __future__ import annotations

import stat

from tierfs.fs.callers import Caller

PERMISSIONS = 0o7777
SET_ID = stat.S_ISUID | stat.S_ISGID


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


def with_permissions(mode: int, permissions: int) -> int:
    """The same type with other permission bits (chmod(2))."""
    return stat.S_IFMT(mode) | permissions & PERMISSIONS
