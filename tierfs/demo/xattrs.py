"""Extended attributes, by the package ``xattr``, of the path itself (links are not followed)."""

from __future__ import annotations

import errno
from pathlib import Path

import xattr

NOT_COMPARED = frozenset({"security.selinux"})
"""Labels that the kernel gives by where a file lies, so that a copy has other ones."""


def get_xattrs(path: Path) -> dict[str, bytes]:
    """All attributes that the caller may list. Raises OSError."""
    try:
        names = xattr.listxattr(str(path), symlink=True)
    except OSError as exc:
        if exc.errno == errno.ENOTSUP:
            return {}
        raise
    return {
        name: xattr.getxattr(str(path), name, symlink=True)
        for name in names
        if name not in NOT_COMPARED
    }


def set_xattr(path: Path, name: str, value: bytes) -> None:
    """Set one attribute. Raises OSError."""
    xattr.setxattr(str(path), name, value, symlink=True)


def supports_user_xattrs(directory: Path) -> bool:
    """Whether the filesystem of ``directory`` keeps attributes of the ``user`` namespace."""
    try:
        xattr.setxattr(str(directory), "user.tierfs-demo", b"?")
        xattr.removexattr(str(directory), "user.tierfs-demo")
    except OSError as exc:
        if exc.errno == errno.ENOTSUP:
            return False
        raise
    return True
