"""The scrub: verify all files, one after the other, repeatedly.

A pass goes through the index in the order of the inode numbers, about that of the objects on disk,
and has every file verified (`tierfs.fs.verification`). Its position is stored in the index, so it
continues after a remount. It works within the limits of the mover: its rates, its windows, and not
while that is suspended; and it rests as long as it works. So that no program waits for it, a pass
may take weeks. A new one begins by itself an interval after the last one began.

A file that somebody changes is verified at the end of the pass, once it was left alone for long
enough to leave the dirty set.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tierfs.common.errors import UsageError
from tierfs.common.metrics import Metrics
from tierfs.common.times import Clock, system_clock
from tierfs.common.units import MIB, SECOND
from tierfs.fs.migration_plan import MigrationStopped
from tierfs.fs.verification import Outcome, Verified
from tierfs.metadata.checksums import ScrubProgress, ScrubState
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode
from tierfs.tiering.ports import CatalogReader, ScanCursor

log = logging.getLogger(__name__)

BATCH_FILES: Final = 128
BATCH_BYTES: Final = 32 * MIB
"""Of files that are verified with one commit; they are not moved meanwhile."""

STORE_EVERY_S: Final = 5.0
"""So much of a pass is done again after a kill."""

LOOK_S: Final = 1.0
"""How often it looks whether it may work, or has to begin."""

LONGEST_REST_S: Final = 1.0

LEFT_ALONE_S: Final = 40.0
"""After which a file that is not changed any more has left the dirty set: a checkpoint and more."""

MOST_CHANGED: Final = 65_536
"""Files to be looked at again, at most; those beyond count as skipped."""

SHOWN: Final = 20
"""Files with lost bytes that a status names."""

UNVERIFIED: Final[frozenset[Outcome]] = frozenset(
    {"changed", "unreadable", "failed", "differs", "sparse"}
)
"""Outcomes after which a file counts as skipped."""


class Verifier(Protocol):
    """`tierfs.fs.verification.Verifier`."""

    def verify(self, inos: Sequence[int], *, paced: Callable[[int], None]) -> list[Verified]:
        """Verify several files."""


class Limits(Protocol):
    """What the scrub needs of `tierfs.tiering.mover.Mover`."""

    def delay(self, nbytes: int, operations: int = 0) -> float:
        """Seconds to wait before so much is done."""

    def in_window(self) -> bool:
        """Whether work that can wait may be done now."""

    def is_suspended(self) -> bool:
        """Whether nothing is moved for a while."""


@dataclass(frozen=True, slots=True)
class ScrubPorts:
    """What the scrub needs of the filesystem and of the mover."""

    verifier: Verifier
    index: Index
    catalog: CatalogReader
    limits: Limits
    clock: Clock = system_clock
    monotonic: Callable[[], float] = time.monotonic
    path: Callable[[Inode], str] = lambda inode: f"inode {inode.ino}"


class Scrub:
    """Passes over all files of one mount; `run` in a thread of its own, all else in any.

    Raises from every method:
        FsError: the index failed.
    """

    def __init__(self, ports: ScrubPorts, interval: int | None, metrics: Metrics) -> None:
        """``interval``: nanoseconds from one pass to the next; None: only when a user asks."""
        self._ports = ports
        self._interval = interval
        self._metrics = metrics
        self._mutex = threading.Lock()
        self._wake = threading.Condition(self._mutex)
        self._stopped = False
        self._working = threading.Lock()
        """Held while `run` runs."""
        self._cursor = ScanCursor(ports.catalog, on_flash=False)
        self._changed: dict[int, None] = {}
        """Files to be looked at again in this pass."""
        self._again_at: float | None = None
        self._progress = ports.index.checksums.progress()
        self._stored = ports.monotonic()
        self._worked = ports.monotonic()
        self._outcomes: Counter[str] = Counter()

    # ---------------------------------------------------------------- what people ask for

    def start(self) -> dict[str, Any]:
        """Begin a pass, or continue the one that is paused; returns the status.

        Raises:
            UsageError: nothing may be written to the volume.
        """
        if self._ports.index.read_only:
            raise UsageError("the mount is read-only: checksums and healed bytes cannot be written")
        with self._wake:
            if self._progress.state == ScrubState.IDLE:
                self._begin()
            else:
                self._store(self._progress._replace(state=ScrubState.RUNNING))
            self._wake.notify_all()
        return self.status()

    def pause(self) -> dict[str, Any]:
        """Let a pass rest until `start`, also over remounts; returns the status."""
        with self._wake:
            if self._progress.state == ScrubState.RUNNING:
                self._store(self._progress._replace(state=ScrubState.PAUSED))
            self._wake.notify_all()
        return self.status()

    def status(self) -> dict[str, Any]:
        """A record for JSON: times in seconds since the epoch, or None; sizes in bytes."""
        progress, index = self._progress, self._ports.index
        lost = index.checksums.lost(SHOWN)
        return {
            "state": ScrubState(progress.state).name.lower(),
            "done": self._done(progress),
            "began": _seconds(progress.began if progress.state else 0),
            "verified_since": _seconds(progress.completed),
            "next": _seconds(self._due(progress)),
            "files": progress.files,
            "bytes": progress.bytes,
            "healed": progress.healed,
            "lost": progress.lost,
            "skipped": progress.skipped,
            "outcomes": dict(self._outcomes),
            "lost_files": index.checksums.lost_count(),
            "lost_paths": [
                self._ports.path(row)
                for one in lost
                if (row := index.inodes.find(one.ino)) is not None
            ],
        }

    # ---------------------------------------------------------------- the thread

    def run(self) -> None:
        """Verify files until `close`, whenever a pass is under way."""
        with self._working:
            while not self._stopped:
                self._begin_if_due()
                limits, running = self._ports.limits, self._progress.state == ScrubState.RUNNING
                may_work = running and limits.in_window() and not limits.is_suspended()
                if not (may_work and self._step()):
                    self._export()
                    with self._wake:
                        if not self._stopped:
                            self._wake.wait(LOOK_S)

    def close(self) -> None:
        """End `run`, within about the time of one read, and store how far it is."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        with self._working:
            if not self._ports.index.read_only:
                with self._mutex:
                    self._store(self._progress)

    def _begin_if_due(self) -> None:
        if self._ports.index.read_only:
            return
        now = self._ports.clock()
        with self._mutex:
            if not self._progress.began:  # the first pass begins an interval from now
                self._store(self._progress._replace(began=now))
            due = self._due(self._progress)
            if self._progress.state == ScrubState.IDLE and due is not None and now >= due:
                self._begin()

    def _begin(self) -> None:
        """Under the mutex."""
        self._cursor.restart()
        self._changed.clear()
        self._again_at = None
        self._store(
            ScrubProgress(
                state=ScrubState.RUNNING,
                began=self._ports.clock(),
                completed=self._progress.completed,
            )
        )

    def _due(self, progress: ScrubProgress) -> int | None:
        if self._interval is None or progress.state:
            return None
        return progress.began + self._interval

    def _step(self) -> bool:
        """Verify some more files; False: there is nothing to do just now."""
        progress = self._progress
        try:
            if self._again_at is None:
                self._cursor.after = progress.position
                self._verify_all(self._cursor.rows(), progress.began)
                self._advance(self._cursor.after, progress.began)
                return True
            if self._changed and self._ports.monotonic() < self._again_at:
                return False
            self._look_again(progress.began)
        except MigrationStopped:  # it is paused, or the mount ends
            return False
        return True

    def _verify_all(self, rows: Sequence[Inode], began: int) -> None:
        batch: list[int] = []
        size = 0
        for row in rows:
            if batch and (len(batch) == BATCH_FILES or size + row.size > BATCH_BYTES):
                self._verify(batch, began)
                self._advance(batch[-1], began)
                batch, size = [], 0
            batch.append(row.ino)
            size += row.size
        if batch:
            self._verify(batch, began)

    def _verify(self, inos: Sequence[int], began: int) -> None:
        self._wait(self._ports.limits.delay(0, len(inos)))
        found = self._ports.verifier.verify(inos, paced=self._paced)
        counts = Counter(each.outcome for each in found)
        for each in found:
            if each.outcome == "changed" and len(self._changed) < MOST_CHANGED:
                self._changed[each.ino] = None
        with self._mutex:
            progress = self._progress
            if progress.began != began:
                return
            self._outcomes += counts
            self._metrics.verified_bytes.inc(sum(each.read for each in found))
            self._progress = progress._replace(
                files=progress.files + counts["right"] + counts["healed"],
                bytes=progress.bytes + sum(each.read for each in found),
                healed=progress.healed + counts["healed"],
                lost=progress.lost + counts["lost"],
                skipped=progress.skipped + sum(counts[outcome] for outcome in UNVERIFIED),
            )

    def _advance(self, after: int, began: int) -> None:
        """All files up to ``after`` were looked at; 0: all there are."""
        now = self._ports.monotonic()
        with self._mutex:
            if self._progress.began != began:
                return
            if after == 0:
                after = self._progress.position
                self._again_at = now + LEFT_ALONE_S
            self._progress = self._progress._replace(position=after)
            if now - self._stored < STORE_EVERY_S:
                return
            self._store(self._progress)
        self._export()

    def _look_again(self, began: int) -> None:
        """The end of a pass: verify files again that were changed during it."""
        changed, self._changed = sorted(self._changed), {}
        with self._mutex:
            self._progress = self._progress._replace(
                skipped=max(0, self._progress.skipped - len(changed))
            )
        for start in range(0, len(changed), BATCH_FILES):
            self._verify(changed[start : start + BATCH_FILES], began)
        with self._mutex:
            progress = self._progress
            if progress.began != began:
                return
            self._changed.clear()
            self._again_at = None
            self._store(
                progress._replace(state=ScrubState.IDLE, position=0, completed=progress.began)
            )
        log.info(
            "scrub: %d files verified, %d copies healed, %d files with lost bytes, %d skipped",
            progress.files,
            progress.healed,
            progress.lost,
            progress.skipped,
        )

    def _paced(self, nbytes: int) -> None:
        """Rest as long as the last read took, and keep to the rate."""
        now = self._ports.monotonic()
        self._wait(max(self._ports.limits.delay(nbytes), min(now - self._worked, LONGEST_REST_S)))
        self._worked = self._ports.monotonic()

    def _wait(self, seconds: float) -> None:
        end = self._ports.monotonic() + seconds
        with self._wake:
            while not self._stopped and self._progress.state == ScrubState.RUNNING:
                left = end - self._ports.monotonic()
                if left <= 0:
                    return
                self._wake.wait(left)
        raise MigrationStopped

    def _store(self, progress: ScrubProgress) -> None:
        """Under the mutex."""
        index = self._ports.index
        with index.transaction():
            index.checksums.set_progress(progress)
        self._progress = progress
        self._stored = self._ports.monotonic()

    def _done(self, progress: ScrubProgress) -> float:
        """How much of the present pass is done, 0 to 1, by inode numbers."""
        if not progress.state:
            return 0.0
        return min(1.0, progress.position / max(1, self._ports.catalog.last_inode()))

    def _export(self) -> None:
        """Bring the gauges up to date."""
        self._metrics.lost_files.set(self._ports.index.checksums.lost_count())
        self._metrics.scrub_progress.set(self._done(self._progress))
        since = _seconds(self._progress.completed) or 0
        self._metrics.verified_since_timestamp_seconds.set(since)


def _seconds(nanoseconds: int | None) -> float | None:
    return nanoseconds / SECOND if nanoseconds else None
