"""Tiering on a mount: calls the engine every second, and reports reads to it and the access log."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any, Final

import trio

from tierfs.common.errors import MountFailed, UsageError
from tierfs.common.metrics import Metrics
from tierfs.common.tierfs_xattrs import show_waits
from tierfs.common.times import system_clock
from tierfs.daemon.attribution import WatchedMigrator, attribution_of
from tierfs.daemon.background import BackgroundTasks
from tierfs.daemon.first_reads import FirstReadsOfMount
from tierfs.daemon.native import FastPath
from tierfs.daemon.worker import Passed
from tierfs.daemon.workers import run_in_worker
from tierfs.fs.allocation import limits_of
from tierfs.fs.volume import Volume
from tierfs.metadata.index import IndexCatalog
from tierfs.metadata.reader import IndexReader
from tierfs.policy.model import Policy
from tierfs.policy.volume_file import AccessLogSettings
from tierfs.tiering.access_recorder import AccessRecorder, facts_of
from tierfs.tiering.disk_usage import disk_usage_apart, rules_apart, sizes_apart
from tierfs.tiering.engine import Engine
from tierfs.tiering.forecast import forecast_apart
from tierfs.tiering.heat import Row
from tierfs.tiering.ports import Ports
from tierfs.tiering.scrub import Scrub, ScrubPorts
from tierfs.tiering.state import Sums

log = logging.getLogger(__name__)

TICK_S: Final = 1.0
ROWS: Final = 4096
"""Files in one answer of the router, which holds a lock for it."""

BATCHES: Final = 64
"""Such answers in a tick; the rest follows in the next tick, or is lost and counted."""

PLANNED_HERE: Final = 20_000
"""Inodes up to which the daemon itself makes a plan: a worker process takes longer to start."""

Listener = Callable[[Sequence[Row], Collection[int], int], object]
"""Called each second, in a thread, with the files read (inode, reads, bytes), those changed, and
the time in nanoseconds since the epoch."""


class Tiering:
    """The engine of one mount. ``close`` it when nobody uses it any longer."""

    def __init__(
        self,
        volume: Volume,
        metrics: Metrics,
        fast_path: FastPath | None,
        upcoming: Callable[[int], Mapping[int, int]],
        first_reads: FirstReadsOfMount,
        *,
        moves: bool = True,
    ) -> None:
        """``upcoming``: see `Ports`. ``first_reads`` are counted each second.

        ``moves``: False on a read-only mount: no file is moved.
        """
        self._moves = moves
        self._first_reads = first_reads
        self._fs = volume.fs
        self._fast_path = fast_path
        self._listeners: list[Listener] = []
        self._seen: tuple[list[Row], set[int]] = [], set()
        self._index = volume.index
        self._catalog = IndexCatalog(volume.index)
        self.attribution = attribution_of(fast_path, self._catalog)
        migrator = WatchedMigrator(volume.fs.migrator, self.attribution.moved)
        space = volume.fs.allocator.space
        ports = Ports(self._catalog, migrator, space, lambda: self._seen, upcoming)
        settings = volume.settings
        self.engine = Engine(
            ports, settings.index, settings.tiering_memory, metrics, closed=not moves
        )
        index = volume.index
        self.scrub = Scrub(
            ScrubPorts(
                volume.fs.verifier,
                index,
                self._catalog,
                self.engine.mover,
                path=index.path_of,
            ),
            settings.scrub_interval,
            metrics,
        )
        """In a thread: `Scrub.run`, and before the mount is gone `Scrub.close`."""
        metrics.flash_only_files.set_function(lambda: index.usage().alone_files)
        metrics.flash_only_bytes.set_function(lambda: index.usage().alone_bytes)
        volume.fs.xattrs.virtual.waits = self._waits
        volume.fs.xattrs.virtual.requested = self.engine.requested

    def apply(self, policy: Policy) -> None:
        """Put a policy in force; in any thread."""
        self._fs.allocator.limits(limits_of(policy))
        self._fs.activity.on = True
        self.engine.apply(policy)
        settings = (policy.defaults, *(rule.settings for rule in policy.rules))
        at_sync = any(one.mirror == "sync" for one in settings)
        self._fs.mirrors.at_sync = self.engine.mirrors_at_sync if at_sync else _never

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with what is read and changed."""
        self._fs.activity.on = True
        self._listeners.append(listener)

    def status(self) -> dict[str, Any]:
        """A record for JSON: `tierfs.tiering.state.EngineState`; in a thread."""
        state = self.engine.state()
        sums = ("pinned_elsewhere", "misplaced")
        return {
            **asdict(state),
            "pinned": state.pinned._asdict(),
            **{key: _sums(getattr(state, key)) for key in sums},
        }

    def plan(self) -> dict[str, Any]:
        """What would be moved now, for JSON: `tierfs.tiering.forecast.Forecast`; in a thread."""
        policy = self.engine.policy
        if self._index.usage().inodes <= PLANNED_HERE:
            forecast = self.engine.plan(policy)
        else:
            request = self.engine.forecast_request(self._index.path, policy)
            snapshot = self._index.checkpoint_for_snapshot()
            forecast = run_in_worker(
                forecast_apart,
                request,
                Passed(snapshot),
                cancelled=lambda: self.engine.stopping,
            )
        plan = asdict(forecast)
        lines = [line._asdict() for line in plan.pop("lines")]
        misplaced = _sums(self.engine.state().misplaced)
        return {
            "policy": policy and str(policy.path),
            "moves": lines,
            **plan,
            "misplaced": misplaced,
        }

    def disk_usage(self, directory: int, depth: int) -> dict[str, Any]:
        """What a directory has on each tier, for JSON: `DirectoryUsage`; in a thread.

        Raises:
            UsageError: ``depth`` is negative.
        """
        if depth < 0:
            raise UsageError("depth must be 0 or more")
        snapshot = self._index.checkpoint_for_snapshot()
        usages = run_in_worker(
            disk_usage_apart,
            self._index.path,
            Passed(snapshot),
            directory,
            depth,
            cancelled=lambda: self.engine.stopping,
        )
        return {
            "directories": [
                {**one._asdict(), "path": os.fsdecode(one.path), "disk": one.disk} for one in usages
            ]
        }

    def sizes(self) -> dict[str, Any]:
        """All files by owner and size, for JSON: `SizeClass`; in a thread."""
        snapshot = self._index.checkpoint_for_snapshot()
        classes = run_in_worker(
            sizes_apart,
            self._index.path,
            Passed(snapshot),
            cancelled=lambda: self.engine.stopping,
        )
        return {"classes": [one._asdict() for one in classes]}

    def heads(self) -> dict[str, Any]:
        """How far into files is read first, and heads that would suit it; in a thread.

        Raises:
            FsError: the index could not be read.
        """
        return self._first_reads.show(self.engine)

    def rules(self) -> dict[str, Any]:
        """All files by the rule that holds for them, for JSON: `RuleUsage`; in a thread."""
        request = self.engine.forecast_request(self._index.path, self.engine.policy)
        snapshot = self._index.checkpoint_for_snapshot()
        usages = run_in_worker(
            rules_apart,
            request,
            Passed(snapshot),
            cancelled=lambda: self.engine.stopping,
        )
        return {"rules": [one._asdict() for one in usages]}

    async def run(self, background: BackgroundTasks) -> None:
        """Drive the engine until cancelled; then stop it, and abandon what it is doing."""
        try:
            await background.every(TICK_S, "tiering", lambda: trio.to_thread.run_sync(self._tick))
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._stop)

    def close(self) -> None:
        """Close its connection to the index."""
        self.attribution.close()
        self._catalog.close()

    def _waits(self, ino: int) -> bytes | None:
        waiting = self.engine.waiting(ino)
        return None if waiting is None else show_waits(waiting.reason, stuck=waiting.stuck)

    def _stop(self) -> None:
        # A failure must not keep the volume from being closed.
        try:
            self.engine.stop()
        except Exception:
            log.exception("tiering: the access statistics could not be saved for the next mount")

    def _tick(self) -> None:
        self._observe()
        self._first_reads.observe()
        if self._moves:
            self.engine.tick()

    def _observe(self) -> None:
        reads, changed = self._fs.activity.drain()
        if self._fast_path is not None and self._fs.activity.on:
            for _ in range(BATCHES):
                rows = self._fast_path.router.heat(ROWS)
                reads += rows
                if len(rows) < ROWS:
                    break
        self._seen = reads, changed
        if reads or changed:
            for listener in self._listeners:
                listener(reads, changed, system_clock())


