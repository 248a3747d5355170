"""Migrations of a file's bytes between the tiers: promotion, demotion, mirroring.

Every migration copies, syncs, commits, and only then frees the source, so that a crash at any
point leaves the file whole. The steps have labels such as ``move.copied``, at which tests kill:

* before: a dirty file is synced, so that no bytes are copied whose write-back failed.
* then: a pending truncation is stored, if the copy makes an object longer than the index says.
* ``copied``: bytes are read without a lock; each chunk is written under the inode's lock, if the
  file has not changed since the migration began. So no byte arrives late in an object that is in
  use again. The checksum of a head is computed, or compared with the stored one.
* ``synced``: the copy survives a power cut; for a new mirror, so do the bytes on flash.
* ``committed``: P, the mirror flag, the checksum and a new data version, in one transaction. Where
  bytes are freed, or a mirror ends, the index is synced before the next write to the file.
* ``freed``: the source and the pending truncation are removed.

A write to the file goes first: it invalidates the migration, and the reclaimer trims the copy.
Readers notice a migration by the prefix (``reads.py``; ``reads.c`` by the data version, too).

``tierfs.fs.migration_plan`` computes what is copied and freed.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from tierfs.common.errors import ChangedOutside, Damage, FsError, IndexFailed
from tierfs.common.metrics import Metrics
from tierfs.common.times import Clock
from tierfs.fs.allocation import Allocator
from tierfs.fs.checksums import MOST_ZEROS, Summer
from tierfs.fs.locks import WouldBlock
from tierfs.fs.migration_plan import (
    Migrated,
    Outcome,
    Paced,
    Plan,
    plan_mirror,
    plan_place,
)
from tierfs.fs.reclaim import Reclaimer
from tierfs.fs.shared import SharedObjects
from tierfs.fs.sync import Syncer
from tierfs.fs.tiers import NO_ROOM, Copy, Tiers, lengths_of
from tierfs.metadata.checksums import Checksum
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode

log = logging.getLogger(__name__)

SYNCED_ONE_BY_ONE = 4
"""Dirty files of a batch; more are cheaper to sync with the whole filesystem."""


def _compare(job: _Job) -> None:
    """Let no copy be made of bytes that are known to be wrong.

    Raises:
        Damage: what was copied differs from its checksum.
    """
    known, extent = job.known, job.plan.extent
    if known is None:
        return
    wanted = known.head if known.length == extent.end else None
    if extent.end == job.inode.size and known.whole is not None:
        wanted = known.whole
    if wanted is not None and wanted != job.checksum:
        source = job.copy.source.name if job.copy is not None else ""
        what = f"bytes 0 to {extent.end} of its {source} object differ from their checksum"
        raise Damage(job.inode.ino, f"{what}: see tierfs scrub")


def _checksum(job: _Job, now: int) -> Checksum:
    """What is stored of a file once it is migrated."""
    inode, end, checksum = job.inode, job.plan.extent.end, job.checksum or b""
    whole = checksum if end == inode.size else None
    return Checksum(inode.ino, inode.version + 1, end, checksum, whole, now)


class _GivenUp(Exception):
    """The file cannot be migrated now."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


@dataclass(slots=True)
class _Job:
    """One file on its way."""

    inode: Inode
    """As it was when the migration began."""
    plan: Plan
    copy: Copy | None
    noted: bool = False
    """Whether this migration noted the pending truncation."""
    copied: int = 0
    freed: int = 0
    """Bytes of flash that are free by now."""
    known: Checksum | None = None
    """The checksums that hold of the file."""
    checksum: bytes | None = None
    """That of what was copied, where it begins with the file's first byte."""

    @property
    def must_be_durable(self) -> bool:
        """Whether the commit must survive a power cut before the file changes again."""
        return self.plan.frees or self.inode.mirrored > self.plan.mirrored


