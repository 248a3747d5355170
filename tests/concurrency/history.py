"""Whether what several processes saw can have happened: a linearizability checker.

Each call took effect at one moment between its start and its end. The outcomes are possible when
there is an order of all calls that respects those times and in which each call, made alone, has
the outcome that was seen (Herlihy and Wing, "Linearizability", 1990; the search is that of Wing and
Gong, "Testing and verifying concurrent objects", 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)


class Event(NamedTuple):
    """One call of one process, in nanoseconds of one clock; what it returned, or the errno."""

    start: int
    end: int
    call: str
    args: tuple[str, ...]
    outcome: Any


Step = Callable[[S, Event], S | None]
"""The state after a call, or None when the call cannot have that outcome in the state before."""


def stuck_at(histories: Sequence[Sequence[Event]], initial: S, step: Step[S]) -> list[Event]:
    """The calls of which none can have come next, at the longest way through; [] if possible.

    `histories` has one sequence for each process, in its own order.
    """
    start = (0,) * len(histories)
    seen = {(start, initial)}
    ways: list[tuple[tuple[int, ...], S]] = [(start, initial)]
    furthest = start
    while ways:
        position, state = ways.pop()
        furthest = max(furthest, position, key=sum)
        candidates = _next_calls(histories, position)
        if not candidates:
            return []
        for process in candidates:
            after = step(state, histories[process][position[process]])
            if after is None:
                continue
            way = (*position[:process], position[process] + 1, *position[process + 1 :]), after
            if way not in seen:
                seen.add(way)
                ways.append(way)
    return [histories[process][furthest[process]] for process in _next_calls(histories, furthest)]


def _next_calls(histories: Sequence[Sequence[Event]], position: tuple[int, ...]) -> list[int]:
    """The processes whose next call may be the next of all: it began before every other ended."""
    waiting = {
        process: history[at]
        for process, (history, at) in enumerate(zip(histories, position, strict=True))
        if at < len(history)
    }
    first_end = min((event.end for event in waiting.values()), default=0)
    return [process for process, event in waiting.items() if event.start <= first_end]
