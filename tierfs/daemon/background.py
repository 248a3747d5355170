"""The daemon's background tasks: a failure of one never ends the daemon.

A task that fails is logged, counted and started again, after a pause that grows while it fails.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from tierfs.common.errors import TierfsError
from tierfs.common.metrics import Metrics

log = logging.getLogger(__name__)

Task = Callable[[], Awaitable[object]]

FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0
"""A device that works again is noticed within a minute; one that does not costs a log line a
minute."""


class BackgroundTasks:
    """Runs background tasks, on the event loop, and knows which of them fail."""

    def __init__(self, metrics: Metrics) -> None:
        self._failures = metrics.background_failures
        self._failing: dict[str, str] = {}

    @property
    def failing(self) -> dict[str, str]:
        """The tasks whose last run failed, each with the reason; for any thread."""
        return dict(self._failing)

    async def keep(self, name: str, task: Task) -> None:
        """Run ``task`` until it returns; if it raises, start it again after a pause."""
        pause = FIRST_PAUSE_S
        while True:
            began = trio.current_time()
            try:
                await task()
            except Exception as exc:  # noqa: BLE001 - a bug in one task must not unmount
                self._failed(name, exc)
            else:
                return
            # A failure after a long run starts with a short pause again.
            pause = min(pause, MAX_PAUSE_S)
            if trio.current_time() - began > MAX_PAUSE_S:
                pause = FIRST_PAUSE_S
            await trio.sleep(pause)
            pause *= 2

    async def every(self, seconds: float, name: str, step: Task) -> None:
        """Call ``step`` again and again, ``seconds`` apart; see ``keep``."""

        async def steps() -> None:
            while True:
                await trio.sleep(seconds)
                await step()
                self._failing.pop(name, None)

        await self.keep(name, steps)

    def _failed(self, name: str, exc: Exception) -> None:
        self._failing[name] = f"{type(exc).__name__}: {exc}"
        self._failures.labels(name).inc()
        if isinstance(exc, TierfsError | OSError):
            log.warning("in the background, %s: %s; it is tried again", name, exc)
        else:
            log.error(
                "in the background, %s: an unexpected failure; it is tried again",
                name,
                exc_info=exc,
            )
