"""POSIX access control lists in the kernel's xattr form, and how they follow the mode. Pure.

Form: ``include/uapi/linux/posix_acl_xattr.h``. Rules: acl(5) and ``fs/posix_acl.c`` of Linux.
The kernel checks access with these lists; keeping list and mode in step is the filesystem's job.
"""

from __future__ import annotations

import errno
import stat
import struct
from enum import IntEnum
from typing import NamedTuple

from tierfs.common.errors import FsError

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"
NAMES = frozenset({ACCESS, DEFAULT})

_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_GROUP_SHIFT = 3
_OWNER_SHIFT = 6


class Tag(IntEnum):
    """Whom an entry is about."""

    USER_OBJ = 0x01
    USER = 0x02
    GROUP_OBJ = 0x04
    GROUP = 0x08
    MASK = 0x10
    OTHER = 0x20


_TAGS = frozenset(Tag)


class Ace(NamedTuple):
    """One entry: ``tag`` or the user or group ``id`` may ``perm`` (rwx as 4, 2, 1)."""

    tag: int
    perm: int
    id: int


Acl = tuple[Ace, ...]


class Inherited(NamedTuple):
    """What a new inode gets from its directory's default list."""

    mode: int
    access: bytes | None
    default: bytes | None


def parse(value: bytes) -> Acl:
    """Read the xattr form.

    Raises:
        FsError: EINVAL, it is not a list.
    """
    if value[:4] != _VERSION or (len(value) - 4) % _ENTRY.size:
        raise FsError(errno.EINVAL)
    entries = tuple(Ace._make(fields) for fields in _ENTRY.iter_unpack(value[4:]))
    if not _TAGS.issuperset(entry.tag for entry in entries):
        raise FsError(errno.EINVAL)
    return entries


def render(acl: Acl) -> bytes:
    """Write the xattr form."""
    return _VERSION + b"".join(_ENTRY.pack(*ace) for ace in acl)


def mode_of(acl: Acl, mode: int) -> int:
    """``mode`` with the permission bits that an access list stands for (posix_acl_equiv_mode)."""
    perms = {ace.tag: ace.perm for ace in acl}
    group = perms.get(Tag.MASK, perms.get(Tag.GROUP_OBJ, 0))
    bits = (
        perms.get(Tag.USER_OBJ, 0) << _OWNER_SHIFT | group << _GROUP_SHIFT | perms.get(Tag.OTHER, 0)
    )
    return mode & ~0o777 | bits


def is_minimal(acl: Acl) -> bool:
    """Whether the mode alone says the same, so that nothing need be stored."""
    return all(ace.tag in {Tag.USER_OBJ, Tag.GROUP_OBJ, Tag.OTHER} for ace in acl)


def after_chmod(acl: Acl, mode: int) -> Acl:
    """The access list after chmod(2) to ``mode`` (__posix_acl_chmod_masq)."""
    group_tag = Tag.MASK if any(ace.tag == Tag.MASK for ace in acl) else Tag.GROUP_OBJ
    bits = {
        Tag.USER_OBJ: mode >> _OWNER_SHIFT & 7,
        group_tag: mode >> _GROUP_SHIFT & 7,
        Tag.OTHER: mode & 7,
    }
    return tuple(ace._replace(perm=bits.get(Tag(ace.tag), ace.perm)) for ace in acl)


def inherit(default: bytes | None, mode: int) -> Inherited:
    """What an inode made with ``mode`` gets from its directory (posix_acl_create)."""
    if stat.S_ISLNK(mode) or default is None:
        return Inherited(mode, None, None)
    limited = _limited(parse(default), mode)
    return Inherited(
        mode=mode_of(limited, mode),
        access=None if is_minimal(limited) else render(limited),
        default=default if stat.S_ISDIR(mode) else None,
    )


def _limited(acl: Acl, mode: int) -> Acl:
    """A default list, limited to what the creating call asked for (posix_acl_create_masq)."""
    asked = after_chmod(acl, mode)
    return tuple(
        ace._replace(perm=ace.perm & wanted.perm) for ace, wanted in zip(acl, asked, strict=True)
    )
