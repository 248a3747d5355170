"""Hits over time, from a replayed log."""

from __future__ import annotations

from pathlib import Path

from tierfs.common.units import KIB, MIB, SECOND
from tierfs.policy.tier_policy import parse_policy
from tierfs.tiering.access_log import FileFacts, Line, Use
from tierfs.tiering.replay.flash import Answered
from tierfs.tiering.replay.history import MOST_SLOTS, Slots, history


def test_slots_double_their_length_and_lose_nothing() -> None:
    slots = Slots()
    use = Use(0, 1, 10, 2)
    for second in range(1000):
        slots.note(use._replace(time=(7 + second) * SECOND), Answered(1, 5))
    assert slots.begin == 7 * SECOND
    assert MOST_SLOTS // 2 <= len(slots.slots) <= MOST_SLOTS
    assert slots.length == 16 * SECOND
    assert [sum(getattr(slot, name) for slot in slots.slots) for name in ("reads", "hits")] == [
        2000,
        1000,
    ]
    assert slots.slots[0].size == 16 * 10
    assert slots.slots[0].size_hit == 16 * 5


def test_an_hour_without_reads_has_empty_slots() -> None:
    slots = Slots()
    for second in (0, 3600):
        slots.note(Use(second * SECOND, 1, 10), Answered(1, 10))
    assert slots.slots[0].reads == slots.slots[-1].reads == 1
    assert not any(slot.reads for slot in slots.slots[1:-1])


def test_the_slots_add_up_to_what_was_counted() -> None:
    policy = parse_policy(Path("policy.yaml"), "version: 1\nflash: {reserve: 0}\n")
    lines: list[Line] = [FileFacts(1, 64 * KIB, 0, 0, 0, 0, (b"/a",))]
    lines += [Use(step * 10 * SECOND, 1, 64 * KIB) for step in range(1, 40)]
    told = history(lines, policy, 10 * MIB)
    assert told.ledger.reads == sum(slot.reads for slot in told.slots.slots) == 39
    assert told.ledger.hits == sum(slot.hits for slot in told.slots.slots) == 38
    assert told.slots.slots[0].hits == 0
