"""What directories have on each tier is summed up from the index."""

from __future__ import annotations

from tierfs.metadata.reader import DirectoryBytes
from tierfs.tiering.disk_usage import roll_up

PARENTS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 1}
"""/ (1) has a (2) and b (5); a has c (3), which has d (4)."""

OWN = {directory: DirectoryBytes(1, 10**directory, 2, 1) for directory in PARENTS}


def sizes(shown: dict[int, DirectoryBytes]) -> dict[int, int]:
    return {directory: counted.size for directory, counted in shown.items()}


def test_what_is_below_counts() -> None:
    shown = roll_up(PARENTS, OWN, 1, 1)
    assert sizes(shown) == {1: 111_110, 2: 11_100, 5: 100_000}
    assert shown[1] == DirectoryBytes(5, 111_110, 10, 5)


def test_depth_zero_is_the_directory_alone() -> None:
    assert sizes(roll_up(PARENTS, OWN, 2, 0)) == {2: 11_100}


def test_an_empty_directory_is_shown() -> None:
    assert sizes(roll_up(PARENTS, {}, 5, 9)) == {5: 0}


def test_directories_that_were_moved_meanwhile_end_no_search() -> None:
    """2 was read below 3 and 3 below 2; both may be anywhere, and are below nothing."""
    assert sizes(roll_up({1: 1, 2: 3, 3: 2, 5: 1}, OWN, 1, 9)) == {1: 100_010, 5: 100_000}
    assert sizes(roll_up({1: 1, 2: 2, 5: 1}, OWN, 1, 9)) == {1: 100_010, 5: 100_000}
    assert sizes(roll_up({1: 1, 4: 3, 5: 1}, OWN, 1, 9)) == {1: 100_010, 5: 100_000}
