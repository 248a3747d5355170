"""Lookup counts: an unlinked inode lives until the kernel has forgotten it.

The kernel counts every reply with an inode and returns the count with FORGET (``fuse_lowlevel.h``,
``forget``). The counts are in small arrays: about 20 bytes for an inode whose neighbours are known
as well, 300 for an isolated one, a fraction of what the kernel uses.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeAlias

from tierfs.metadata.cache_updater import MetadataCache, NoMetadataCache

PAGE_BITS = 4
PAGE = 1 << PAGE_BITS
_EMPTY_PAGE = array("Q", bytes(8 * PAGE))


class LookupCounts(Protocol):
    """The lookup count of each inode, and which of those inodes are unlinked. Thread-safe."""

    def add(self, ino: int) -> None:
        """Count a reply that gives the kernel the inode."""

    def drop(self, ino: int, count: int) -> None:
        """Lower the count by ``count``."""

    def orphan(self, ino: int) -> bool:
        """The inode lost its last name; True when the kernel does not know it either."""

    def forgotten(self) -> list[int]:
        """The unlinked inodes whose counts have dropped to 0 since the last call."""

    def count(self, ino: int) -> int:
        """The lookup count of an inode."""


class LookupCounter:
    """Counts of our own, where every FORGET comes by."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: dict[int, array[int]] = {}
        self._orphans: set[int] = set()
        self._forgotten: list[int] = []

    def add(self, ino: int) -> None:
        """Count a reply that gives the kernel the inode."""
        with self._lock:
            page = self._pages.get(ino >> PAGE_BITS)
            if page is None:
                page = self._pages[ino >> PAGE_BITS] = array("Q", _EMPTY_PAGE)
            page[ino & PAGE - 1] += 1

    def drop(self, ino: int, count: int) -> None:
        """Lower the count by ``count``."""
        with self._lock:
            page = self._pages.get(ino >> PAGE_BITS)
            if page is None:
                return
            left = page[ino & PAGE - 1] = max(0, page[ino & PAGE - 1] - count)
            if left == 0 and page == _EMPTY_PAGE:
                del self._pages[ino >> PAGE_BITS]
            if not left and ino in self._orphans:
                self._orphans.remove(ino)
                self._forgotten.append(ino)

    def orphan(self, ino: int) -> bool:
        """The inode lost its last name; True when the kernel does not know it either."""
        with self._lock:
            if self._count(ino) == 0:
                return True
            self._orphans.add(ino)
            return False

    def forgotten(self) -> list[int]:
        """The unlinked inodes whose counts have dropped to 0 since the last call."""
        with self._lock:
            found, self._forgotten = self._forgotten, []
        return found

    def count(self, ino: int) -> int:
        """The lookup count of an inode."""
        with self._lock:
            return self._count(ino)

    def _count(self, ino: int) -> int:
        page = self._pages.get(ino >> PAGE_BITS)
        return 0 if page is None else page[ino & PAGE - 1]


class InheritedCounts:
    """Lookup counts of a daemon that has taken over: what the kernel got before is not known.

    So an inode that an earlier daemon made is freed when the kernel, asked for it, does not have it
    in memory any more (``unknown``), and not by its count.
    """

    def __init__(self, counts: LookupCounts, first: int, unlinked: Iterable[int]) -> None:
        """Inodes below ``first`` are earlier ones; ``unlinked``: those without a name."""
        self.add = counts.add
        self.drop = counts.drop
        self.forgotten = counts.forgotten
        self.count = counts.count
        self._orphan = counts.orphan
        self._first = first
        self._lock = threading.Lock()
        self._unlinked = set(unlinked)

    def orphan(self, ino: int) -> bool:
        """See ``LookupCounts``; an earlier inode waits for ``unknown``."""
        if ino >= self._first:
            return self._orphan(ino)
        with self._lock:
            self._unlinked.add(ino)
        return False

    def unknown(self, is_known: Callable[[int], bool]) -> list[int]:
        """The earlier inodes without a name that the kernel has forgotten; each once."""
        with self._lock:
            waiting = sorted(self._unlinked)
        found = [ino for ino in waiting if not is_known(ino)]
        with self._lock:
            self._unlinked.difference_update(found)
        return found


class Descriptors(NamedTuple):
    """What a daemon that takes over needs of the volume of the earlier one."""

    flash_lock: int
    disk_lock: int
    flash: int
    """Of the directory of the heads, as ``disk`` of that of the other objects: to these the kernel
    reports what could not be written since they were opened."""
    disk: int


class RouterPorts(NamedTuple):
    """What a volume has of the router: its metadata cache, and the kernel's lookup counts."""

    cache: MetadataCache
    lookup_counts: LookupCounts


MakePorts: TypeAlias = Callable[[int, int], RouterPorts]
"""Makes them, given descriptors of the directories of the flash and the disk objects."""


def no_router(_heads: int, _objects: int) -> RouterPorts:
    """The ports without a router: nothing is cached outside of the index."""
    return RouterPorts(NoMetadataCache(), LookupCounter())
