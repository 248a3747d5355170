"""The steps that every move is made of, and what guards them."""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from tierfs.common.errors import FsError, IndexFailed
from tierfs.fs.copies import Copy
from tierfs.fs.dirty import DirtySet
from tierfs.fs.locks import InodeLocks, WouldBlock
from tierfs.fs.move_plan import Plan
from tierfs.fs.reclaimer import Reclaimer
from tierfs.fs.tiers import NO_ROOM, Tiers
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode

log = logging.getLogger(__name__)

SYNCED_ONE_BY_ONE = 4
"""Dirty files of a batch; more are cheaper to sync with the whole filesystem."""

Outcome = Literal["moved", "changed", "gone", "no-room", "nothing", "failed"]
"""``changed``: given up, somebody wrote to the file or moves it; ``gone``: it has no name any more;
``no-room``: the target is full; ``nothing``: it is as asked for, or no file; ``failed``: one of
several failed, and the log says why."""

Paced = Callable[[int], None]
"""Called before so many bytes are copied: may sleep, and raises ``MoveStopped`` to abandon."""


class GivenUp(Exception):
    """The file cannot be moved now."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


@dataclass(slots=True)
class Job:
    """One file on its way."""

    inode: Inode
    """As it was when the migration began."""
    plan: Plan
    copy: Copy | None
    noted: bool = False
    """Whether this move made the row in ``cut``."""
    copied: int = 0
    freed: int = 0
    """Bytes of flash that are free by now."""

    @property
    def must_be_durable(self) -> bool:
        """Whether the commit must survive a power cut before the file changes again."""
        return self.plan.frees or self.inode.mirrored > self.plan.mirrored


class Steps:
    """By job. Thread-safe.

    Raises from every method:
        FsError, OSError: a call on the index or a backing directory failed.
    """

    def __init__(
        self,
        index: Index,
        tiers: Tiers,
        dirty: DirtySet,
        locks: InodeLocks,
        reclaimer: Reclaimer,
    ) -> None:
        self._index = index
        self._tiers = tiers
        self._dirty = dirty
        self._locks = locks
        self._migrations = locks.migrations
        self._reclaimer = reclaimer

    def note(self, jobs: list[Job]) -> None:
        """Note what would be left over, so that a crash leaks nothing."""
        spreading = [job for job in jobs if job.plan.spreads]
        if spreading:
            with self._index.transaction():
                for job in spreading:
                    job.noted = self._index.pending_truncations.add(job.inode.ino)

    def copy(self, job: Job, paced: Paced) -> None:
        """Copy what is to be copied; raises ``GivenUp`` when the file changes meanwhile."""
        copy = job.copy
        if copy is None:
            return
        for chunk in copy.chunks():
            data = memoryview(b"")
            for part in copy.parts(chunk):
                paced(part.length)
                data = data or memoryview(copy.load(chunk))
                with self.unchanged(job):
                    copy.put(part.offset, data[part.offset - chunk.offset :][: part.length])
                job.copied += part.length
                self._tiers.moved(copy, part.length)
        with self.unchanged(job):
            copy.finish()

    def sync(self, job: Job) -> None:
        """Make the copy survive a power cut; of a new mirror the bytes on flash, too."""
        if job.plan.mirrored > job.inode.mirrored:
            self._tiers.flash.sync(job.inode.ino)
            self._tiers.disk.sync(job.inode.ino)
        elif job.copy is not None:
            job.copy.target.sync(job.inode.ino)

    def commit(self, jobs: list[Job]) -> None:
        """Under the locks of all; where it must be durable, it is, or has not happened."""
        with self._index.transaction():
            for job in jobs:
                self._store(job.inode.ino, job.plan.prefix, job.plan.mirrored)
                if job.plan.frees:
                    self._index.pending_truncations.add(job.inode.ino)
                elif job.noted:
                    self._index.pending_truncations.delete(job.inode.ino)
        self.step("committed")
        if any(job.must_be_durable for job in jobs):
            try:
                self._index.sync()
            except FsError:
                self._take_back(jobs)
                raise

    def _take_back(self, jobs: list[Job]) -> None:
        """No byte was changed or freed since the commit: as before it, every object is right."""
        with self._index.transaction():
            for job in jobs:
                self._store(job.inode.ino, job.inode.prefix, job.inode.mirrored)
                self._index.pending_truncations.add(job.inode.ino)

    def _store(self, ino: int, prefix: int, mirrored: int) -> None:
        row = self._index.inodes.get(ino)
        self._index.inodes.update(
            row._replace(prefix=prefix, mirrored=mirrored, version=row.version + 1)
        )

    def free(self, job: Job) -> None:
        """Under the lock; the move is done, and what fails here is left to the reclaimer."""
        ino = job.inode.ino
        try:
            self._tiers.trim(self._index.inodes.get(ino))
            job.freed = job.plan.freed
            with self._index.transaction():
                self._index.pending_truncations.delete(ino)
        except (FsError, OSError) as exc:
            log.warning("inode %d: its source was not freed (%s); it is tried again", ino, exc)
            self._reclaimer.add_cut(ino)
        self.step("freed")

    def step(self, name: str) -> None:
        """Tell a test how far the move is."""
        self._tiers.step(f"move.{name}")

    @contextmanager
    def migrating(self, inos: Iterable[int]) -> Iterator[list[int]]:
        """The inodes whose migration begins; nobody else moves them until the block ends."""
        begun = [ino for ino in inos if self._migrations.begin(ino)]
        try:
            yield begun
        finally:
            for ino in begun:
                self._migrations.end(ino)

    @contextmanager
    def undone(self, jobs: list[Job]) -> Iterator[list[Job]]:
        """A block that fills a list with the jobs that it finished; of the others the copy goes."""
        finished: list[Job] = []
        try:
            yield finished
        finally:
            for job in jobs:
                if job not in finished and (job.plan.spreads or job.plan.frees):
                    self._reclaimer.add_cut(job.inode.ino)

    @contextmanager
    def unchanged(self, job: Job) -> Iterator[None]:
        """Hold the file's lock, if nobody has it and nobody changed the file."""
        with ExitStack() as held:
            try:
                held.enter_context(self._locks.hold(job.inode.ino, wait=False))
            except WouldBlock:
                raise GivenUp("changed") from None
            if outcome := self.change(job):
                raise GivenUp(outcome)
            yield

    def change(self, job: Job) -> Outcome | None:
        """What happened to the file since the migration began, if anything."""
        row = self._index.inodes.find(job.inode.ino)
        if row is None or row.nlink == 0:
            return "gone"
        invalid = self._migrations.is_invalid(job.inode.ino)
        return "changed" if invalid or row.version != job.inode.version else None

    def excuse(self, job: Job, exc: FsError | OSError) -> Outcome:
        """Why a call failed; raises it again when it was neither a change nor a lack of room."""
        if isinstance(exc, IndexFailed):
            raise exc
        if outcome := self.change(job):
            return outcome
        if isinstance(exc, OSError) and exc.errno in NO_ROOM:
            return "no-room"
        raise exc

    def settle(self, inos: list[int]) -> None:
        """Sync all dirty files at once where many of these are; what fails shows file by file."""
        if sum(self._dirty.get(ino) is not None for ino in inos) > SYNCED_ONE_BY_ONE:
            with suppress(OSError):
                self._dirty.checkpoint()

    def file(self, ino: int) -> Inode | Outcome:
        """The file, or why there is nothing to be moved now.

        A change that began before the migration does not invalidate it, and leaves no trace if it
        fails: under the lock there is none. A dirty file is synced first.
        """
        self._dirty.sync(ino, leave=True)
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

    def job(self, inode: Inode, believed: Inode, plan: Plan) -> Job:
        """What ``plan`` says of the file, which holds what ``believed`` says."""
        if not plan.extent.length:
            return Job(inode, plan, None)
        make = self._tiers.up if plan.way == "up" else self._tiers.down
        return Job(inode, plan, make(believed, plan.extent))
