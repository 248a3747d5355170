from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.common.extents import (
    MAX_FILE_SIZE,
    WHOLE_FILE,
    Extent,
    Lengths,
    Split,
    clip,
    object_lengths,
    split,
)

offsets = st.integers(0, 2**40) | st.integers(0, 20)
lengths = st.integers(0, 2**30) | st.integers(0, 20)
extents = st.builds(Extent, offsets, lengths)
prefixes = (
    st.sampled_from([0, 4096, 65536, WHOLE_FILE]) | st.integers(0, 20) | st.integers(0, 2**41)
)


@given(extents, prefixes)
def test_the_parts_are_the_whole_without_gap_or_overlap(extent: Extent, prefix: int) -> None:
    parts = [part for part in split(extent, prefix) if part is not None]
    assert sum(part.length for part in parts) == extent.length
    assert all(part.length > 0 for part in parts)
    if parts:
        assert parts[0].offset == extent.offset
        assert parts[-1].end == extent.end
    if len(parts) == 2:
        assert parts[0].end == parts[1].offset == prefix


@given(extents, prefixes)
def test_each_part_lies_on_its_side_of_the_prefix(extent: Extent, prefix: int) -> None:
    flash, disk = split(extent, prefix)
    assert flash is None or flash.end <= prefix
    assert disk is None or disk.offset >= prefix


@pytest.mark.parametrize(
    ("extent", "prefix", "parts"),
    [
        (Extent(0, 10), 10, Split(Extent(0, 10), None)),
        (Extent(0, 11), 10, Split(Extent(0, 10), Extent(10, 1))),
        (Extent(10, 1), 10, Split(None, Extent(10, 1))),
        (Extent(9, 2), 10, Split(Extent(9, 1), Extent(10, 1))),
        (Extent(0, 5), 0, Split(None, Extent(0, 5))),
        (Extent(2**40, 5), WHOLE_FILE, Split(Extent(2**40, 5), None)),
        (Extent(3, 0), 10, Split(None, None)),
    ],
)
def test_split_at_the_edges(extent: Extent, prefix: int, parts: Split) -> None:
    assert split(extent, prefix) == parts


@given(extents, offsets)
def test_what_is_clipped_lies_in_the_file(extent: Extent, size: int) -> None:
    clipped = clip(extent, size)
    assert clipped.offset == extent.offset
    assert 0 <= clipped.length <= extent.length
    assert clipped.length == 0 or clipped.end <= size
    # Nothing inside the file is lost.
    assert clipped.length == len(range(extent.offset, min(extent.end, size)))


@given(offsets, prefixes)
def test_every_byte_of_a_file_is_in_the_object_that_split_names(size: int, prefix: int) -> None:
    flash, disk = split(Extent(0, size), prefix)
    assert object_lengths(size, prefix) == Lengths(
        flash.end if flash else 0, disk.end if disk else 0
    )


@given(offsets, offsets, prefixes)
def test_a_larger_file_never_has_a_shorter_object(one: int, other: int, prefix: int) -> None:
    small, large = (object_lengths(size, prefix) for size in sorted((one, other)))
    assert small.flash <= large.flash
    assert small.disk <= large.disk


def test_the_largest_file_can_be_on_either_side() -> None:
    assert object_lengths(MAX_FILE_SIZE, WHOLE_FILE) == (MAX_FILE_SIZE, 0)
    assert object_lengths(MAX_FILE_SIZE, 0) == (0, MAX_FILE_SIZE)
