"""Tiering on a mount: the engine is told what is read, ticked every second, and asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from typing import Any, Final

import trio

from tierfs.common.metrics import Metrics
from tierfs.common.tierfs_xattrs import show_waits
from tierfs.common.times import system_clock
from tierfs.daemon.apart import run_apart
from tierfs.daemon.fast_path import FastPath
from tierfs.daemon.supervision import Supervisor
from tierfs.fs.volume import Volume
from tierfs.policy.model import Policy
from tierfs.tiering.engine import Engine
from tierfs.tiering.forecast import forecast_apart
from tierfs.tiering.heat import Row
from tierfs.tiering.ports import IndexCatalog, Ports
from tierfs.tiering.state import Sums
from tierfs.tiering.watermarks import limits_of

log = logging.getLogger(__name__)

TICK_S: Final = 1.0
ROWS: Final = 4096
"""Files that the fast path tells of at a time: it holds its lock for them."""

BATCHES: Final = 64
"""Of so many rows in a tick; what is left is told with the next one, or lost and counted."""

FEW: Final = 20_000
"""Inodes for which a plan is made in the daemon: a process of its own would start for longer."""

Listener = Callable[[Sequence[Row], Collection[int], int], object]
"""Is told each second which files were read, (inode, reads, bytes), and changed, until a time in
nanoseconds since the epoch; in a thread."""


class Tiering:
    """The engine of one mount. ``close`` it when nobody calls it any longer."""

    def __init__(
        self, volume: Volume, metrics: Metrics, fast_path: FastPath | None, *, moves: bool = True
    ) -> None:
        """``moves``: not where the mount is read-only, which then leaves every file as it is."""
        self._moves = moves
        self._fs = volume.fs
        self._fast_path = fast_path
        self._listeners: list[Listener] = []
        self._seen: tuple[list[Row], set[int]] = [], set()
        self._index = volume.index
        self._catalog = IndexCatalog(volume.index)
        ports = Ports(
            self._catalog, volume.fs.migrator, volume.fs.allocator.space, lambda: self._seen
        )
        settings = volume.settings
        self.engine = Engine(
            ports, settings.index, settings.tiering_memory, metrics, closed=not moves
        )
        index = volume.index
        metrics.flash_only_files.set_function(lambda: index.usage().alone_files)
        metrics.flash_only_bytes.set_function(lambda: index.usage().alone_bytes)
        volume.fs.xattrs.virtual.waits = self._waits
        volume.fs.xattrs.virtual.requested = self.engine.requested

    def apply(self, policy: Policy) -> None:
        """Go by a policy from now on; in any thread."""
        self._fs.allocator.limits(limits_of(policy))
        self._fs.activity.on = True
        self.engine.apply(policy)
        settings = (policy.defaults, *(rule.settings for rule in policy.rules))
        at_sync = any(one.mirror == "sync" for one in settings)
        self._fs.data.mirrors_at_sync = self.engine.mirrors_at_sync if at_sync else _never

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` as well what is read and changed."""
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
        if self._index.usage().inodes <= FEW:
            forecast = self.engine.plan(policy)
        else:
            request = self.engine.forecast_request(self._index.path, policy)
            folds = self._index.checkpoint_for_snapshot()
            forecast = run_apart(
                forecast_apart,
                request,
                folds,
                descriptors=[folds],
                ended=lambda: self.engine.stopping,
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

    async def run(self, background: Supervisor) -> None:
        """Drive the engine until cancelled; then what it is doing is abandoned."""
        try:
            await background.every(TICK_S, "tiering", lambda: trio.to_thread.run_sync(self._tick))
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._stop)

    def close(self) -> None:
        """Let go of the index."""
        self._catalog.close()

    def _waits(self, ino: int) -> bytes | None:
        waiting = self.engine.waiting(ino)
        return None if waiting is None else show_waits(waiting.reason, stuck=waiting.stuck)

    def _stop(self) -> None:
        try:
            self.engine.stop()
        except Exception:
            log.exception("tiering: what is known of reads could not be kept for the next mount")

    def _tick(self) -> None:
        self._look()
        if self._moves:
            self.engine.tick()

    def _look(self) -> None:
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
