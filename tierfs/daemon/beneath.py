"""Putting a mount beneath another one: so a dead mount is replaced without a gap.

mount(2) mounts on top, so that what is in the way would have to go first. Since Linux 6.5
move_mount(2) puts a mount beneath the topmost one (MOVE_MOUNT_BENEATH), which is unmounted then.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tierfs.daemon.runtime import make_private, runtime_directory

OPEN_TREE, MOVE_MOUNT = 428, 429
"""Numbers of the system calls, the same on every architecture (asm-generic/unistd.h)."""

CLONE: Final = 1 | os.O_CLOEXEC
"""OPEN_TREE_CLONE and OPEN_TREE_CLOEXEC (linux/mount.h)."""
BENEATH: Final = 0x200 | 4
"""MOVE_MOUNT_BENEATH and MOVE_MOUNT_F_EMPTY_PATH."""
AT_FDCWD: Final = -100
MNT_DETACH: Final = 2

_LIBC = ctypes.CDLL(None, use_errno=True)


def put_beneath(mountpoint: Path, mount: Callable[[Path], object]) -> None:
    """Let ``mount`` mount something at a directory of its own, and put it beneath ``mountpoint``.

    A mount beneath a shared one cannot be moved, hence the copy of it, which is nowhere at first.

    Raises:
        OSError: it failed, or the kernel cannot do it; then nothing is mounted.
    """
    home = runtime_directory(os.geteuid())
    make_private(home)
    with ExitStack() as cleared:
        place = Path(tempfile.mkdtemp(prefix=".mount-", dir=home))
        cleared.callback(place.rmdir)
        mount(place)
        path = os.fsencode(place)
        cleared.callback(_LIBC.umount2, path, MNT_DETACH)
        copy = _call(OPEN_TREE, AT_FDCWD, path, CLONE)
        cleared.callback(os.close, copy)
        _call(MOVE_MOUNT, copy, b"", AT_FDCWD, os.fsencode(mountpoint), BENEATH)


def _call(number: int, *arguments: bytes | int) -> int:
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result: int = _LIBC.syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
