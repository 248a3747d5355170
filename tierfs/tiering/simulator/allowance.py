"""What a mover may copy, on a virtual clock: its rate, its operations, its windows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from tierfs.base.durations import SECOND
from tierfs.policy.limits import Mover

_MINUTE: Final = 60 * SECOND


class Allowance:
    """What was not used of the last second may be used in this one; a move may overdraw it once."""

    def __init__(self, mover: Mover) -> None:
        self._mover = mover
        self._now = 0
        self._bytes = float(mover.rate or 0)
        self._moves = float(mover.operations or 0)
        self._minute = -1
        self._open = True

    def take(self, size: int, now: int) -> bool:
        """Whether a move of ``size`` bytes may begin ``now`` (ns since the epoch)."""
        self._earn(now)
        mover = self._mover
        spent = (mover.rate is not None and self._bytes <= 0) or (
            mover.operations is not None and self._moves < 1
        )
        if spent or not self._in_window(now):
            return False
        self._bytes -= size
        self._moves -= 1
        return True

    def _earn(self, now: int) -> None:
        seconds = max(0, now - self._now) / SECOND
        self._now = max(self._now, now)
        rate, operations = self._mover.rate or 0, self._mover.operations or 0
        self._bytes = min(self._bytes + seconds * rate, rate)
        self._moves = min(self._moves + seconds * operations, operations)

    def _in_window(self, now: int) -> bool:
        if not self._mover.windows:
            return True
        if now // _MINUTE != self._minute:
            self._minute = now // _MINUTE
            local = datetime.fromtimestamp(now // SECOND, tz=UTC).astimezone()
            self._open = self._mover.may_work(local)
        return self._open