class Migrator:
    """Promotion, demotion and mirroring by inode number. Thread-safe.

    Files that are open, hard-linked or renamed migrate as others do; times stay as they are.
    """

    def __init__(
        self,
        index: Index,
        tiers: Tiers,
        allocator: Allocator,
        syncer: Syncer,
        reclaimer: Reclaimer,
        shared: SharedObjects,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._index = index
        self._tiers = tiers
        self._shared = shared
        self._allocator = allocator
        self._syncer = syncer
        self._dirty = syncer.dirty
        self._locks = syncer.dirty.locks
        self._migrations = self._locks.migrations
        self._reclaimer = reclaimer
        self._clock = clock
        self._damage = metrics.damage

    def place(self, ino: int, prefix: int, *, keep_mirror: bool, paced: Paced) -> Migrated:
        """Promote or demote so that ``prefix`` is the file's P (0, bytes, ``WHOLE_FILE``).

        With ``keep_mirror`` a disk object that is the whole file afterwards is kept as its mirror.

        Raises:
            MigrationStopped: by ``paced``.
            FsError, OSError: the migration failed. The file is as it was, as in the other cases.
        """
        with self._migrations.of([ino]) as begun:
            if not begun:
                return Migrated(ino, "changed")
            try:
                inode = self._file(ino)
                if not isinstance(inode, Inode):
                    return Migrated(ino, inode)
                if prefix == inode.prefix:
                    return Migrated(ino, "nothing")
                return self._place(inode, prefix, keep_mirror=keep_mirror, paced=paced)
            except ChangedOutside as exc:
                self._shared.note(exc)
                raise
            except Damage:
                self._damage.inc()
                raise

    def mirror_now(self, ino: int) -> Migrated:
        """Copy the head of one file to disk, as fast as it goes: a request waits for it.

        Raises:
            FsError, OSError: it failed. The file is as it was.
        """
        return self.mirror([ino], paced=lambda _bytes: None)[0]

    def mirror(self, inos: Sequence[int], *, paced: Paced) -> list[Migrated]:
        """Copy the heads of several files to disk; one sync and one commit for all.

        Give them in the order of their numbers, which is about disk order, some hundred at most:
        while they are committed every other change waits.

        Raises:
            MigrationStopped: by ``paced``.
            FsError, OSError: a step for all of them failed. The files are as they were.
        """
        done: dict[int, Migrated] = {ino: Migrated(ino, "changed") for ino in inos}
        with self._migrations.of(done) as begun:
            if sum(self._dirty.get(ino) is not None for ino in begun) > SYNCED_ONE_BY_ONE:
                with suppress(OSError):  # what fails shows file by file
                    self._syncer.checkpoint()
            jobs = [job for ino in begun if (job := self._mirror_job(ino, done))]
            with self._undo_unfinished(jobs) as finished:
                self._mirror(jobs, done, paced)
                finished |= {ino for ino in begun if done[ino].outcome == "moved"}
        return list(done.values())

    # ---------------------------------------------------------------- one file

    def _place(self, inode: Inode, prefix: int, *, keep_mirror: bool, paced: Paced) -> Migrated:
        believed = inode
        if inode.adopted:
            keep_mirror = True  # it costs nothing, and is the only copy of what is behind the head
            self._shared.check(inode)
        if prefix <= inode.prefix and inode.mirrored and not self._tiers.mirror_is_whole(inode):
            believed = inode._replace(mirrored=0)  # the mirror is needed, and is not there
        job = self._job(inode, believed, plan_place(believed, prefix, keep_mirror=keep_mirror))
        if (
            job.copy
            and job.plan.way == "up"
            and not self._allocator.has_room(
                job.plan.extent.length, files=int(not lengths_of(inode).flash)
            )
        ):
            return Migrated(inode.ino, "no-room")
        with self._undo_unfinished([job]) as finished:
            try:
                self._note([job])
                self._copy(job, paced)
                if inode.adopted:
                    self._shared.check(inode)  # also what was a hole of it
                self._step("copied")
                if job.plan.mirrored > inode.mirrored:
                    self._tiers.flash.sync(inode.ino)
                    self._tiers.disk.sync(inode.ino)
                elif job.copy is not None:
                    job.copy.target.sync(inode.ino)
                self._step("synced")
                with self._locked_if_unchanged(job):
                    self._commit([job])
                    if job.must_be_durable:
                        self._free(job)
            except _GivenUp as exc:
                return Migrated(inode.ino, exc.outcome, job.copied)
            except (FsError, OSError) as exc:
                return Migrated(inode.ino, self._excuse(job, exc), job.copied)
            finished.add(inode.ino)
        return Migrated(inode.ino, "moved", job.copied, job.freed)

    def _free(self, job: _Job) -> None:
        """Under the lock; the file is migrated, and what fails here is left to the reclaimer."""
        ino = job.inode.ino
        if job.plan.prefix < job.inode.prefix and not job.inode.mirrored:
            # Or, with flash lost, a restore would look for these bytes there.
            self._index.feed.catch_up()
        try:
            self._tiers.trim(self._index.inodes.get(ino))
            job.freed = job.plan.freed
            with self._index.transaction():
                self._index.pending_truncations.delete(ino)
        except (FsError, OSError) as exc:
            log.warning("inode %d: its source was not freed (%s); it is tried again", ino, exc)
            self._reclaimer.add_truncation(ino)
        self._step("freed")

    # ---------------------------------------------------------------- several files

    def _mirror_job(self, ino: int, done: dict[int, Migrated]) -> _Job | None:
        try:
            inode = self._file(ino)
        except IndexFailed:
            raise
        except (FsError, OSError) as exc:
            self._report(ino, exc)
            inode = "failed"
        if not isinstance(inode, Inode):
            done[ino] = Migrated(ino, inode)
            return None
        plan = plan_mirror(inode)
        done[ino] = Migrated(ino, "nothing" if plan is None else "failed")
        return None if plan is None else self._job(inode, inode, plan)

    def _mirror(self, jobs: list[_Job], done: dict[int, Migrated], paced: Paced) -> None:
        """Copy, sync and commit; what is wrong with one file alone is noted in ``done``."""
        self._note(jobs)
        with self._tiers.flash.watched() as flush_flash, self._tiers.disk.watched() as flush_disk:
            copied = []
            for job in jobs:
                try:
                    self._copy(job, paced)
                except _GivenUp as exc:
                    done[job.inode.ino] = Migrated(job.inode.ino, exc.outcome, job.copied)
                except (FsError, OSError) as exc:
                    outcome = self._excuse_of_many(job, exc)
                    done[job.inode.ino] = Migrated(job.inode.ino, outcome, job.copied)
                else:
                    copied.append(job)
            if not copied:
                return
            self._step("copied")
            flush_flash()
            flush_disk()
        self._step("synced")
        kept = []
        with ExitStack() as held:
            for job in copied:
                try:
                    held.enter_context(self._locked_if_unchanged(job))
                except _GivenUp as exc:
                    done[job.inode.ino] = Migrated(job.inode.ino, exc.outcome, job.copied)
                else:
                    kept.append(job)
            self._commit(kept)
        for job in kept:
            done[job.inode.ino] = Migrated(job.inode.ino, "moved", job.copied)

    def _excuse_of_many(self, job: _Job, exc: FsError | OSError) -> Outcome:
        try:
            return self._excuse(job, exc)
        except (FsError, OSError):
            self._report(job.inode.ino, exc)
            return "failed"

    def _report(self, ino: int, exc: FsError | OSError) -> None:
        if isinstance(exc, Damage):
            self._damage.inc()
        log.warning("inode %d: it could not be mirrored: %s", ino, exc)

    # ---------------------------------------------------------------- the steps of both

    def _file(self, ino: int) -> Inode | Outcome:
        """The file, or why there is nothing to be migrated now.

        A change that began before the migration does not invalidate it, and leaves no trace if it
        fails: under the lock there is none. A dirty file is synced first.
        """
        if (inode := self._index.inodes.find(ino)) is None or inode.nlink == 0:
            return "gone"  # the reclaimer may have removed its objects, and not its row yet
        self._syncer.sync(ino, leave=True)
        try:
            with self._locks.hold(ino, wait=False):
                inode = self._index.inodes.find(ino)
        except WouldBlock:
            return "changed"
        if inode is None or inode.nlink == 0:
            return "gone"
        if self._dirty.get(ino):
            return "changed"
        return inode if stat.S_ISREG(inode.mode) else "nothing"

    def _job(self, inode: Inode, believed: Inode, plan: Plan) -> _Job:
        """What ``plan`` says of the file, which holds what ``believed`` says."""
        if not plan.extent.length:
            return _Job(inode, plan, None)
        make = self._tiers.up if plan.way == "up" else self._tiers.down
        known = self._index.checksums.find(inode.ino, inode.version)
        return _Job(inode, plan, make(believed, plan.extent), known=known)

    def _note(self, jobs: list[_Job]) -> None:
        """Note what would be left over, so that a crash leaks nothing."""
        spreading = [job for job in jobs if job.plan.spreads]
        if spreading:
            with self._index.transaction():
                for job in spreading:
                    job.noted = self._index.pending_truncations.add(job.inode.ino)

    def _copy(self, job: _Job, paced: Paced) -> None:
        """Copy what is to be copied; raises ``_GivenUp`` when the file changes meanwhile."""
        copy = job.copy
        if copy is None:
            return
        summer = None if copy.extent.offset else Summer()
        for chunk in copy.chunks():
            data = memoryview(b"")
            for part in copy.parts(chunk):
                paced(part.length)
                data = data or memoryview(copy.load(chunk))
                with self._locked_if_unchanged(job):
                    copy.put(part.offset, data[part.offset - chunk.offset :][: part.length])
                job.copied += part.length
                self._tiers.moved(copy, part.length)
            if summer is not None and chunk.offset - summer.end > MOST_ZEROS:
                summer = None
            if summer is not None:
                summer.add(chunk.offset, data)
        with self._locked_if_unchanged(job):
            copy.finish()
        if summer is not None and copy.extent.end - summer.end <= MOST_ZEROS:
            summer.skip_to(copy.extent.end)
            job.checksum = summer.digest()
            _compare(job)

    @contextmanager
    def _locked_if_unchanged(self, job: _Job) -> Iterator[None]:
        """Hold the file's lock, if nobody has it and nobody changed the file."""
        with ExitStack() as held:
            try:
                held.enter_context(self._locks.hold(job.inode.ino, wait=False))
            except WouldBlock:
                raise _GivenUp("changed") from None
            if outcome := self._change(job):
                raise _GivenUp(outcome)
            yield

    def _change(self, job: _Job) -> Outcome | None:
        """What happened to the file since the migration began, if anything."""
        row = self._index.inodes.find(job.inode.ino)
        if row is None or row.nlink == 0:
            return "gone"
        invalid = self._migrations.is_invalid(job.inode.ino)
        return "changed" if invalid or row.version != job.inode.version else None

    def _commit(self, jobs: list[_Job]) -> None:
        """Under the locks of all; where it must be durable, it is, or has not happened."""
        now = self._clock()
        with self._index.transaction():
            for job in jobs:
                self._store(job.inode.ino, job.plan.prefix, job.plan.mirrored)
                if job.checksum is not None and job.known is None:
                    self._index.checksums.put(_checksum(job, now))
                else:
                    self._index.checksums.carry(job.inode.ino, job.inode.version)
                self._index.header_facts.carry(job.inode.ino, job.inode.version)
                if job.plan.frees:
                    self._index.pending_truncations.add(job.inode.ino)
                elif job.noted:
                    self._index.pending_truncations.delete(job.inode.ino)
        self._step("committed")
        if any(job.must_be_durable for job in jobs):
            try:
                self._index.sync()
            except FsError:
                # No byte was changed or freed since the commit: all objects are as right as before.
                with self._index.transaction():
                    for job in jobs:
                        self._store(job.inode.ino, job.inode.prefix, job.inode.mirrored)
                        self._index.checksums.carry(job.inode.ino, job.inode.version + 1)
                        self._index.header_facts.carry(job.inode.ino, job.inode.version + 1)
                        self._index.pending_truncations.add(job.inode.ino)
                raise

    def _store(self, ino: int, prefix: int, mirrored: int) -> None:
        row = self._index.inodes.get(ino)
        self._index.inodes.change(row, prefix=prefix, mirrored=mirrored, version=row.version + 1)

    @contextmanager
    def _undo_unfinished(self, jobs: list[_Job]) -> Iterator[set[int]]:
        """A block that fills a set with the inodes that it finished; of others the copy goes."""
        finished: set[int] = set()
        try:
            yield finished
        finally:
            for job in jobs:
                if job.inode.ino not in finished and (job.plan.spreads or job.plan.frees):
                    self._reclaimer.add_truncation(job.inode.ino)

    def _excuse(self, job: _Job, exc: FsError | OSError) -> Outcome:
        """Why a call failed; raises it again when it was neither a change nor a lack of room."""
        if isinstance(exc, IndexFailed):
            raise exc
        if outcome := self._change(job):
            return outcome
        if isinstance(exc, OSError) and exc.errno in NO_ROOM:
            return "no-room"
        raise exc

    def _step(self, name: str) -> None:
        """Tell a test how far the migration is."""
        self._tiers.step(f"move.{name}")
