"""The garbage collector leaves alone what the daemon was started with."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tierfs.daemon.session import GARBAGE_THRESHOLD, spare_garbage_collector


@pytest.fixture
def thresholds() -> Iterator[tuple[int, int, int]]:
    """Those before the test, which they are again after it."""
    before = gc.get_threshold()
    yield before
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_was_made_at_the_start_is_not_looked_at_again(
    thresholds: tuple[int, int, int],
) -> None:
    spare_garbage_collector()
    assert gc.get_freeze_count() > 10_000
    assert len(gc.get_objects()) < 1000
    assert gc.get_threshold() == (GARBAGE_THRESHOLD, *thresholds[1:])


def test_cycles_are_still_found(thresholds: tuple[int, int, int]) -> None:
    spare_garbage_collector()
    found = _collected()
    for _ in range(2 * GARBAGE_THRESHOLD):
        cycle: list[object] = []
        cycle.append(cycle)
    assert _collected() >= found + GARBAGE_THRESHOLD // 2
    assert thresholds[0] < GARBAGE_THRESHOLD


def _collected() -> int:
    return sum(generation["collected"] for generation in gc.get_stats())
