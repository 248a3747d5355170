"""Pure rules on mode bits."""

from __future__ import annotations

import stat

PERMISSIONS = 0o7777


def without_set_id(mode: int) -> int:
    """The mode after the bytes or the owner changed.

    Set-user-ID goes; set-group-ID goes where it is no mandatory-locking mark, that is, where the
    group may execute (``should_remove_suid``, fs/attr.c of Linux).
    """
    if stat.S_ISDIR(mode):
        return mode
    mode &= ~stat.S_ISUID
    return mode & ~stat.S_ISGID if mode & stat.S_IXGRP else mode


def with_permissions(mode: int, permissions: int) -> int:
    """The same type with other permission bits (chmod(2))."""
    return stat.S_IFMT(mode) | permissions & PERMISSIONS
