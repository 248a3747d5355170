"""Processes at work in the same directories and files see only what is possible.

TIERFS_OPERATIONS=N sets how many calls the run of everything makes, TIERFS_CONCURRENCY_ROUNDS=N how
many seeds each of the others takes; TIERFS_SEED=N sets the first. A run by seed issues the same
calls in the same order of beginnings and ends whenever it is repeated with its seed.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from tests.concurrency.conductor import Plan
from tests.concurrency.consistent import check_nothing_is_left, check_volume
from tests.concurrency.trial import Trial
from tests.support.mounting import Mount
from tests.support.places import Place

pytestmark = pytest.mark.alone

OPERATIONS = int(os.environ.get("TIERFS_OPERATIONS", "1000"))
"""In the long run 10,000."""

ROUNDS = int(os.environ.get("TIERFS_CONCURRENCY_ROUNDS", "1"))
SEED = int(os.environ.get("TIERFS_SEED", str(random.randrange(2**32))))
LIMIT = 100 + OPERATIONS // 10
"""Seconds that a run may take, on a slow machine with other work."""

LENGTHS = {"names": 150, "files": 150, "sizes": 150, "listings": 60, "loose": 80, "race": 220}
"""Calls of each process of a run."""


@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("profile", LENGTHS)
def test_every_outcome_is_one_of_some_order(place: Place, profile: str, turn: int) -> None:
    trial = Trial(
        Plan(profile, SEED + turn, LENGTHS[profile], head_of(place)), place.path / "trial"
    )
    trial.freely()
    finish(trial, place)


@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("profile", ["names", "files", "sizes"])
def test_every_outcome_of_a_schedule_is_one_of_some_order(
    place: Place, profile: str, turn: int
) -> None:
    trial = Trial(
        Plan(profile, SEED + turn, LENGTHS[profile] // 2, head_of(place)), place.path / "trial"
    )
    trial.by_seed()
    finish(trial, place)


def test_append_from_eight_processes_loses_no_record(place: Place) -> None:
    trial = Trial(Plan("records", SEED, 40, head_of(place), workers=8), place.path / "trial")
    trial.freely()
    finish(trial, place)


@pytest.mark.timeout(2 * LIMIT)
def test_everything_at_once(place: Place) -> None:
    plan = Plan("all", SEED, 0, head_of(place))
    trial = Trial(replace(plan, length=OPERATIONS // plan.workers), place.path / "trial")
    trial.freely(LIMIT)
    assert len(trial.history) >= OPERATIONS
    finish(trial, place)
    if isinstance(place, Mount):
        check_nothing_is_left(place)


def finish(trial: Trial, place: Place) -> None:
    """Look at what was seen, and what is there now and after a remount."""
    models = trial.check()
    check_volume(place)  # which unmounts it and mounts it again
    trial.check_later(models)


def head_of(place: Place) -> int:
    return place.head if isinstance(place, Mount) else 65536
