from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from tierfs.warming.order import Found, in_disk_order

FOUND = st.builds(
    Found, st.integers(1, 2), st.integers(1, 50), st.binary(max_size=3), st.booleans()
)


@given(st.lists(FOUND), st.integers(1, 10))
def test_each_window_is_sorted_and_nothing_is_lost(found: list[Found], window: int) -> None:
    expected = [one for batch in batches(found, window) for one in sorted(batch)]
    assert list(in_disk_order(found, window)) == expected


def batches(found: list[Found], size: int) -> Iterator[list[Found]]:
    for start in range(0, len(found), size):
        yield found[start : start + size]


def test_no_more_than_a_window_is_taken_ahead() -> None:
    taken = 0

    def endless() -> Iterator[Found]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield Found(1, -number, b"", was_cached=False)

    ordered = in_disk_order(endless(), window=100)
    assert [next(ordered).inode for _ in range(100)] == list(range(-99, 1))
    assert taken == 100
    next(ordered)
    assert taken == 200
