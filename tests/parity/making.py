"""Small things that many cases start from."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tests.parity.actors import GROUP, OWNER

CONTENT = b"some bytes"

KINDS = ("file", "directory", "fifo", "socket", "device")
"""Types of inodes that have permissions."""

_NODES = {
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "device": stat.S_IFCHR,
}


def make(path: Path, kind: str = "file", mode: int = 0o644) -> Path:
    """Make an inode of this kind with exactly this mode, owned by root."""
    if kind == "file":
        path.write_bytes(CONTENT)
    elif kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to("target")
        return path
    else:
        os.mknod(path, _NODES[kind] | 0o600, os.makedev(1, 3) if kind == "device" else 0)
    path.chmod(mode)
    return path


def owned(path: Path, kind: str = "file", mode: int = 0o644) -> Path:
    """Make an inode of OWNER:GROUP with exactly this mode."""
    make(path, kind)
    os.chown(path, OWNER, GROUP, follow_symlinks=False)
    if kind != "symlink":
        path.chmod(mode)
    return path


def mode_of(path: Path) -> str:
    """The permission bits in octal, symbolic links not followed."""
    return f"{stat.S_IMODE(path.lstat().st_mode):o}"


def opened(path: Path, flags: int) -> str:
    """Open and close; for its errors."""
    os.close(os.open(path, flags))
    return "opened"
