"""A listing shows what was there throughout exactly once, whatever happens beside it."""

from __future__ import annotations

from collections import Counter

from tests.concurrency.crowd import Job, crowd
from tests.concurrency.worker import CHURNERS
from tests.support.places import Place

STABLE = 1000
"""Entries: enough for several requests of the kernel."""


def test_listing_while_names_come_and_go(place: Place) -> None:
    stable = {f"stable-entry-{number:06}" for number in range(STABLE)}
    for name in stable:
        (place.path / name).touch()
    seen = crowd(place.path, Job("listing", 2, 15), Job("churn", CHURNERS, 200))
    listings = [listing for lister in seen[:2] for listing in lister]
    churned = 0
    for listing in listings:
        counts = Counter(listing)
        assert stable <= counts.keys()
        assert max(counts.values()) == 1
        churned += len(counts.keys() - stable)
    assert churned  # the listings did meet the others
