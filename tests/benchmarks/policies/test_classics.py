"""The policies of the literature, on sequences worked out by hand, and what all have in common."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.policies import policies
from tests.benchmarks.policies.simulate import Access, OverFull, Workload, simulate
from tierfs.common.units import SECOND


def workload(names: str | Sequence[int], size: int = 1) -> Workload:
    """Reads of files called by letters, one a second."""
    inos = [ord(name) for name in names] if isinstance(names, str) else names
    return Workload("test", [Access(n * SECOND, ino, size) for n, ino in enumerate(inos)])


def hits(policy: str, names: str, flash: int) -> str:
    """The reads that hit, as letters, others as dots."""
    made = workload(names)
    cache = policies.make(policy, flash, made)
    found = [cache.access(access, n) for n, access in enumerate(made.accesses)]
    return "".join(name if hit else "." for name, hit in zip(names, found, strict=True))


def test_lru_evicts_what_was_read_least_recently() -> None:
    assert hits("lru", "abcabc", 2) == "......"
    assert hits("lru", "abacab", 2) == "..a.a."


def test_lfu_evicts_what_was_read_least_often() -> None:
    assert hits("lfu", "aabcbca", 2) == ".a....."
    assert hits("lfu", "aabbcba", 2) == ".a.b.b."


def test_sieve_keeps_what_was_used_since_the_hand_came_by() -> None:
    assert hits("sieve", "abacad", 2) == "..a.a."
    assert hits("sieve", "abcabdea", 3) == "...ab..."


def test_s3_fifo_lets_files_read_once_pass_through_the_small_queue() -> None:
    often = "abcd" * 4
    assert hits("s3-fifo", often + "uvwxyz" + "abcd", 10)[-4:] == "abcd"
    assert hits("lru", often + "klmnopuvwxyz" + "abcd", 10)[-4:] == "...."
    assert hits("s3-fifo", often + "klmnopuvwxyz" + "abcd", 10)[-4:] == "abcd"


def best(inos: Sequence[int], flash: int) -> int:
    """The most hits that are possible with files of size 1, by trying everything."""
    states: dict[frozenset[int], int] = {frozenset(): 0}
    for ino in inos:
        following: dict[frozenset[int], int] = {}
        for state, count in states.items():
            after = state | {ino}
            for kept in combinations(sorted(after), min(flash, len(after))):
                key = frozenset(kept)
                following[key] = max(following.get(key, 0), count + (ino in state))
        states = following
    return max(states.values())


@given(st.lists(st.integers(1, 5), max_size=12), st.integers(1, 3))
def test_belady_is_the_optimum_for_files_of_one_size(inos: list[int], flash: int) -> None:
    made = workload(inos)
    assert simulate(policies.make("belady", flash, made), made, flash).hits == best(inos, flash)


USES = st.tuples(st.integers(1, 12), st.booleans())


@pytest.mark.parametrize("name", policies.MAKERS)
@given(uses=st.lists(USES, max_size=60), flash=st.integers(1, 40))
def test_flash_is_never_over_full_and_a_hit_was_held(
    name: str, uses: list[tuple[int, bool]], flash: int
) -> None:
    accesses = [
        Access(n * SECOND, ino, 1 + ino * 3 % 11, write) for n, (ino, write) in enumerate(uses)
    ]
    made = Workload("test", accesses)
    policy = policies.make(name, flash, made)
    for number, access in enumerate(accesses):
        held = policy.holds(access.ino)
        assert policy.access(access, number) == held
        assert policy.used == sum(1 + ino * 3 % 11 for ino in range(1, 13) if policy.holds(ino))
        assert policy.used <= flash


def test_reads_hits_and_bytes_are_counted_from_a_moment_on() -> None:
    accesses = [
        Access(0, 1, 10),
        Access(1, 2, 5, write=True),
        Access(2, 2, 5),
        Access(3, 3, 20),
        Access(4, 1, 10),
    ]
    made = Workload("test", accesses, counted_from=1)
    outcome = simulate(policies.make("lru", 100, made), made, 100)
    assert (outcome.reads, outcome.hits) == (3, 2)
    assert (outcome.bytes_read, outcome.bytes_hit, outcome.moved) == (35, 15, 20)
    assert outcome.hit_rate == 2 / 3
    assert outcome.byte_hit_rate == 15 / 35


def test_a_policy_that_keeps_too_much_is_found_out() -> None:
    made = workload("abc")
    with pytest.raises(OverFull, match="Lru keeps 3 bytes on 2 of flash"):
        simulate(policies.make("lru", 3, made), made, 2)
