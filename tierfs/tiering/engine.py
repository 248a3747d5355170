"""The engine: observe, plan, move. Its owner calls `Engine.tick` every second, in any one thread.

A tick takes some milliseconds, whatever the number of files: it looks at what was read and
changed, at a part of the index, and gives the mover jobs. What was read is known in a table of
fixed size, and every list is bounded; what does not fit comes up again with the next scan.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tierfs.common.metrics import Metrics
from tierfs.common.priority import Pace
from tierfs.common.times import Clock, system_clock
from tierfs.metadata.inodes import Inode
from tierfs.policy.model import Explanation, Policy, explain
from tierfs.policy.tier_policy import DEFAULT_FLASH, DEFAULT_MOVER
from tierfs.tiering.context import SHORT_REST, Context
from tierfs.tiering.eviction import EvictionPlanner
from tierfs.tiering.forecast import Forecast, ForecastRequest, forecast
from tierfs.tiering.heat import SLOT_BYTES, Heat, Warmth
from tierfs.tiering.heat_file import HeatFile, pack_heat
from tierfs.tiering.manual import ManualPlanner
from tierfs.tiering.model import Target, Waiting, brings
from tierfs.tiering.mover import Mover
from tierfs.tiering.ports import Ports
from tierfs.tiering.promotion import PromotionPlanner
from tierfs.tiering.scanner import Exposure, RecentActivity, Scanner
from tierfs.tiering.state import EngineState, Sum, Totals, together
from tierfs.tiering.target import PolicyEvaluator
from tierfs.tiering.watermarks import Moment, inode_levels, levels_of, used

SAVE_EVERY_S: Final = 300.0

STEP_S: Final = 0.0005
"""A tick lets other threads have the interpreter after so much processor time."""

DECLARED_PART: Final = 4
"""Of flash a user can keep this part from being chosen by heat, by saying what will be read."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The time in nanoseconds since the epoch, seconds that only grow, and how to let them pass."""

    clock: Clock = system_clock
    monotonic: Callable[[], float] = time.monotonic
    thread_time: Callable[[], float] = time.thread_time
    """Processor time of the thread that asks, in seconds."""
    sleep: Callable[[float], object] = time.sleep


