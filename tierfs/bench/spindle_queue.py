"""Requests that wait for a drive's head, and which of them is next. Pure.

``elevator`` does as mq-deadline of Linux (block/mq-deadline.c): the head sweeps from low to high
addresses and jumps back to the lowest; a request that has waited for half a second goes first.
``fifo`` serves them as they came.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

Order = Literal["elevator", "fifo"]

READ_EXPIRE_S: Final = 0.5
"""read_expire of mq-deadline."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """``length`` bytes at ``address``, asked for at ``arrived`` (seconds)."""

    address: int
    length: int
    arrived: float
    writes: bool = False


class Queue:
    """Requests that wait."""

    def __init__(self, order: Order) -> None:
        self._sorted = order == "elevator"
        self._arrived: deque[Request] = deque()
        self._by_address: list[Request] = []

    def __len__(self) -> int:
        return len(self._arrived)

    def add(self, request: Request) -> None:
        """Let ``request`` wait."""
        self._arrived.append(request)
        insort(self._by_address, request, key=_address)

    def take(self, now: float, head: int) -> Request | None:
        """Take out the next one for a head at the address ``head``; None: nobody waits."""
        if not self._arrived:
            return None
        oldest = self._arrived[0]
        if not self._sorted or now - oldest.arrived > READ_EXPIRE_S:
            chosen = oldest
        else:
            ahead = bisect_left(self._by_address, head, key=_address)
            chosen = self._by_address[ahead % len(self._by_address)]
        self._arrived.remove(chosen)
        self._by_address.remove(chosen)
        return chosen


def _address(request: Request) -> int:
    return request.address
