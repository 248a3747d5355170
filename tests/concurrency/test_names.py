"""Processes that make, move and remove the same names."""

from __future__ import annotations

import os

import pytest

from tests.concurrency.consistent import check_volume
from tests.concurrency.crowd import Job, crowd, histories
from tests.concurrency.history import stuck_at
from tests.concurrency.namespace import initial, step
from tests.concurrency.worker import FOLDERS
from tests.support.places import Place

ROUNDS = int(os.environ.get("TIERFS_CONCURRENCY_ROUNDS", "3"))
CALLS = 150
WORKERS = 4
TURNS = 30


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_every_outcome_is_one_of_some_order(place: Place, seed: int) -> None:
    for folder in FOLDERS:
        (place.path / folder).mkdir()
    seen = histories(crowd(place.path, Job("names", WORKERS, CALLS), seed=seed))
    assert stuck_at(seen, initial(FOLDERS), step) == []
    assert sum(len(history) for history in seen) == WORKERS * CALLS
    check_volume(place)


def test_one_wins_each_race(place: Place) -> None:
    """Of several that make or remove one name, one succeeds."""
    for turn in range(TURNS):
        for name in (f"there-unlink-{turn}", f"moving-rename-{turn}"):
            (place.path / name).touch()
    winners = crowd(place.path, Job("race", WORKERS, TURNS))
    for kind in winners[0]:
        won = sorted(turn for winner in winners for turn in winner[kind])
        assert won == list(range(TURNS)), kind
    # Who made a link is told by its file's second name, and who renamed by the new name.
    for number, winner in enumerate(winners):
        assert (place.path / f"mine-{number}").stat().st_nlink == 1 + len(winner["link"])
        for turn in winner["rename"]:
            assert (place.path / f"moved-rename-{turn}-{number}").exists()
