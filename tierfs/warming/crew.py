"""A few threads that take their work from one iterator, in its order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

T = TypeVar("T")

TICK_SECONDS: Final = 0.1
GRACE_SECONDS: Final = 2.0
"""How long an interrupted crew may take to end what it is at; a read of a hung disk is left."""


class Crew(Generic[T]):
    """``jobs`` threads that call ``work`` with what ``items`` yields.

    Each takes the next item when it is done with the last, so that they stay close together in
    the iterator's order, and no more than ``jobs`` items are at work. ``stopped`` is set when
    the work is to end early; long work looks at it.
    """

    def __init__(
        self,
        items: Iterator[T],
        work: Callable[[T], None],
        jobs: int,
        stopped: threading.Event,
    ) -> None:
        self._items = items
        self._work = work
        self._stopped = stopped
        self._taking = threading.Lock()
        self._error: BaseException | None = None
        # Daemons: one that hangs in a read must not keep the command from ending.
        self._threads = [threading.Thread(target=self._labour, daemon=True) for _ in range(jobs)]

    def run(self, tick: Callable[[], None]) -> None:
        """Work until all is done; ``tick`` is called several times a second meanwhile.

        Raises:
            KeyboardInterrupt: from outside, after the threads have ended, or GRACE_SECONDS.
            BaseException: the first that ``work`` or ``items`` raised.
        """
        try:
            for thread in self._threads:
                thread.start()
            while any(thread.is_alive() for thread in self._threads):
                self._wait(TICK_SECONDS)
                tick()
        except BaseException:
            self._stopped.set()
            self._wait(GRACE_SECONDS)
            raise
        if self._error is not None:
            raise self._error

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _labour(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._work(item)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._error = self._error or error
            self._stopped.set()

    def _next(self) -> T | None:
        with self._taking:
            item = None if self._stopped.is_set() else next(self._items, None)
            # To find the next may have taken long enough for the end to be called.
            return None if self._stopped.is_set() else item
