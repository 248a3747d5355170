from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.common.times import EARLIEST, LATEST, from_stored, nearest, to_stored
from tierfs.common.units import SECOND

FIRST, LAST = EARLIEST * SECOND, LATEST * SECOND


@pytest.mark.parametrize(
    ("time", "kept"),
    {
        -1: -1,
        0: 0,
        1_700_000_000_123_456_789: 1_700_000_000_123_456_789,
        2**63 + 5: 2**63 + 5,
        FIRST + SECOND: FIRST + SECOND,
        FIRST + 7: FIRST,
        -(2**70): FIRST,
        LAST - 1: LAST - 1,
        LAST + 7: LAST,
        2**70: LAST,
    }.items(),
)
def test_a_time_outside_becomes_the_nearest(time: int, kept: int) -> None:
    assert nearest(time) == kept


@given(st.integers(FIRST, LAST))
def test_every_time_has_64_bits(time: int) -> None:
    stored = to_stored(time)
    assert -(2**63) <= stored < 2**63
    assert from_stored(stored) == time


@pytest.mark.parametrize(
    ("time", "stored"),
    [(FIRST, FIRST), (0, 0), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (LAST, LAST - 2**64)],
)
def test_times_up_to_2262_are_stored_as_they_are(time: int, stored: int) -> None:
    assert to_stored(time) == stored
    assert from_stored(stored) == time
