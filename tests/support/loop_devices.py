"""Filesystems on loop devices of their own, which can be shut down or frozen under a mount."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tests.support.proc import run

Kind = Literal["ext4", "xfs"]
MAKE: dict[Kind, list[str]] = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-O", "^has_journal"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}
SIZE: dict[Kind, int] = {"ext4": 64 << 20, "xfs": 320 << 20}
"""Bytes, of a sparse file; 300 MiB is the least that mkfs.xfs takes."""

SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN of fs/xfs/libxfs/xfs_fs.h and fs/ext4/ext4.h."""
NO_LOG_FLUSH = 2


@contextlib.contextmanager
def loop_filesystem(home: Path, kind: Kind) -> Iterator[Path]:
    """A filesystem of this kind, mounted below `home`; the image is beside it."""
    image, path = home / f"{kind}.image", home / kind
    path.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(SIZE[kind])
    run([*MAKE[kind], image])
    run(["mount", "-o", "loop", image, path])
    try:
        yield path
    finally:
        # Lazily: a daemon that a failing test left behind may still hold it. The kernel gives the
        # loop device back with the last user (LO_FLAGS_AUTOCLEAR).
        run(["umount", "-l", path])


def shut_down(path: Path) -> None:
    """Let every access to the filesystem at `path` fail, as after a fatal error of its device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def frozen(path: Path) -> Iterator[None]:
    """Let every change of the filesystem at `path` wait inside the block."""
    run(["fsfreeze", "--freeze", path])
    try:
        yield
    finally:
        run(["fsfreeze", "--unfreeze", path])
