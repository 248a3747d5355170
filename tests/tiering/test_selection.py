"""The planners as pure functions: what they promise, whatever the files."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import DAY, GIB, KIB, MIB, SECOND
from tierfs.metadata.inodes import Inode
from tierfs.policy.model import Decision, Evict, Flash, Mark, Promote, Settings
from tierfs.tiering.heat import Heat
from tierfs.tiering.model import DEBOUNCE, Target, due, missing, on_flash, pinned_by_hand
from tierfs.tiering.replacement import Item
from tierfs.tiering.selection import (
    Candidate,
    Census,
    Evictable,
    EvictionPool,
    Resident,
    forced,
    promotions,
    resident_of,
    to_evict,
)
from tierfs.tiering.target import target_of
from tierfs.tiering.watermarks import levels_of

NOW = 1_700_000_000 * SECOND

HEAD = 64 * KIB

quick = budget(max_examples=40, deadline=None)

sizes = st.integers(0, 4 * MIB)

prefixes = st.sampled_from([0, 4 * KIB, HEAD, MIB, WHOLE_FILE])


def inode(ino: int = 7, size: int = HEAD, prefix: int = HEAD, age: int = DAY) -> Inode:
    then = NOW - age
    mode = stat.S_IFREG | 0o644
    return Inode(ino, mode, 0, 0, 1, size, 0, then, then, then, prefix, 0, 1, None, 0, 0)


def settings(
    head: int = HEAD,
    *,
    pin: bool = False,
    promote: Promote | None = None,
    evict: Evict = "heat",
    rank: int = 0,
) -> Settings:
    return Settings(head, pin, "async", promote, evict, "standard", rank)


def target(decided: Settings, reads: int | None = 0) -> Target:
    return target_of(Decision("rule", decided), lambda _within: reads)


targets = st.builds(
    target,
    st.builds(
        settings,
        prefixes,
        pin=st.booleans(),
        evict=st.sampled_from(["heat", "lru", "never"]),
        rank=st.integers(0, 2),
    ),
)

inodes = st.builds(
    inode,
    st.integers(1, 50),
    sizes,
    prefixes,
    st.sampled_from([0, DEBOUNCE // 2, DEBOUNCE, DAY]),
)


@st.composite
def pools(draw: st.DrawFn) -> tuple[Heat, list[Resident]]:
    """The residents of some files, the coldest first, and their heat."""
    heat, pool = Heat(64), EvictionPool()
    for row in draw(st.lists(inodes, max_size=12)):
        resident = resident_of(row, draw(targets), NOW)
        if resident is not None:
            pool.offer(heat, resident, NOW)
        if draw(st.booleans()):
            heat.feed([(row.ino, 1, row.size)], NOW - draw(st.integers(0, 5)) * 3600 * SECOND)
    return heat, pool.coldest()


# ---------------------------------------------------------------- levels


@quick
@given(
    capacity=st.integers(0, 1024 * GIB),
    high=st.floats(1, 100),
    gap=st.floats(0.1, 50),
    reserve=st.integers(0, 2048 * GIB),
    used=st.floats(0, 1),
)
def test_levels_keep_the_reserve_and_their_order(
    capacity: int, high: float, gap: float, reserve: int, used: float
) -> None:
    levels = levels_of(
        Flash(Mark(high), Mark(max(0.1, high - gap)), reserve, ("standard",)), capacity
    )
    in_use = int(capacity * used)
    assert 0 <= levels.low <= levels.high <= capacity
    assert levels.high <= capacity - min(reserve, capacity // 2)
    excess = levels.excess(in_use)
    assert bool(excess) == (in_use > levels.high)
    assert excess == 0 or in_use - excess == levels.low
    assert in_use + levels.room(in_use) <= max(in_use, levels.low)
    assert in_use + levels.headroom(in_use) <= max(in_use, levels.high)


# ---------------------------------------------------------------- targets


@quick
@given(inodes, targets)
def test_what_is_pinned_or_never_goes_does_not_go(row: Inode, decided: Target) -> None:
    resident = resident_of(row, decided, NOW)
    assert resident_of(row, pinned_by_hand(decided), NOW) is None
    if decided.pinned or decided.evict == "never":
        assert resident is None


@quick
@given(inodes, targets)
def test_a_step_down_frees_bytes_and_leaves_the_head_first(row: Inode, decided: Target) -> None:
    resident = resident_of(row, decided, NOW)
    if resident is not None:
        assert resident.item.size == on_flash(row) - min(row.size, resident.prefix) > 0
        assert resident.prefix == (decided.head if on_flash(row) > decided.head else 0)


@quick
@given(inodes, targets)
def test_what_is_due_is_not_due_when_it_is_done(row: Inode, decided: Target) -> None:
    move = due(row, decided)
    if move is not None:
        assert due(row._replace(prefix=move.prefix), decided) is None


def test_promotion_is_wanted_after_enough_reads() -> None:
    rule = settings(promote=Promote(3, 3600 * SECOND))
    assert target(rule, 2).prefix == target(rule, None).prefix == HEAD
    assert target(rule, 3).prefix == WHOLE_FILE
    assert target(rule, 3).reason == "promote"
    assert target(settings(head=0)).reason == "head: none"


# ---------------------------------------------------------------- eviction


@quick
@given(pools(), st.integers(0, 20 * MIB), st.integers(0, 20), st.sampled_from([None, 0, 1]))
def test_victims_free_what_is_needed_or_all_they_may(
    pool: tuple[Heat, list[Resident]], needed: int, most: int, rank: int | None
) -> None:
    _, coldest = pool
    chosen = to_evict(coldest, needed, most, rank)
    allowed = [one for one in coldest if rank is None or one.item.rank <= rank]
    freed = sum(one.item.size for one in chosen)
    assert chosen == allowed[: len(chosen)]
    assert freed >= needed or chosen == allowed[:most]
    assert not chosen or freed - chosen[-1].item.size < needed


@quick
@given(pools())
def test_lower_classes_and_settled_files_are_first(pool: tuple[Heat, list[Resident]]) -> None:
    _, coldest = pool
    order = [(not one.quiet, one.item.rank) for one in coldest]
    assert order == sorted(order)


def test_a_pool_remembers_the_coldest() -> None:
    heat, pool = Heat(4096), EvictionPool(remembered=10)
    for ino in range(1, 1001):
        heat.feed([(ino, 1, HEAD)], NOW - (2000 - ino) * SECOND)
        resident = resident_of(inode(ino), target(settings()), NOW)
        assert resident is not None
        pool.offer(heat, resident, NOW)
    assert [one.item.ino for one in pool.coldest()][:10] == list(range(1, 11))
    assert len(pool) < 20


def test_a_census_tells_the_classes_that_must_give() -> None:
    census = Census()
    assert census.highest_rank(1) is None
    first, second = (
        Resident(Item(rank, 100, 0, rank=rank), 0, quiet=True, here=100) for rank in (0, 1)
    )
    census.count([first, second, second])
    census.end_scan(NOW)
    assert [census.highest_rank(size) for size in (1, 100, 101, 300, 301)] == [0, 0, 1, 1, 1]
    census.gone(first)
    assert census.highest_rank(1) == 1


def test_what_has_gone_counts_neither_in_the_last_scan_nor_in_this_one() -> None:
    census = Census()
    gone = Resident(Item(1, 100, 0), 0, quiet=True, here=100)
    census.count([gone])
    census.end_scan(NOW)
    census.count([gone])
    assert census.evictable == Evictable(100, 1)
    census.gone(gone)
    assert census.evictable == Evictable(0, 0)


# ---------------------------------------------------------------- promotion


candidates = st.lists(
    st.builds(
        Candidate,
        st.integers(1, 60),
        st.just(WHOLE_FILE),
        st.integers(1, 2 * MIB),
        st.just("head"),
        rank=st.integers(0, 2),
    ),
    max_size=10,
    unique_by=lambda candidate: candidate.ino,
)


@quick
@given(pools(), candidates, st.integers(0, 4 * MIB))
def test_promotions_fit_and_take_no_place_twice(
    pool: tuple[Heat, list[Resident]], asking: list[Candidate], room: int
) -> None:
    heat, coldest = pool
    swaps = promotions(heat, asking, room, coldest, NOW)
    gone = [one.item.ino for swap in swaps for one in swap.first]
    assert len(gone) == len(set(gone))
    assert sum(swap.grows for swap in swaps) <= room
    for swap in swaps:
        assert all(one.item.rank <= swap.candidate.rank for one in swap.first)
        assert swap.candidate.ino not in {one.item.ino for one in swap.first}


@quick
@given(pools(), st.integers(1, 8 * MIB), st.integers(0, 4 * MIB))
def test_what_must_come_comes_if_it_fits_at_all(
    pool: tuple[Heat, list[Resident]], size: int, room: int
) -> None:
    _, coldest = pool
    candidate = Candidate(99, WHOLE_FILE, size, "by hand")
    swap = forced(candidate, room, coldest)
    most = room + sum(one.item.size for one in coldest)
    assert (swap is not None) == (size <= most)
    assert swap is None or swap.grows <= room


@quick
@given(st.integers(1, 50), st.integers(1, 50))
def test_equal_files_do_not_take_turns(out: int, inside: int) -> None:
    """Files with the same interval: the one that asks does not push out one that is there."""
    heat, pool = Heat(1024), EvictionPool()
    for visit in range(4):
        heat.feed([(ino, 1, HEAD) for ino in (*range(1, 51), 99)], NOW - (4 - visit) * 600 * SECOND)
    resident = resident_of(inode(inside), target(settings()), NOW)
    assert resident is not None
    pool.offer(heat, resident, NOW)
    candidate = Candidate(99 if out == inside else out, HEAD, HEAD, "head")
    assert promotions(heat, [candidate], 0, pool.coldest(), NOW) == []


@pytest.mark.parametrize(
    ("size", "prefix", "wanted", "less"),
    [
        (100, 0, HEAD, 100),
        (100, HEAD, WHOLE_FILE, 0),
        (MIB, HEAD, WHOLE_FILE, MIB - HEAD),
        (MIB, WHOLE_FILE, HEAD, 0),
        (0, 0, WHOLE_FILE, 0),
    ],
)
def test_what_is_missing_ends_with_the_file(size: int, prefix: int, wanted: int, less: int) -> None:
    assert missing(inode(size=size, prefix=prefix), wanted) == less
