"""One sync for everybody who waits for one: group commit, as databases do it.

Linux reports a failed write-back once for each open descriptor (errseq_t, fsync(2)). Of several
threads that sync one descriptor at the same time, one is told and the others are not. So one
thread syncs at a time, and its result is that of all who waited.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class _Round:
    """One sync and its result, for those who came before it began."""

    __slots__ = ("done", "error")

    def __init__(self) -> None:
        self.done = False
        self.error: OSError | None = None

    def finish(self, error: OSError | None) -> None:
        self.error, self.done = error, True


class GroupSync:
    """Calls ``sync`` for many threads: seldom enough, and never with a result of one alone.

    Who calls is served by a sync that begins after the call: what was written before is covered.
    """

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self._syncing = threading.Lock()
        self._mutex = threading.Lock()
        self._next = _Round()

    def __call__(self) -> None:
        """Sync, or share the sync of another thread.

        Raises:
            OSError: the sync failed, or one that ended while this call waited for its own: that
                one may have used up the report of an error that concerns this caller.
        """
        with self._mutex:
            mine = self._next
        with self._syncing:
            if not mine.done:
                self._lead(mine)
        if mine.error is not None:
            raise OSError(*mine.error.args) from mine.error

    def _lead(self, mine: _Round) -> None:
        self._begin_next()
        try:
            self._sync()
        except OSError as exc:
            self._begin_next().finish(exc)
            mine.finish(exc)
        else:
            mine.finish(None)

    def _begin_next(self) -> _Round:
        """Let who comes from now on wait for another sync; returns the round of those before."""
        with self._mutex:
            before, self._next = self._next, _Round()
        return before
