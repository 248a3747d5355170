"""The filesystem put together: each group of calls is an attribute."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tierfs.common.extents import BLOCK
from tierfs.common.metrics import Metrics
from tierfs.common.times import Clock, system_clock
from tierfs.fs.activity import Activity
from tierfs.fs.adoption import Adoption
from tierfs.fs.allocation import Allocator
from tierfs.fs.attributes import Attributes, StatFs
from tierfs.fs.cache_fill import CacheFill
from tierfs.fs.data import Data
from tierfs.fs.directory import NAME_MAX, Listing
from tierfs.fs.dirty import DirtySet
from tierfs.fs.locks import InodeLocks, WouldBlock
from tierfs.fs.lookup_counts import LookupCounts
from tierfs.fs.migration import Migrator
from tierfs.fs.mirrors import Mirrors
from tierfs.fs.namespace import Namespace
from tierfs.fs.placement import Placements
from tierfs.fs.ranges import Ranges
from tierfs.fs.reads import Reads
from tierfs.fs.reclaim import Reclaimer
from tierfs.fs.recovery import Recovery
from tierfs.fs.shared import SharedObjects
from tierfs.fs.sync import Syncer
from tierfs.fs.tiers import Tiers
from tierfs.fs.verification import Verifier
from tierfs.fs.xattrs import ExtendedAttributes
from tierfs.metadata.index import Index


class FileSystem:
    """POSIX semantics by inode number, over an index and two object stores."""

    def __init__(
        self,
        *,
        index: Index,
        tiers: Tiers,
        head: int,
        volume: uuid.UUID,
        metrics: Metrics,
        lookup_counts: LookupCounts,
        clock: Clock = system_clock,
    ) -> None:
        locks = InodeLocks()
        self.allocator = Allocator(head, tiers.flash, own=lambda: index.usage().flash_bytes)
        self._index = index
        self.is_free = index.is_free
        self._tiers = tiers
        self.lookup_counts = lookup_counts
        self.dirty = DirtySet(index, tiers, locks, metrics)
        self.syncer = Syncer(index, tiers, self.dirty, metrics)
        self.reclaimer = Reclaimer(
            index, tiers, self.dirty, lookup_counts, self.syncer.flush, metrics
        )
        self.adoption = Adoption(index, tiers, self.dirty, self.allocator, clock)
        self.recovery = Recovery(index, tiers, self.dirty, self.reclaimer)
        self.names = Namespace(
            index, self.allocator, self.lookup_counts, self.reclaimer, self.dirty, clock
        )
        self.shared = SharedObjects(index, tiers, self.dirty, metrics)
        self.migrator = Migrator(
            index, tiers, self.allocator, self.syncer, self.reclaimer, self.shared, clock, metrics
        )
        self.verifier = Verifier(index, tiers, self.dirty, clock, metrics)
        self.placements = Placements(index, tiers, self.dirty)
        self.mirrors = Mirrors(
            index,
            tiers,
            self.dirty,
            mirror=self.migrator.mirror_now,
            sync_flash=self.syncer.sync_flash,
            add_truncation=self.reclaimer.add_truncation,
        )
        self.activity = Activity()
        self.reads = Reads(index, tiers, self.activity, self.shared.note, metrics)
        self.data = Data(
            index,
            tiers,
            self.allocator,
            self.syncer,
            self.mirrors,
            self.reclaimer,
            self.shared,
            self.reads,
            clock,
        )
        self.ranges = Ranges(index, tiers, self.reads, self.data, self.shared, locks)
        self.attributes = Attributes(index, tiers, self.data, clock)
        self.xattrs = ExtendedAttributes(index, volume, head, clock)
        self.cache_fill = CacheFill(index)
        self.listing = Listing(index, self.lookup_counts)

    def statfs(self) -> StatFs:
        """Capacity and room.

        Raises:
            OSError: statvfs failed on a tier's directory.
        """
        disk = self._tiers.disk.space()
        return StatFs(
            blocks=disk.capacity // BLOCK,
            blocks_free=disk.free // BLOCK,
            blocks_available=disk.available // BLOCK,
            files=disk.files,
            files_free=disk.files_free,
            name_max=NAME_MAX,
        )

    @contextmanager
    def once(self, request: int) -> Iterator[bool]:
        """A transaction that makes the change of a request, numbered as the kernel does.

        The value is False where an earlier daemon of the same connection has made it.
        """
        if self._index.answered.has(request):
            yield False
            return
        with self._index.transaction():
            self._index.answered.note(request)
            yield True

    def sync_index(self, *, wait: bool = True) -> None:
        """Make every name and attribute survive a power cut: fsync(2) of a directory.

        Raises:
            OSError: the sync failed.
            WouldBlock: ``wait`` is False, and this waits for a device.
        """
        if not wait and (self._index.feed.at_sync or not self._index.in_memory):
            raise WouldBlock
        self._index.sync_for_program()