def _sums(sums: Sums) -> dict[str, dict[str, int]]:
    return {reason: one._asdict() for reason, one in sums.items()}


def _never(_ino: int) -> bool:
    return False


# ------------------------------------------------------------------ the access log


@contextmanager
def recording(volume: Volume, tiering: Tiering) -> Iterator[None]:
    """Record what ``tiering`` sees, if the volume file asks for an access log.

    Raises:
        MountFailed: the log cannot be made or continued.
    """
    settings = volume.settings.access_log
    if settings is None:
        yield
        return
    index = volume.index
    with closing(
        IndexReader(
            index.path, read_only=index.read_only, prepare=index.store_deferred, flush=index.flush
        )
    ) as reader:
        recorder = _recorder(volume, reader, settings)
        with closing(recorder):
            tiering.listen(recorder.observe)
            yield


def _recorder(volume: Volume, reader: IndexReader, settings: AccessLogSettings) -> AccessRecorder:
    try:
        return AccessRecorder(
            settings.file,
            settings.size,
            functools.partial(facts_of, reader),
            head=volume.settings.head,
            flash=volume.flash_space().capacity,
        )
    except OSError as error:
        raise MountFailed(
            f"{volume.settings.path}: access_log: {settings.file} cannot be opened:"
            f" {error.strerror}; correct its name, or its directory's permissions"
        ) from error
