"""The threads that move files, one job after the other, no faster than the policy allows.

Jobs wait in a `JobQueue`. A `TokenBucket` says how fast, a `Suspension` when nothing is moved for a
while. What moves the bytes is `tierfs.fs.migration`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final

from tierfs.common.errors import FsError
from tierfs.common.times import Clock, system_clock
from tierfs.common.units import SECOND
from tierfs.fs.migration_plan import Migrated, MigrationStopped
from tierfs.policy.model import Mover as Limits
from tierfs.tiering.model import KINDS, URGENT, Done, Job, Kind, Step, brings
from tierfs.tiering.ports import Migrator

log = logging.getLogger(__name__)

MOST_JOBS: Final = 2048
"""Jobs of a kind; planners come again when there is room."""

MOST_BATCHES: Final = 8
"""Jobs of many files each."""

LOOK_AGAIN_S: Final = 1.0
"""How often a thread looks whether a window has opened or a suspension has ended."""

BURST_S: Final = 0.05
"""What may be taken at once after a rest, in seconds' worth."""

LATEST_MOVES: Final = 20
"""Moves that are looked at."""

LEAST_MOVES: Final = 5
"""Fewer than this many say nothing."""

SUSPENDED_S: Final = 30.0
LONGEST_SUSPENDED_S: Final = 1800.0
"""How long the mover stops at first, and at most."""


