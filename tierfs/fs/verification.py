"""Verify files: compare all their bytes with their checksums, and heal copies.

``checksums.py`` reads and compares; this module acts on the result. The steps have labels,
``heal.copied``
and so on, at which tests kill:

* right: the checksums are stored, where there were none, and when that was.
* one of two copies is wrong: the right one is written over it, chunk by chunk, where they differ
  (``copied``), synced (``synced``), and read again. A crash at any point leaves the right copy as
  it was, and the other is found again.
* no copy is right: the row says so, durably (``noted``), and the object moves to ``lost+found``
  (``aside``): from then on reading these bytes gives EIO, as of any object that is missing.
  Nothing is deleted. The error sticks until the file is truncated to 0 or replaced, or the right
  object is put back, which the next scrub notices.

A file is verified as it is migrated: without a lock, and what was found counts only if nobody has
changed the file since. Each chunk of a heal is written under the inode's lock. Files of the dirty
set have no checksum, and are left out.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final, Literal, NamedTuple

from tierfs.common.errors import FsError, IndexFailed
from tierfs.common.extents import Extent
from tierfs.common.metrics import Metrics
from tierfs.common.times import Clock
from tierfs.fs.checksums import Verdict, inspect
from tierfs.fs.dirty import DirtySet
from tierfs.fs.locks import WouldBlock
from tierfs.fs.migration_plan import Paced
from tierfs.fs.tiers import DISK, FLASH, Copy, Tiers, lengths_of
from tierfs.metadata.checksums import Checksum
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode

log = logging.getLogger(__name__)

ROUNDS: Final = 3
"""Times that a file is inspected: both of its copies may have to be healed."""

Outcome = Literal[
    "right", "healed", "lost", "differs", "unreadable", "failed", "sparse", "changed", "gone"
]
"""As ``State`` of ``checksums.py``. ``healed``: a copy was wrong, and is right now; ``failed``: it
could not be healed, and the log says why; ``changed``: somebody changes or migrates the file, or it
is in the dirty set; ``gone``: it has no name any more, is no file, or is an adopted one."""


COUNTED: Final = (
    *(("head", "healed"), ("head", "failed"), ("head", "lost")),
    *(("mirror", "healed"), ("mirror", "failed"), ("tail", "lost")),
)
"""Labels of the metric: they are there from the beginning, or a first increase would be missed."""


class Verified(NamedTuple):
    """What became of one file; ``read`` in bytes, of all copies."""

    ino: int
    outcome: Outcome
    read: int = 0


class _Changed(Exception):
    """The file changed while it was verified."""


class _Seen(NamedTuple):
    """A file and what was found of it."""

    inode: Inode
    verdict: Verdict
    outcome: Outcome
    read: int


class Verifier:
    """Verifies by inode number, and heals. Thread-safe."""

    def __init__(
        self, index: Index, tiers: Tiers, dirty: DirtySet, clock: Clock, metrics: Metrics
    ) -> None:
        self._index = index
        self._tiers = tiers
        self._dirty = dirty
        self._locks = dirty.locks
        self._migrations = dirty.locks.migrations
        self._clock = clock
        self._wrong = metrics.wrong_copies
        for copy, outcome in COUNTED:
            self._wrong.labels(copy, outcome)
        self.drop_pages: Callable[[int], object] = lambda _: None
        """Has the kernel forget the bytes that it has of a file; waits for reads and writes."""

    def verify(self, inos: Sequence[int], *, paced: Paced) -> list[Verified]:
        """Verify several files; one commit for all.

        Give them in the order of their numbers, which is about disk order, some hundred at most.

        Raises:
            MigrationStopped: by ``paced``. What was healed by then stays healed.
            FsError, OSError: the index could not be read, written or synced.
        """
        done: dict[int, Verified] = {ino: Verified(ino, "changed") for ino in inos}
        with self._migrations.of(done) as begun:
            right = []
            for ino in begun:
                try:
                    seen = self._verify(ino, paced)
                except _Changed:
                    continue
                if seen is None:
                    done[ino] = Verified(ino, "gone")
                    continue
                done[ino] = Verified(ino, seen.outcome, seen.read)
                if seen.verdict.state == "right":
                    right.append(seen)
            for ino in self._store(right):
                done[ino] = done[ino]._replace(outcome="changed")
        return list(done.values())

    def _verify(self, ino: int, paced: Paced) -> _Seen | None:
        """One file; None: there is none.

        Raises:
            _Changed: somebody changes it.
        """
        try:
            with self._locks.hold(ino, wait=False):
                inode = self._index.inodes.find(ino)
        except WouldBlock:
            raise _Changed from None
        if inode is None or inode.nlink == 0 or not stat.S_ISREG(inode.mode):
            return None
        if inode.adopted:  # others change it, and each read looks whether they did
            return None
        if self._dirty.get(ino) is not None:
            raise _Changed
        known = self._index.checksums.find(ino, inode.version)
        verdict = self._inspect(inode, known, paced)
        read, healed = verdict.read, False
        for _ in range(ROUNDS):
            if verdict.state not in {"bad-head", "bad-mirror"}:
                break
            try:
                self._heal(inode, verdict, paced)
            except (FsError, OSError) as exc:
                self._wrong.labels(verdict.state.removeprefix("bad-"), "failed").inc()
                log.error("%s: %s; not healed: %s", self._path(inode), verdict.what, exc)  # noqa: TRY400 - for people
                return _Seen(inode, verdict, "failed", read)
            healed = True
            verdict = self._inspect(inode, known, paced)
            read += verdict.read
        return _Seen(inode, verdict, self._judged(inode, known, verdict, healed=healed), read)

    def _inspect(self, inode: Inode, known: Checksum | None, paced: Paced) -> Verdict:
        """What is wrong with a file that did not change meanwhile."""
        verdict = inspect(self._tiers.stores, inode, known, paced)
        if verdict.state == "lost":  # not for what a cable or the memory did once
            verdict = inspect(self._tiers.stores, inode, known, paced)
        with self._unchanged(inode):
            return verdict

    def _judged(
        self, inode: Inode, known: Checksum | None, verdict: Verdict, *, healed: bool
    ) -> Outcome:
        """What a verdict comes to, once nothing more can be healed."""
        state = verdict.state
        if state == "right":
            return "healed" if healed else "right"
        if state in {"bad-head", "bad-mirror"}:
            self._wrong.labels(state.removeprefix("bad-"), "failed").inc()
            log.error("%s: %s, even after it was healed", self._path(inode), verdict.what)
            return "failed"
        if state == "sparse":
            return "sparse"
        if known is not None and (state == "lost" or known.lost):
            self._give_up(inode, known, verdict)
            return "lost"
        log.error("%s: %s", self._path(inode), verdict.what)
        return "differs" if state == "differs" else "unreadable"

    # ---------------------------------------------------------------- healing

    def _heal(self, inode: Inode, verdict: Verdict, paced: Paced) -> None:
        """Write the right copy of the head over the wrong one."""
        extent = Extent(0, lengths_of(inode).flash)
        to_flash = verdict.state == "bad-head"
        copy = self._tiers.up(inode, extent) if to_flash else self._tiers.down(inode, extent)
        if self._length(copy) < copy.holds:
            copy = copy._replace(holds=0)  # it is missing or too short, and made again
        for chunk in copy.chunks():
            paced(chunk.length)
            right = copy.load(chunk)
            if self._have(copy, chunk) == right:
                continue
            with self._unchanged(inode):
                copy.put(chunk.offset, right)
        with self._unchanged(inode):
            copy.finish()
        self._tiers.step("heal.copied")
        copy.target.sync(inode.ino)
        self._tiers.step("heal.synced")
        self._wrong.labels("head" if to_flash else "mirror", "healed").inc()
        where = f"{copy.target.name} object"
        log.warning("%s: %s: its %s was healed", self._path(inode), verdict.what, where)
        self.drop_pages(inode.ino)

    def _length(self, copy: Copy) -> int:
        return copy.target.length(copy.inode.ino) or 0

    def _have(self, copy: Copy, chunk: Extent) -> bytes | None:
        """The bytes of the target; None: they cannot be read."""
        try:
            return copy.target.read(copy.inode.ino, *chunk)
        except OSError:
            return None

    def _give_up(self, inode: Inode, known: Checksum, verdict: Verdict) -> None:
        """No copy of some bytes is right: let reading them give EIO."""
        ino, places = inode.ino, []
        with self._unchanged(inode):
            row = self._index.inodes.get(ino)._replace(mirrored=0)
            # Without its mirror a small file has nothing on disk that could be read.
            objects = set(verdict.lost) | (set() if lengths_of(row).disk else {DISK})
            if known.lost and all(self._tiers.stores[at].length(ino) is None for at in objects):
                return
            with self._index.transaction():
                if inode.mirrored:
                    # Or a read of the head would be answered by its mirror, which is wrong as well.
                    row = row._replace(version=row.version + 1)
                    self._index.inodes.update(row)
                lost = known.lost or self._clock()
                self._index.checksums.put(known._replace(version=row.version, lost=lost))
            self._index.sync()
            self._tiers.step("heal.noted")
            for at in sorted(objects):
                with suppress(FileNotFoundError):
                    places.append(str(self._tiers.stores[at].set_aside(ino)))
            self._tiers.step("heal.aside")
        self._wrong.labels("head" if FLASH in verdict.lost else "tail", "lost").inc()
        log.error(
            "%s: %s, and no copy has them right: reading them gives EIO from now on; "
            "the object is now %s",
            self._path(inode),
            verdict.what,
            " and ".join(places),
        )
        self.drop_pages(ino)

    # ---------------------------------------------------------------- the index

    def _store(self, seen: list[_Seen]) -> list[int]:
        """Store what was found to be right; returns the files that have changed since."""
        changed, kept, now = [], [], self._clock()
        with ExitStack() as held:
            for inode, verdict, _, _ in seen:
                try:
                    held.enter_context(self._unchanged(inode))
                except _Changed:
                    changed.append(inode.ino)
                else:
                    sums = verdict.length, verdict.head, verdict.whole
                    kept.append(Checksum(inode.ino, inode.version, *sums, now))
            if kept:
                with self._index.transaction():
                    for checksum in kept:
                        self._index.checksums.put(checksum)
        return changed

    @contextmanager
    def _unchanged(self, inode: Inode) -> Iterator[None]:
        """Hold the file's lock, if nobody has it and nobody changed the file.

        Raises:
            _Changed: somebody does, or did.
        """
        with ExitStack() as held:
            try:
                held.enter_context(self._locks.hold(inode.ino, wait=False))
            except WouldBlock:
                raise _Changed from None
            row = self._index.inodes.find(inode.ino)
            if (
                row is None
                or row.nlink == 0
                or row.version != inode.version
                or self._migrations.is_invalid(inode.ino)
                or self._dirty.get(inode.ino) is not None
            ):
                raise _Changed
            yield

    def _path(self, inode: Inode) -> str:
        try:
            return self._index.path_of(inode)
        except IndexFailed:
            return f"inode {inode.ino}"
