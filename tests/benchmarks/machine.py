"""The machine: what is mounted where, dropping caches, and whether there is room."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final

from tierfs.common.errors import TierfsError
from tierfs.common.units import KIB, MIB, format_size

MOUNTINFO: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


def filesystem_of(directory: Path) -> str:
    """The type of the filesystem that ``directory`` lies in, as mount(8) names it."""
    number = directory.stat().st_dev
    device = f"{os.major(number)}:{os.minor(number)}"
    return next((type_ for _, at, type_ in _mounts() if at == device), "unknown")


def mountpoints() -> frozenset[Path]:
    """Where something is mounted. No mount is asked, so that a dead or hanging one is listed."""
    return frozenset(path for path, _, _ in _mounts())


def _mounts() -> Iterator[tuple[Path, str, str]]:
    """Mountpoint, ``MAJOR:MINOR`` and type of every mount; proc_pid_mountinfo(5)."""
    for line in MOUNTINFO.read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        path = _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), fields[4])
        yield Path(os.fsdecode(path)), fields[2].decode(), after.split(b" ")[0].decode()


DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")
"""proc_sys_vm(5): 1 drops clean pages, 2 dentries and inodes, 3 both; of the whole machine."""


class Coldness(IntEnum):
    """How cold caches are; each level includes those before it."""

    WARM = 0
    """Whatever was cached still is."""
    PAGES = 1
    """The bytes of files left the kernel's page cache; names and attributes may be cached."""
    KERNEL = 2
    """The kernel holds nothing: no bytes, names or attributes. A daemon's own memory stays."""


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


_MEMINFO: Final = Path("/proc/meminfo")
_WARMED: Final = 1024 * MIB


def warm_memory() -> None:
    """Touch free memory, at most 1 GiB and half of it, so that who is measured next is given it.

    A virtual machine hands memory that is free for some seconds back to its host (free page
    reporting, mm/page_reporting.c), and pays about 8 microseconds for each page that it uses
    again: more than a daemon takes to write one.
    """
    free = int(_MEMINFO.read_text(encoding="ascii").partition("MemFree:")[2].split()[0]) * KIB
    size = min(_WARMED, free // 2)
    mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


BLOCK: Final = 4 * KIB
"""In which most filesystems give out space, in bytes."""
OVERHEAD: Final = 512
"""Bytes a file for its inode and its names, roughly."""


def needed(files: int, size: int) -> int:
    """Bytes that ``files`` files of ``size`` bytes take, about."""
    return files * (-(-size // BLOCK) * BLOCK + OVERHEAD)


def require_room(directory: Path, files: int, size: int) -> None:
    """Raise unless ``files`` files of ``size`` bytes fit in the filesystem of ``directory``.

    Raises:
        TierfsError: too little space, or too few inodes where those are counted.
    """
    found = os.statvfs(directory)
    free, wanted = found.f_bavail * found.f_frsize, needed(files, size)
    if free < wanted:
        raise TierfsError(
            f"{directory} has {format_size(free)} free, and {files:,} files of {format_size(size)} "
            f"need {format_size(wanted)}; choose fewer or smaller ones, or another directory"
        )
    if found.f_files and found.f_favail < files:
        raise TierfsError(
            f"{directory} has {found.f_favail:,} inodes free, and {files:,} files are to be made; "
            "choose fewer, or another directory"
        )
