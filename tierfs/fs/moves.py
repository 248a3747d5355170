"""Moves of a file's bytes between the tiers: promotion, demotion, mirroring.

Every move copies, syncs, commits, and only then frees the source, so that a crash at any point
leaves the file whole. The steps have labels, ``move.copied`` and so on, at which tests kill:

* before: a dirty file is synced, so that no byte is copied that a device refused.
* then: a row in ``cut``, if the copy makes an object longer than the index says it must be.
* ``copied``: read without a lock; each chunk is written under the inode's lock, if nobody has
  changed the file since the move began. So no byte arrives late in an object that is used again.
* ``synced``: the copy survives a power cut; of a new mirror the bytes on flash do as well.
* ``committed``: P, the mirror's mark and a new data version, in one transaction. Where something
  is freed, or a mirror ends, the index is synced before anybody may write to the file.
* ``freed``: the source is gone, and the row in ``cut``.

A write to the file goes first: its migration is given up, and what it copied is trimmed
by the reclaimer. Readers notice a move by the data version (``data.py``, ``fastpath/src/reads.c``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from tierfs.common.errors import FsError, IndexFailed
from tierfs.fs.dirty import DirtySet
from tierfs.fs.locks import InodeLocks
from tierfs.fs.move_plan import plan_mirror, plan_place
from tierfs.fs.move_steps import GivenUp, Job, Outcome, Paced, Steps
from tierfs.fs.placement import Placement
from tierfs.fs.reclaimer import Reclaimer
from tierfs.fs.tiers import Tiers, lengths_of
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode

__all__ = ["MoveStopped", "Moved", "Moves", "Outcome", "Paced"]

log = logging.getLogger(__name__)


class MoveStopped(Exception):
    """Whoever paces the copying wants it abandoned; nothing has changed then."""


class Moved(NamedTuple):
    """What became of one file; ``copied`` between the tiers and ``freed`` on flash in bytes."""

    ino: int
    outcome: Outcome
    copied: int = 0
    freed: int = 0


class Moves:
    """Promotion, demotion and mirroring by inode number. Thread-safe.

    Files that are open, hard-linked or renamed move as others do; times stay as they are.
    """

    def __init__(
        self,
        index: Index,
        tiers: Tiers,
        placement: Placement,
        dirty: DirtySet,
        locks: InodeLocks,
        reclaimer: Reclaimer,
    ) -> None:
        self._tiers = tiers
        self._placement = placement
        self._steps = Steps(index, tiers, dirty, locks, reclaimer)

    def place(self, ino: int, prefix: int, *, keep_mirror: bool, paced: Paced) -> Moved:
        """Promote or demote so that ``prefix`` is the file's P (0, bytes, ``WHOLE_FILE``).

        With ``keep_mirror`` a disk object that is the whole file afterwards is kept as its mirror.

        Raises:
            MoveStopped: by ``paced``.
            FsError, OSError: the move failed. The file is as it was, as in the other cases.
        """
        with self._steps.migrating([ino]) as begun:
            if not begun:
                return Moved(ino, "changed")
            inode = self._steps.file(ino)
            if not isinstance(inode, Inode):
                return Moved(ino, inode)
            if prefix == inode.prefix:
                return Moved(ino, "nothing")
            return self._place(inode, prefix, keep_mirror=keep_mirror, paced=paced)

    def mirror(self, inos: Sequence[int], *, paced: Paced) -> list[Moved]:
        """Copy the heads of several files to disk; one sync and one commit for all.

        Give them in the order of their numbers, which is about disk order, some hundred at most:
        while they are committed every other change waits.

        Raises:
            MoveStopped: by ``paced``.
            FsError, OSError: a step for all of them failed. The files are as they were.
        """
        done: dict[int, Moved] = {ino: Moved(ino, "changed") for ino in inos}
        with self._steps.migrating(done) as begun:
            self._steps.settle(begun)
            jobs = [job for ino in begun if (job := self._mirror_job(ino, done))]
            with self._steps.undone(jobs) as finished:
                self._mirror(jobs, done, paced)
                finished += [job for job in jobs if done[job.inode.ino].outcome == "moved"]
        return list(done.values())

    # ---------------------------------------------------------------- one file

    def _place(self, inode: Inode, prefix: int, *, keep_mirror: bool, paced: Paced) -> Moved:
        believed = self._believed(inode, prefix)
        job = self._steps.job(
            inode, believed, plan_place(believed, prefix, keep_mirror=keep_mirror)
        )
        if (
            job.copy
            and job.plan.way == "up"
            and not self._placement.has_room(
                job.plan.extent.length, files=int(not lengths_of(inode).flash)
            )
        ):
            return Moved(inode.ino, "no-room")
        with self._steps.undone([job]) as finished:
            try:
                self._transfer(job, paced)
            except GivenUp as exc:
                return Moved(inode.ino, exc.outcome, job.copied)
            except (FsError, OSError) as exc:
                return Moved(inode.ino, self._steps.excuse(job, exc), job.copied)
            finished.append(job)
        return Moved(inode.ino, "moved", job.copied, job.freed)

    def _transfer(self, job: Job, paced: Paced) -> None:
        self._steps.note([job])
        self._steps.copy(job, paced)
        self._steps.step("copied")
        self._steps.sync(job)
        self._steps.step("synced")
        with self._steps.unchanged(job):
            self._steps.commit([job])
            if job.must_be_durable:
                self._steps.free(job)

    def _believed(self, inode: Inode, prefix: int) -> Inode:
        """The file, without its mirror if that were needed and is not there."""
        if prefix > inode.prefix or not inode.mirrored or self._tiers.mirror_is_whole(inode):
            return inode
        return inode._replace(mirrored=0)

    # ---------------------------------------------------------------- several files

    def _mirror_job(self, ino: int, done: dict[int, Moved]) -> Job | None:
        try:
            inode = self._steps.file(ino)
        except IndexFailed:
            raise
        except (FsError, OSError) as exc:
            log.warning("inode %d: it could not be mirrored: %s", ino, exc)
            inode = "failed"
        if not isinstance(inode, Inode):
            done[ino] = Moved(ino, inode)
            return None
        plan = plan_mirror(inode)
        done[ino] = Moved(ino, "nothing" if plan is None else "failed")
        return None if plan is None else self._steps.job(inode, inode, plan)

    def _mirror(self, jobs: list[Job], done: dict[int, Moved], paced: Paced) -> None:
        self._steps.note(jobs)
        with self._tiers.flash.watched() as flush_flash, self._tiers.disk.watched() as flush_disk:
            copied = [job for job in jobs if self._try_copy(job, done, paced)]
            if not copied:
                return
            self._steps.step("copied")
            flush_flash()
            flush_disk()
        self._steps.step("synced")
        with ExitStack() as held:
            kept = [job for job in copied if self._try_hold(job, done, held)]
            self._steps.commit(kept)
        for job in kept:
            done[job.inode.ino] = Moved(job.inode.ino, "moved", job.copied)

    def _try_copy(self, job: Job, done: dict[int, Moved], paced: Paced) -> bool:
        """Copy one of several files; what is wrong with it alone is noted."""
        ino = job.inode.ino
        try:
            self._steps.copy(job, paced)
        except GivenUp as exc:
            done[ino] = Moved(ino, exc.outcome, job.copied)
            return False
        except (FsError, OSError) as exc:
            done[ino] = Moved(ino, self._excuse_of_many(job, exc), job.copied)
            return False
        return True

    def _try_hold(self, job: Job, done: dict[int, Moved], held: ExitStack) -> bool:
        try:
            held.enter_context(self._steps.unchanged(job))
        except GivenUp as exc:
            done[job.inode.ino] = Moved(job.inode.ino, exc.outcome, job.copied)
            return False
        return True

    def _excuse_of_many(self, job: Job, exc: FsError | OSError) -> Outcome:
        try:
            return self._steps.excuse(job, exc)
        except (FsError, OSError):
            log.warning("inode %d: it could not be mirrored: %s", job.inode.ino, exc)
            return "failed"
