"""In which order calls begin and are waited for: drawn from a seed, or taken from a history."""

from __future__ import annotations

import random
from typing import NamedTuple

from tests.concurrency.calls import Event

AT_ONCE = 0.6
"""How likely another call begins before one that is under way is waited for."""


class Instant(NamedTuple):
    """The next call of a process begins, or the one that it is at has to end."""

    worker: int
    is_end: bool


def drawn(seed: int, lengths: list[int]) -> list[Instant]:
    """A schedule for processes with so many calls each; it depends on nothing else."""
    chance = random.Random(f"schedule {seed}")
    left, busy = list(lengths), set[int]()
    instants: list[Instant] = []
    while busy or any(left):
        idle = [worker for worker, count in enumerate(left) if count and worker not in busy]
        ends = not idle or (bool(busy) and chance.random() > AT_ONCE)
        worker = chance.choice(sorted(busy) if ends else idle)
        instants.append(Instant(worker, ends))
        if ends:
            busy.remove(worker)
        else:
            busy.add(worker)
            left[worker] -= 1
    return instants


def recorded(history: list[Event]) -> list[Instant]:
    """The order in which the calls of a history began and ended, beginnings first."""
    begins = [(event.began_ns, False, event.worker) for event in history]
    ends = [(event.ended_ns, True, event.worker) for event in history]
    return [Instant(worker, is_end) for _, is_end, worker in sorted(begins + ends)]
