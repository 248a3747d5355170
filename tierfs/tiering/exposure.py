"""Since when the oldest file has been on flash alone: what a dead flash device would cost.

How many files and bytes that are is counted as they change (`tierfs.index.counts`); the oldest of
them is looked for round and round, a range of inode numbers at a time.
"""

from __future__ import annotations

from typing import Final, Protocol

SPAN: Final = 16_384
"""Inode numbers in a tick: 5 ms, if the index is in memory."""

REST_S: Final = 30.0
"""A round begins so long after the last one began, at the earliest."""


class Alone(Protocol):
    """The part of the index that is asked."""

    def alone(self, after: int, span: int) -> tuple[int | None, int]:
        """When the oldest file that only flash has was changed last, of a range of numbers."""


class Exposure:
    """A cursor that keeps what the last whole round found."""

    def __init__(self, files: Alone) -> None:
        self._files = files
        self._after = 0
        self._began = float("-inf")
        self._oldest: int | None = None
        self.since: int | None = None
        """Nanoseconds since the epoch; None: there is no such file, or no round has ended."""

    def tick(self, now: float) -> None:
        """Look at the next numbers; ``now`` in seconds of any clock."""
        if self._after == 0:
            if now - self._began < REST_S:
                return
            self._began, self._oldest = now, None
        found, self._after = self._files.alone(self._after, SPAN)
        if found is not None:
            self._oldest = found if self._oldest is None else min(found, self._oldest)
        if self._after == 0:
            self.since = self._oldest
