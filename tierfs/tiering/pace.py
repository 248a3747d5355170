"""How fast: a token bucket. It knows no clock and does not sleep; the caller brings both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

BURST_S: Final = 0.05
"""What may be taken at once after a rest, in seconds' worth."""


class TokenBucket:
    """``rate`` tokens a second, None for no limit. Thread-safe.

    Who takes more than there is goes into debt, and is told how long to wait until it is paid:
    so one call may take more than the bucket holds, and those who wait do so in turn.
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
