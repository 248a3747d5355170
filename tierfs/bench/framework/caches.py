"""Drop what caches hold, so that the next read is a first read; and how far that can go."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from tierfs.base.errors import TierfsError
from tierfs.bench.framework.mounts import filesystem_of

DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")
"""proc_sys_vm(5): 1 drops clean pages, 2 dentries and inodes, 3 both; of the whole machine."""
REMOUNT_SECONDS: Final = 600.0


class Coldness(IntEnum):
    """How cold caches are; each level includes those before it."""

    WARM = 0
    """Whatever was cached still is."""
    PAGES = 1
    """The bytes of files left the kernel's page cache; names and attributes may be cached."""
    KERNEL = 2
    """The kernel holds nothing: no bytes, names or attributes. A daemon's own memory stays."""
    DAEMON = 3
    """The filesystem was unmounted and mounted again as well: its daemon is new."""


Chill = Callable[[Path], Coldness]
"""Drops the caches of what lies below a directory; returns how far that went."""


def drop_kernel_caches(directory: Path) -> Coldness:
    """Drop all that the kernel caches, or without root the pages of the files in ``directory``.

    What lies in tmpfs stays in memory, for it is nowhere else.
    """
    os.sync()
    try:
        DROP_CACHES.write_text("3\n", encoding="ascii")
    except OSError:
        _forget_pages(directory)
        return Coldness.PAGES
    return Coldness.KERNEL


def keep_caches(_directory: Path) -> Coldness:
    """Drop nothing."""
    return Coldness.WARM


@dataclass(frozen=True, slots=True)
class Remount:
    """Unmounts and mounts again with a command of the shell, and drops the kernel's caches."""

    command: str

    def __call__(self, directory: Path) -> Coldness:
        """Run the command; the same type of filesystem must be there afterwards.

        Raises:
            TierfsError: the command failed, or did not mount again.
        """
        before = filesystem_of(directory)
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", self.command],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=REMOUNT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise TierfsError(
                f"the command to remount {directory} has not ended after {REMOUNT_SECONDS:g} s"
            ) from None
        if done.returncode != 0:
            why = done.stderr.strip() or f"it ended with {done.returncode}"
            raise TierfsError(f"the command to remount {directory} failed: {why}")
        _require_mounted(directory, before)
        drop_kernel_caches(directory)
        return Coldness.DAEMON


def _require_mounted(directory: Path, before: str) -> None:
    now = filesystem_of(directory)
    if now != before:
        raise TierfsError(
            f"the command to remount {directory} left {now} there instead of {before}"
        )


def _forget_pages(directory: Path) -> None:
    for path, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                _forget(Path(path, name))


def _forget(path: Path) -> None:
    """posix_fadvise(2): pages that are clean are dropped."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
