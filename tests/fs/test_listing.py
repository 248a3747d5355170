from __future__ import annotations

import errno
import tempfile
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fs.calls import DIRECTORY, fails, make, names_in
from tests.metadata.rows import INSERT_INODES
from tests.support.fixtures import directory
from tests.support.volumes import LooseVolume, make_tiers, volume_settings
from tierfs.fs.volume import format_volume
from tierfs.metadata.dentries import Dentry
from tierfs.metadata.inodes import ROOT

FILL = f"""
WITH RECURSIVE n(i) AS (SELECT 100000 UNION ALL SELECT i + 1 FROM n LIMIT ?)
{INSERT_INODES} SELECT i, 33188, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, NULL, 0, 0, 0 FROM n
"""  # noqa: S608 - SQL of our own
MANY = 200_000


def test_a_listing_begins_with_the_dots(small: LooseVolume) -> None:
    sub = make(small, b"sub", DIRECTORY)
    below = make(small, b"below", DIRECTORY, sub.ino)
    dots = [(e.name, e.cookie, e.inode.ino) for e in small.fs.listing.after(below.ino)]
    assert dots == [(b".", 1, below.ino), (b"..", 2, sub.ino)]
    root = [(e.name, e.inode.ino) for e in small.fs.listing.after(ROOT)]
    assert root == [(b".", ROOT), (b"..", ROOT), (b"sub", sub.ino)]
    assert [e.name for e in small.fs.listing.after(ROOT, 1)] == [b"..", b"sub"]
    assert [e.name for e in small.fs.listing.after(ROOT, 2)] == [b"sub"]


def test_only_a_directory_is_listed(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    with fails(errno.ENOTDIR):
        list(small.fs.listing.after(ino))
    with fails(errno.ESTALE):
        list(small.fs.listing.after(10**9))


def test_a_reference_is_taken_on_what_the_kernel_is_told_of(small: LooseVolume) -> None:
    ino = make(small, b"file").ino
    for entry in small.fs.listing.after(ROOT):
        small.fs.listing.count_lookup(entry)
    assert small.fs.lookup_counts.count(ino) == 2
    assert small.fs.lookup_counts.count(ROOT) == 0


@pytest.fixture(scope="module")
def shared() -> Iterator[LooseVolume]:
    """One volume for all examples; each makes a directory of its own."""
    with directory(Path(tempfile.gettempdir())) as home:
        volume = LooseVolume(volume_settings(home))
        make_tiers(volume.settings)
        format_volume(volume.settings)
        volume.open()
        yield volume
        volume.close()


def test_what_is_made_or_renamed_meanwhile_is_not_listed_for_ever(small: LooseVolume) -> None:
    """One new name and one rename for each entry that a program reads: the listing ends."""
    for number in range(200):
        make(small, b"%d" % number)
    seen = []
    for entry in small.fs.listing.after(ROOT, 2):
        seen.append(entry.name)
        small.fs.names.rename(ROOT, entry.name, ROOT, b"renamed-" + entry.name)
        make(small, b"new-" + entry.name)
        assert len(seen) <= 200
    assert sorted(seen) == sorted(b"%d" % number for number in range(200))


names = st.sampled_from([b"%d" % number for number in range(8)])
changes = st.one_of(
    st.tuples(st.just("create"), names, names),
    st.tuples(st.just("unlink"), names, names),
    st.tuples(st.just("rename"), names, names),
    st.tuples(st.just("link"), names, names),
)


@given(
    st.lists(changes, max_size=12),
    st.lists(st.tuples(st.integers(1, 4), st.lists(changes, max_size=4)), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_a_listing_in_progress_misses_and_repeats_nothing(
    shared: LooseVolume,
    first: list[tuple[str, bytes, bytes]],
    steps: list[tuple[int, list[tuple[str, bytes, bytes]]]],
) -> None:
    """A name there all the time is listed once; no name is listed twice unless made anew."""
    ino = make(shared, b"%d" % shared.clock.tick(), DIRECTORY).ino
    for change in first:
        apply(shared, ino, change)
    there_all_the_time = set(names_in(shared, ino))
    made: list[bytes] = []
    listed: list[Dentry] = []
    for count, between in [*steps, (100, [])]:
        cookie = listed[-1].cookie if listed else 0
        listed += islice(shared.fs.listing.after(ino, cookie), count)
        for change in between:
            had = set(names_in(shared, ino))
            apply(shared, ino, change)
            has = set(names_in(shared, ino))
            made += has - had
            there_all_the_time &= has
    seen = [entry.name for entry in listed]
    assert [entry.cookie for entry in listed] == sorted({entry.cookie for entry in listed})
    assert seen[:2] == [b".", b".."]
    for name in there_all_the_time:
        assert seen.count(name) == 1
    for name in set(seen):
        assert seen.count(name) <= 1 + made.count(name)


def apply(volume: LooseVolume, ino: int, change: tuple[str, bytes, bytes]) -> None:
    """Do it where it can be done."""
    action, name, other = change
    have = set(names_in(volume, ino))
    if action == "create" and name not in have:
        make(volume, name, parent=ino)
    elif action == "unlink" and name in have:
        volume.fs.names.unlink(ino, name)
    elif action == "rename" and name in have:
        volume.fs.names.rename(ino, name, ino, other)
    elif action == "link" and name in have and other not in have:
        found = volume.fs.names.lookup(ino, name)
        volume.fs.names.link(found.ino, ino, other)


def test_a_huge_directory_lists_in_bounded_memory(small: LooseVolume) -> None:
    ino = make(small, b"huge", DIRECTORY).ino
    fill(small, ino)
    tracemalloc.start()
    try:
        count = sum(1 for _ in small.fs.listing.after(ino))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == MANY + 2
    assert peak < 4 * 1024 * 1024


def fill(volume: LooseVolume, ino: int) -> None:
    """Give a directory MANY files, in one transaction."""
    with volume.index.transaction():
        volume.index._database.execute(
            FILL,
            MANY,
        )
        volume.index._database.execute(
            "INSERT INTO entry SELECT ?, CAST('name-' || ino AS BLOB), ino, ino"
            " FROM inode WHERE ino >= 100000",
            ino,
        )
