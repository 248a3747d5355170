"""The calls that make a name, each with one argument: the path."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

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
