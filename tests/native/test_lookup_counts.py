"""References: what the kernel knows, whoever told it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.metadata.rows import inode
from tests.native.rig import Rig
from tests.native.wire import Op, batch_forget_in, forget_in
from tierfs.metadata.inodes import ROOT


@pytest.fixture
def rig(scratch: Path) -> Iterator[Rig]:
    """With one worker: an answer says that what was sent before it was dealt with."""
    with Rig(scratch, workers=1) as made:
        made.initialise()
        yield made
    made.forget()


numbers = st.one_of(st.integers(1, 12), st.integers(1, 2**64 - 1))
counts = st.integers(0, 5)
steps = st.one_of(
    st.tuples(st.just("add_lookups"), numbers, counts),
    st.tuples(st.just("forget"), numbers, counts),
    st.tuples(st.just("batch"), st.lists(st.tuples(numbers, counts), max_size=6), st.none()),
    st.tuples(st.just("lookup"), numbers, st.none()),
    st.tuples(st.just("orphan"), numbers, st.none()),
)


class Model:
    """What the references should be."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.orphans: set[int] = set()
        self.told: list[int] = []

    def add_lookups(self, ino: int, count: int) -> None:
        self.counts[ino] += count

    def forget(self, ino: int, count: int) -> None:
        known = self.counts[ino] > 0
        self.counts[ino] = max(0, self.counts[ino] - count)
        if known and not self.counts[ino] and ino in self.orphans:
            self.orphans.remove(ino)
            self.told.append(ino)

    def orphan(self, ino: int) -> bool:
        if self.counts[ino]:
            self.orphans.add(ino)
        return not self.counts[ino]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(sequence=st.lists(steps, max_size=60))
def test_lookup_counts_are_conserved(rig: Rig, sequence: list[tuple[str, object, object]]) -> None:
    model = Model()
    for step, ino, count in sequence:
        _apply(rig, model, step, ino, count)
    rig.kernel.ask(Op.FLUSH)  # what was forgotten before is counted by now
    for ino, expected in model.counts.items():
        assert rig.router.lookup_count(ino) == expected
        rig.kernel.request(Op.FORGET, ino, forget_in(expected))
        model.forget(ino, expected)
    rig.kernel.ask(Op.FLUSH)
    assert rig.router.counters().known_inodes == 0
    assert sorted(rig.router.forgotten()) == sorted(model.told)


def _apply(rig: Rig, model: Model, step: str, ino: object, count: object) -> None:
    if isinstance(ino, list):
        rig.kernel.request(Op.BATCH_FORGET, 0, batch_forget_in(ino))
        for each, times in ino:
            model.forget(each, times)
        return
    assert isinstance(ino, int)
    if step == "orphan":
        rig.kernel.ask(Op.FLUSH)
        assert rig.router.orphan(ino) is model.orphan(ino)
    elif step == "lookup":
        rig.router.put_inode(inode(ino & (1 << 62) - 1 or 1))
        rig.router.put_dentry(ROOT, b"n", ino & (1 << 62) - 1 or 1)
        assert rig.kernel.ask(Op.LOOKUP, ROOT, b"n\0").error == 0
        model.add_lookups(ino & (1 << 62) - 1 or 1, 1)
    elif isinstance(count, int) and step == "add_lookups":
        if count:
            rig.kernel.ask(Op.FLUSH)  # the requests before are dealt with
            rig.router.add_lookups(ino, count)
            model.add_lookups(ino, count)
    elif isinstance(count, int):
        rig.kernel.request(Op.FORGET, ino, forget_in(count))
        model.forget(ino, count)


def test_orphans_that_are_forgotten_are_told_once(rig: Rig) -> None:
    rig.router.add_lookups(7, 3)
    rig.router.add_lookups(8)
    assert not rig.router.orphan(7)
    rig.kernel.request(Op.FORGET, 8, forget_in(1))
    rig.kernel.request(Op.FORGET, 7, forget_in(2))
    rig.kernel.ask(Op.FLUSH)
    assert rig.router.forgotten() == []
    rig.kernel.request(Op.FORGET, 7, forget_in(1))
    rig.kernel.ask(Op.FLUSH)
    assert rig.router.forgotten() == [7]
    assert rig.router.forgotten() == []
    assert rig.router.orphan(7)
    assert rig.pyfuse3.is_silent(), "a FORGET was forwarded"


def test_a_batch_that_claims_more_than_it_holds(rig: Rig) -> None:
    rig.router.add_lookups(7, 3)
    rig.kernel.request(Op.BATCH_FORGET, 0, batch_forget_in([(7, 2)], count=2**32 - 1))
    rig.kernel.ask(Op.FLUSH)
    assert rig.router.lookup_count(7) == 1


def test_as_many_as_the_kernel_may_have(rig: Rig) -> None:
    """The table of references grows, and shrinks again."""
    empty = rig.router.counters().memory
    for ino in range(1, 100_001):
        rig.router.add_lookups(ino)
    full = rig.router.counters()
    assert full.known_inodes == 100_000
    assert full.memory > empty + 16 * 100_000
    for start in range(1, 100_001, 1000):
        batch = [(ino, 1) for ino in range(start, start + 1000)]
        rig.kernel.request(Op.BATCH_FORGET, 0, batch_forget_in(batch))
    rig.kernel.ask(Op.FLUSH)
    assert rig.router.counters().known_inodes == 0
    assert rig.router.counters().memory == empty
