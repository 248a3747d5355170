"""How a tier policy answered the reads of an access log over time, by replay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tierfs.common.units import SECOND
from tierfs.policy.model import Policy
from tierfs.tiering.access_log import Line, Use
from tierfs.tiering.replay.flash import Answered, Ledger
from tierfs.tiering.replay.simulator import Played, SimulatedFlash, play

MOST_SLOTS: Final = 96
"""Slots of time that a history has at most, at least half as many unless it is short."""


@dataclass(slots=True)
class Slot:
    """Reads that began in it, and bytes: all, and those that flash answered."""

    reads: int = 0
    hits: int = 0
    size: int = 0
    size_hit: int = 0

    def add(self, other: Slot) -> None:
        """Count another's as well."""
        self.reads += other.reads
        self.hits += other.hits
        self.size += other.size
        self.size_hit += other.size_hit


class Slots:
    """Slots of equal length, which doubles when there are too many; times in nanoseconds."""

    def __init__(self) -> None:
        self.begin = 0
        self.length = SECOND
        self.slots: list[Slot] = []

    def note(self, use: Use, answered: Answered) -> None:
        """Count a line of reads; time may not go back."""
        if not self.slots:
            self.begin = use.time
        while (number := (use.time - self.begin) // self.length) >= MOST_SLOTS:
            self.length *= 2
            for first, second in zip(self.slots[::2], self.slots[1::2], strict=False):
                first.add(second)
            self.slots = self.slots[::2]
        while len(self.slots) <= number:
            self.slots.append(Slot())
        self.slots[number].add(Slot(use.reads, answered.reads, use.size, answered.size))


@dataclass(frozen=True, slots=True)
class History:
    """What was played, what was counted in all, and over time."""

    played: Played
    ledger: Ledger
    slots: Slots


def history(lines: Iterable[Line], policy: Policy, flash: int) -> History:
    """Replay a log under ``policy`` on ``flash`` bytes of flash.

    Raises:
        UsageError: the log cannot be read.
    """
    slots = Slots()
    played_on = SimulatedFlash(policy, flash, note=slots.note)
    played = play(lines, [played_on])
    return History(played, played_on.ledger, slots)