class Mover:
    """Does the jobs of its `queue`, the most urgent kind first.

    Its threads are started with the first job. Jobs that can wait are done inside of the
    policy's windows alone. Thread-safe.
    """

    def __init__(
        self,
        migrator: Migrator,
        limits: Limits,
        *,
        clock: Clock = system_clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._migrator = migrator
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._bytes = TokenBucket(limits.rate, monotonic)
        self._operations = TokenBucket(limits.operations, monotonic)
        self.suspension = Suspension(limits.suspend_on_errors)
        self.queue = JobQueue()
        self._condition = threading.Condition()
        self._stopped = threading.Event()
        self._threads: dict[int, threading.Thread] = {}
        self._moving = 0
        self._done: deque[Done] = deque()

    def apply(self, limits: Limits) -> None:
        """Work by other limits from now on, and drop the jobs that have not begun."""
        with self._condition:
            self._limits = limits
            self._bytes.set_rate(limits.rate)
            self._operations.set_rate(limits.operations)
            self.suspension.limit = limits.suspend_on_errors
            self.queue.clear()
            self._condition.notify_all()

    def add(self, job: Job) -> bool:
        """Queue a job; False: there is no room, or one of its files is in another job."""
        with self._condition:
            if self._stopped.is_set() or not self.queue.add(job):
                return False
            self._start_threads()
            self._condition.notify()
            return True

    def drain(self) -> list[Done]:
        """What became of the steps that ended since the last call."""
        with self._condition:
            done, self._done = list(self._done), deque()
            return done

    @property
    def moving(self) -> int:
        """Jobs under way."""
        return self._moving

    def in_window(self) -> bool:
        """Whether work that can wait may be done now."""
        local = datetime.fromtimestamp(self._clock() / SECOND).astimezone()
        return self._limits.may_work(local)

    def is_suspended(self) -> bool:
        """Whether too many recent moves failed."""
        return self.suspension.holds(self._monotonic())

    def delay(self, nbytes: int, operations: int = 0) -> float:
        """Let others have a part of the rates; returns the seconds that they are to wait before."""
        return max(self._bytes.take(nbytes), self._operations.take(operations))

    def stop(self) -> None:
        """Abandon what is under way and end the threads; a sync under way is waited for."""
        self._stopped.set()
        with self._condition:
            self.queue.clear()
            self._condition.notify_all()
            threads = list(self._threads.values())
        for thread in threads:
            thread.join()

    def _start_threads(self) -> None:
        for number in range(self._limits.concurrency):
            if number not in self._threads:
                thread = threading.Thread(
                    target=self._work, args=(number,), name=f"mover-{number}", daemon=True
                )
                self._threads[number] = thread
                thread.start()

    def _work(self, number: int) -> None:
        while (job := self._next(number)) is not None:
            try:
                self._run(job)
            except MigrationStopped:
                pass
            except Exception:
                log.exception("an unexpected failure, which must not end the mover: %s", job)
                self._finish(Done(job, job.steps[-1], "error"))
            finally:
                with self._condition:
                    self._moving -= 1
                    self.queue.release(job)

    def _next(self, number: int) -> Job | None:
        """The next job that may be done; None: this thread is not needed any longer."""
        with self._condition:
            while True:
                if self._stopped.is_set() or number >= self._limits.concurrency:
                    del self._threads[number]
                    return None
                job = self._may_begin()
                if job is not None:
                    self._moving += 1
                    return job
                self._condition.wait(LOOK_AGAIN_S if len(self.queue) else None)

    def _may_begin(self) -> Job | None:
        if not len(self.queue) or self.is_suspended():
            return None
        return self.queue.take(None if self.in_window() else URGENT)

    def _run(self, job: Job) -> None:
        if job.kind == "mirror":
            self._mirror(job)
            return
        short = 0
        for step in job.steps:
            if brings(step) and short > 0:
                self._finish(Done(job, step, "no-room"))
                return
            done = self._place(job, step)
            short += 0 if brings(step) else step.size - done.freed
            self._finish(done)

    def _place(self, job: Job, step: Step) -> Done:
        self._wait(self._operations.take(1))
        try:
            moved = self._migrator.place(
                step.ino, step.prefix, keep_mirror=step.keep_mirror, paced=self._paced
            )
        except (FsError, OSError) as exc:
            log.warning("inode %d could not be moved (%s): %s", step.ino, job.kind, exc)
            return Done(job, step, "error")
        return _done(job, step, moved)

    def _mirror(self, job: Job) -> None:
        self._wait(self._operations.take(len(job.steps)))
        try:
            moved = self._migrator.mirror([step.ino for step in job.steps], paced=self._paced)
        except (FsError, OSError) as exc:
            log.warning("%d heads could not be copied to disk: %s", len(job.steps), exc)
            for step in job.steps:
                self._finish(Done(job, step, "error"), counts=step is job.steps[0])
            return
        found = {one.ino: one for one in moved}
        for step in job.steps:
            self._finish(_done(job, step, found.get(step.ino, Migrated(step.ino, "changed"))))

    def _finish(self, done: Done, *, counts: bool = True) -> None:
        """Tell what became of a step; a batch that failed counts as one failure."""
        with self._condition:
            self._done.append(done)
            now = self._monotonic()
            if counts and self.suspension.record(now, failed=done.outcome == "error"):
                wait = self.suspension.until - now
                log.error("too many moves fail: nothing is moved for the next %.0f s", wait)

    def _paced(self, count: int) -> None:
        self._wait(self._bytes.take(count))

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set():
            raise MigrationStopped


class JobQueue:
    """Jobs that wait, by kind; each file is in one job at a time.

    Not thread-safe: its owner holds a lock.
    """

    def __init__(self) -> None:
        self._waiting: dict[Kind, deque[Job]] = {kind: deque() for kind in KINDS}
        self._busy: set[int] = set()
        self.growth = 0
        """Bytes that flash will hold more when all that waits or is under way is done."""
        self.growth_files = 0
        """Inodes of flash, likewise."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def room(self, kind: Kind) -> int:
        """Jobs of the kind that can be added."""
        most = MOST_BATCHES if kind == "mirror" else MOST_JOBS
        return max(0, most - len(self._waiting[kind]))

    def waiting(self) -> dict[Kind, int]:
        """Jobs that wait, by kind."""
        return {kind: len(jobs) for kind, jobs in self._waiting.items()}

    def is_busy(self, ino: int) -> bool:
        """Whether the file is in a job that waits or is under way."""
        return ino in self._busy

    def add(self, job: Job) -> bool:
        """Let a job wait; False: there is no room, or a file of it is busy."""
        numbers = {step.ino for step in job.steps}
        if not self.room(job.kind) or not self._busy.isdisjoint(numbers):
            return False
        self._busy |= numbers
        self.growth -= job.freeing
        self.growth_files -= job.freeing_files
        self._waiting[job.kind].append(job)
        return True

    def take(self, kinds: Collection[Kind] | None) -> Job | None:
        """The next job of one of the kinds, None for any; its files stay busy."""
        for kind in KINDS:
            if self._waiting[kind] and (kinds is None or kind in kinds):
                return self._waiting[kind].popleft()
        return None

    def release(self, job: Job) -> None:
        """A job is over."""
        self.growth += job.freeing
        self.growth_files += job.freeing_files
        self._busy.difference_update(step.ino for step in job.steps)

    def clear(self) -> None:
        """Let no job wait any longer."""
        for jobs in self._waiting.values():
            for job in jobs:
                self.release(job)
            jobs.clear()


class TokenBucket:
    """A token bucket of ``rate`` tokens a second, None for no limit. Thread-safe.

    A call that takes more than the bucket has leaves a debt, and returns how long to wait until it
    is paid. So one call may take more than the bucket holds, and callers wait in turn.
    """

    def __init__(self, rate: float | None, monotonic: Callable[[], float]) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._mutex = threading.Lock()
        self._balance = 0.0
        self._at = monotonic()

    def take(self, tokens: int) -> float:
        """Take ``tokens``; returns the seconds to wait before they are used."""
        if self._rate is None:
            return 0.0
        with self._mutex:
            now = self._monotonic()
            earned = (now - self._at) * self._rate
            self._balance = min(self._balance + earned, self._rate * BURST_S) - tokens
            self._at = now
            return max(0.0, -self._balance / self._rate)

    def set_rate(self, rate: float | None) -> None:
        """Change the rate; what is owed stays owed."""
        with self._mutex:
            self._rate = rate
            self._at = self._monotonic()


class Suspension:
    """Outcomes of the latest moves. After each suspension in a row the next takes twice as long.

    Times are in seconds of any clock; ``limit`` is in percent, None for never.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.until = float("-inf")
        self._latest: deque[bool] = deque(maxlen=LATEST_MOVES)
        self._next = SUSPENDED_S

    def holds(self, now: float) -> bool:
        """Whether nothing may be moved at ``now``."""
        return now < self.until

    def record(self, now: float, *, failed: bool) -> bool:
        """Take note of a move; True when it is the one after which the mover stops."""
        self._latest.append(failed)
        failures = sum(self._latest)
        if len(self._latest) == LATEST_MOVES and not failures:
            self._next = SUSPENDED_S
        if self.limit is None or self.holds(now) or len(self._latest) < LEAST_MOVES:
            return False
        if 100 * failures <= self.limit * len(self._latest):
            return False
        self.until = now + self._next
        self._next = min(2 * self._next, LONGEST_SUSPENDED_S)
        self._latest.clear()
        return True


def _done(job: Job, step: Step, moved: Migrated) -> Done:
    outcome = "error" if moved.outcome == "failed" else moved.outcome
    return Done(job, step, outcome, moved.copied, moved.freed)