class Engine:
    """Moves by a policy; without one only what people ask for by hand.

    ``index`` is the index's file, beside which the heat is kept; ``memory`` bounds the table of
    heat, in bytes. `tick` and `stop` are for one thread at a time, all else for any.
    """

    def __init__(
        self,
        ports: Ports,
        index: Path,
        memory: int,
        metrics: Metrics,
        clocks: Clocks | None = None,
        make_mover: type[Mover] = Mover,
        *,
        closed: bool = False,
    ) -> None:
        """``closed``: it is never ticked, as where the mount is read-only; it can be asked."""
        clocks = clocks or Clocks()
        self._clocks = clocks
        self._memory = memory
        self._heat_file = HeatFile(index)
        self._policy: Policy | None = None
        self._next: Policy | None = None
        self._ticking = threading.Lock()
        self._stopping = threading.Event()
        heat = Heat(1)  # until there is a policy
        limits = DEFAULT_MOVER
        mover = make_mover(ports.migrator, limits, clock=clocks.clock, monotonic=clocks.monotonic)
        self._pace = Pace(clocks.thread_time, clocks.sleep, STEP_S)
        self._asked = PolicyEvaluator(ports.catalog, heat, None)
        """For one file at a time, in threads of requests."""
        self._context = Context(
            ports,
            heat,
            self._asked,
            mover,
            clocks.monotonic,
            closed=closed,
        )
        self._recent = RecentActivity(self._context)
        self._scanner = Scanner(self._context)
        self._eviction = EvictionPlanner(self._context, self._scanner.census)
        self._promotion = PromotionPlanner(self._context, self._eviction)
        self._manual = ManualPlanner(self._context, self._promotion.force)
        self._exposure = Exposure(ports.catalog)
        self._totals = Totals(metrics)
        self._saved = clocks.monotonic()
        self._tick_s = 0.0

    @property
    def policy(self) -> Policy | None:
        """What is in force, or about to be."""
        return self._next or self._policy

    def apply(self, policy: Policy) -> None:
        """Use a policy from the next tick on; a scan applies it to all files."""
        asked = PolicyEvaluator(self._context.ports.catalog, self._context.heat, policy)
        with self._ticking:  # or one that comes while a tick takes another would be lost
            self._next, self._asked = policy, asked

    def tick(self) -> None:
        """Look, plan, and give the mover to do.

        Raises:
            FsError, OSError: the index or the flash directory could not be read; try again.
        """
        with self._ticking:
            start = self._clocks.monotonic()
            self._pace.begin()
            self._adopt()
            self._learn()
            moment = self._context.moment = self._moment()
            most = moment.capacity // DECLARED_PART
            self._context.upcoming = self._context.ports.upcoming(most)
            if self._policy is not None:
                reads, changed = self._context.ports.activity()
                self._context.heat.feed(reads, moment.now)
                self._recent.observe(reads, changed, moment.now)
            self._plan(moment)
            self._exposure.tick(self._clocks.monotonic())
            now = self._clocks.monotonic()
            if self._policy is not None and now - self._saved >= SAVE_EVERY_S:
                self._saved = now
                self._heat_file.save(self._context.heat)
            self._tick_s = self._clocks.monotonic() - start
            self._totals.export(self._state(moment))

    def state(self) -> EngineState:
        """What the engine is doing.

        Raises:
            OSError: the flash directory could not be read.
        """
        return self._state(self._moment())

    def plan(self, policy: Policy | None = None) -> Forecast:
        """What would be moved now by the policy in force, or by another; nothing is moved.

        Goes through the whole index here and now: for few files. A mount has it done apart.

        Raises:
            FsError, OSError: the index or the flash directory could not be read.
            NotMounted: the engine was stopped meanwhile.
        """
        chosen = policy or self.policy
        heat = self._context.heat
        evaluator = PolicyEvaluator(self._context.ports.catalog, heat, chosen)
        moment = self._moment(chosen)
        return forecast(self._context.ports.catalog, evaluator, heat, moment, self._stopping.is_set)

    def forecast_request(self, index: Path, policy: Policy | None) -> ForecastRequest:
        """What a forecast goes by that another process makes of the ``index``.

        Raises:
            OSError: the flash directory could not be read.
        """
        heat = self._context.heat
        return ForecastRequest(index, policy, pack_heat(heat), heat.capacity, self._moment(policy))

    def known_reads(self) -> bytes:
        """A snapshot of what is known of reads, for `tierfs.tiering.heat_file.unpack_heat`."""
        return pack_heat(self._context.heat)

    @property
    def heat_capacity(self) -> int:
        """Files of which reads can be known."""
        return self._context.heat.capacity

    @property
    def mover(self) -> Mover:
        """The threads that move files, and the limits on what they do."""
        return self._context.mover

    @property
    def stopping(self) -> bool:
        """Whether the mount is about to end."""
        return self._stopping.is_set()

    def explain(self, inos: Sequence[int]) -> Iterable[Explained] | None:
        """Why each of the files belongs where it does; None: there is no policy.

        Raises:
            FsError: the index could not be read.
        """
        policy = self.policy
        if policy is None:
            return None
        return explained(self._context, policy, inos, self._clocks.clock())

    def waiting(self, ino: int) -> Waiting | None:
        """Why a file is not where it belongs; None: it is, or is not a regular file. Quick.

        Raises:
            FsError: the index could not be read.
        """
        context, now = self._context, self._clocks.clock()
        catalog = context.ports.catalog
        for inode, target in self._asked.evaluate(catalog.some([ino]), now):
            return context.waiting(inode, target, context.request_of(ino), now)
        return None

    def mirrors_at_sync(self, ino: int) -> bool:
        """Whether what was synced of a file must be on disk as well. Quick.

        Raises:
            FsError: the index could not be read.
        """
        catalog = self._context.ports.catalog
        return any(
            target.at_sync
            for _, target in self._asked.evaluate(catalog.some([ino]), self._clocks.clock())
        )

    def requested(self, ino: int) -> None:
        """A user makes a request for a file: an earlier failure does not delay it. Quick."""
        for held in (self._context.backoff, self._context.later, self._context.refused):
            held.clear(ino)
        self._context.waiting_since.pop(ino, None)

    def stop(self) -> None:
        """Abandon what is under way, within about a second, and keep what is known of reads."""
        self._stopping.set()
        self._context.mover.stop()
        with self._ticking:
            self._learn()
            if self._policy is not None:
                self._heat_file.save(self._context.heat)

    def _adopt(self) -> None:
        """Go by the policy that was applied, if there is another one."""
        policy = self._next
        if policy is None:
            return
        context = self._context
        if self._policy is None:
            heat = context.heat = Heat(max(1, self._memory // SLOT_BYTES))
            self._heat_file.load(heat)
            if heat.since is None:
                heat.since = self._clocks.clock()
            context.ports.activity()  # what was read before is not of now
        self._policy = policy
        self._next = None  # not before, so that `policy` never is None meanwhile
        catalog, heat = context.ports.catalog, context.heat
        self._asked = PolicyEvaluator(catalog, heat, policy)
        context.evaluator = PolicyEvaluator(catalog, heat, policy, self._pace.rest)
        context.mover.apply(policy.mover)
        context.pool.clear()
        context.candidates.clear()
        context.mirroring.clear()
        self._recent.reset()
        self._scanner.reset()
        self._eviction.reset()

    def _learn(self) -> None:
        """Take in what became of the moves."""
        now = self._clocks.clock()
        for done in self._context.mover.drain():
            self._totals.add(done)
            self._manual.done(done, now)
            self._recent.moved(done.step.ino)
            context, ino = self._context, done.step.ino
            if done.step.kind != "mirror":
                context.pool.forget(ino)
            if done.outcome == "error":
                context.backoff.fail(ino, now)
            elif done.outcome == "changed":
                context.debounce.add([ino], now)
            elif done.outcome == "no-room" and brings(done.step):
                # Others took it, or one that was to go was in use: no fault of the file's.
                context.backoff.later(ino, now + SHORT_REST, Waiting(context.shortage(done.step)))
            elif done.outcome == "no-room":
                context.backoff.fail(ino, now, "room")
            elif done.outcome == "gone":
                context.heat.forget(ino)
            else:
                context.backoff.clear(ino)

    def _moment(self, policy: Policy | None = None) -> Moment:
        """How full flash is now, by the marks of the policy in force or of another."""
        policy = policy or self._policy
        flash = policy.flash if policy else DEFAULT_FLASH
        space, mover = self._context.ports.space(), self._context.mover
        may_work = mover.in_window() and not mover.is_suspended()
        levels = levels_of(flash, space.capacity)
        return Moment(
            self._clocks.clock(),
            levels,
            used(space),
            space.capacity,
            may_work,
            inode_levels(levels, space.capacity, space.files),
            space.files - space.files_free,
            space.files,
        )

    def _plan(self, moment: Moment) -> None:
        """Let each planner look and queue jobs; the order is that of importance."""
        context = self._context
        self._manual.tick(moment)
        if self._policy is not None:
            self._eviction.tick(moment)
            self._recent.tick(moment)
            if context.debounce.lost:
                context.debounce.lost = False
                self._scanner.hurry()
            self._scanner.tick(moment)
        self._promotion.tick(moment)
        if moment.may_work:
            for batch in context.mirroring.batches(context.mover.queue.room("mirror")):
                context.mover.add(batch)

    def _state(self, moment: Moment) -> EngineState:
        context, totals = self._context, self._totals
        mover = context.mover
        pins = (self._manual.pins, self._manual.pinned_below, self._scanner.pins)
        return EngineState(
            active=self._policy is not None,
            flash_capacity=moment.capacity,
            flash_used=moment.used,
            high_watermark=moment.levels.high,
            low_watermark=moment.levels.low,
            waiting=mover.queue.waiting(),
            moving=mover.moving,
            moved=dict(totals.moved),
            copied=totals.copied,
            freed=totals.freed,
            failed=totals.failed,
            in_window=mover.in_window(),
            suspended=mover.is_suspended(),
            scan=self._scanner.progress,
            scans=self._scanner.completed,
            waits_for_mirror=len(context.mirroring),
            heat_memory=context.heat.memory,
            tick_s=self._tick_s,
            flash_files=moment.files,
            flash_files_used=moment.files_used,
            files_high_watermark=moment.file_levels.high if moment.files else 0,
            files_low_watermark=moment.file_levels.low if moment.files else 0,
            flash_only_since=self._exposure.since,
            pinned=Sum(*map(sum, zip(*(tally.all for tally in pins), strict=True))),
            pinned_elsewhere=together(tally.waiting for tally in pins),
            misplaced=together(
                tally.waiting for tally in (*pins, self._manual.requests, self._scanner.others)
            ),
        )


@dataclass(frozen=True, slots=True)
class Explained:
    """A file as it is, what the policy says of it, and the target that follows, with pins."""

    inode: Inode
    explanation: Explanation
    target: Target
    warmth: Warmth | None
    """Its reads, decayed; None when none is known."""
    last_read: int | None
    """Nanoseconds since the epoch; None when it is not known."""
    waiting: Waiting | None
    """Why it is not where it belongs; None: it is."""
    pinned_by: bytes | None
    """The path of the directory that pins it; None: none does, or it has a pin of its own."""


def explained(
    context: Context, policy: Policy, inos: Sequence[int], now: int
) -> Iterator[Explained]:
    """For each of the inodes that is a regular file with a name, in ascending order.

    Raises:
        FsError: the index could not be read.
    """
    catalog, heat = context.ports.catalog, context.heat
    evaluator = PolicyEvaluator(catalog, heat, policy)
    rows = catalog.some(inos)
    paths = catalog.paths(rows)
    pinned = catalog.pinned(rows, now)
    for row, target in evaluator.evaluate(rows, now):
        yield Explained(
            row,
            explain(policy, evaluator.facts(row, paths, now)),
            target,
            heat.look(row.ino, now),
            heat.last_read(row.ino, row.ctime, now),
            context.waiting(row, target, context.request_of(row.ino), now),
            None if (by := pinned.get(row.ino, row.ino)) == row.ino else catalog.directory_path(by),
        )
