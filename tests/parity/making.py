"""Names and inodes that many cases start from."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
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


# ---------------------------------------------------------------- the calls that make a name


Path_ = str | bytes | Path


def creat(path: Path_) -> None:
    """Make a regular file, as open(2) with O_CREAT and O_EXCL does."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def mknod(path: Path_) -> None:
    """Make a regular file, as mknod(2) does."""
    os.mknod(path, stat.S_IFREG | 0o644)


def mkfifo(path: Path_) -> None:
    """Make a FIFO."""
    os.mkfifo(path, 0o644)


def mkdir(path: Path_) -> None:
    """Make a directory."""
    os.mkdir(path, 0o755)


def symlink(path: Path_) -> None:
    """Make a symbolic link."""
    os.symlink("target", path)


MAKERS: dict[str, Callable[[Path_], None]] = {
    "creat": creat,
    "mknod": mknod,
    "mkfifo": mkfifo,
    "mkdir": mkdir,
    "symlink": symlink,
}
"""By the name of the call."""
