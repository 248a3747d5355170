"""Processes that append to, cut, replace and read the same files."""

from __future__ import annotations

import os

import pytest

from tests.concurrency.consistent import check_volume
from tests.concurrency.crowd import Job, crowd, histories
from tests.concurrency.history import Event, stuck_at
from tests.concurrency.records import turns_by_writer
from tests.concurrency.worker import SIZED, is_pattern
from tests.support.places import Place

ROUNDS = int(os.environ.get("TIERFS_CONCURRENCY_ROUNDS", "3"))
WRITERS = 8
RECORDS = 40


def test_append_from_eight_processes_loses_no_record(place: Place) -> None:
    crowd(place.path, Job("append", WRITERS, RECORDS))
    expected = {writer: list(range(RECORDS)) for writer in range(WRITERS)}
    assert turns_by_writer((place.path / "log").read_bytes()) == expected
    place.remount()
    assert turns_by_writer((place.path / "log").read_bytes()) == expected


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_every_size_is_one_of_some_order(place: Place, seed: int) -> None:
    for name in SIZED:
        (place.path / name).touch()
    seen = histories(crowd(place.path, Job("sizes", 4, 150), seed=seed))
    for name in SIZED:
        of_one = [[event for event in each if event.args[:1] == (name,)] for each in seen]
        assert stuck_at(of_one, 0, resized) == []


def resized(size: int, event: Event) -> int | None:
    """The size after the call, or None if it cannot have had its outcome."""
    if event.call == "append":
        return size + int(event.args[1]) if event.outcome is None else None
    if event.call == "truncate":
        return int(event.args[1]) if event.outcome is None else None
    return size if event.outcome == size else None


def test_a_mixture_shows_nothing_that_nobody_wrote(place: Place) -> None:
    (place.path / "sub").mkdir()
    counts = crowd(place.path, Job("mixture", 6, 80))
    outcomes = {outcome for each in counts for outcome in each if " " in outcome}
    # The one error that is possible: somebody else has removed the file.
    assert all(outcome.endswith(" ENOENT") for outcome in outcomes)
    before = contents(place)
    assert all(is_pattern(data) for data in before.values())
    place.remount()
    assert contents(place) == before
    check_volume(place)


def contents(place: Place) -> dict[str, bytes]:
    """Every file below, which are only those that the workers use."""
    files = [path for path in place.path.rglob("*") if path.is_file()]
    assert {path.name for path in files} <= {"f", "g"}
    return {str(path.relative_to(place.path)): path.read_bytes() for path in files}
