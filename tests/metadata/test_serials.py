from __future__ import annotations

import errno
import functools
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metadata.conftest import OpenIndex
from tests.support.faulty_os import FaultyOs, Killed, Point
from tests.support.fixtures import directory
from tierfs.common.errors import IndexFailed
from tierfs.common.metrics import Metrics
from tierfs.metadata.index import FIRST_BLOCK, SERIAL_BLOCK, SERIALS_AHEAD, Index

P = ParamSpec("P")
T = TypeVar("T")

FIRST_SERIAL = 16


class Undo(Exception):
    """Rolls a transaction back."""


AT_A_TIME = 50
"""Serials that one transaction of these tests takes: more than any of the filesystem's does."""


def take(index: Index, count: int = 1) -> list[int]:
    taken: list[int] = []
    while count:
        part = min(count, AT_A_TIME)
        with index.transaction():
            taken += [index.new_serial() for _ in range(part)]
        count -= part
    return taken


def take_and_roll_back(index: Index, count: int) -> None:
    for start in range(0, count, AT_A_TIME):
        with suppress(Undo), index.transaction():
            for _ in range(min(AT_A_TIME, count - start)):
                index.new_serial()
            raise Undo


def test_serials_rise_by_one(index: Index) -> None:
    assert take(index, 3) == [FIRST_SERIAL, FIRST_SERIAL + 1, FIRST_SERIAL + 2]
    assert take(index) == [FIRST_SERIAL + 3]


def test_serials_rise_across_a_block(index: Index) -> None:
    taken = take(index, 3 * SERIAL_BLOCK)
    assert taken == list(range(taken[0], taken[0] + len(taken)))


def test_no_serial_comes_twice_after_opening_again(open_index: OpenIndex) -> None:
    index = open_index()
    last = take(index, 5)[-1]
    index._database.wal.sync()
    assert take(open_index())[0] > last


class Watching(FaultyOs):
    """Knows which reservation is durable."""

    index: Index | None = None
    durable = 0

    def call(self, label: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        result = super().call(label, function, *args, **kwargs)
        if label == "index.sync" and self.index is not None:
            self.durable = self.index._stored_next_serial()
        return result


def test_no_serial_is_used_before_its_reservation_is_durable(open_index: OpenIndex) -> None:
    watching = Watching()
    watching.index = index = open_index(watching)
    for _ in range(40 * FIRST_BLOCK // AT_A_TIME):
        assert take(index, AT_A_TIME)[-1] < watching.durable


def test_a_reservation_that_cannot_be_synced_is_told_when_none_is_left(
    open_index: OpenIndex,
) -> None:
    faulty = FaultyOs()
    index = open_index(faulty)
    take(index)
    faulty.clear()
    faulty.fail(Point("index.sync"), errno.EIO)
    taken: list[int] = []

    def take_all() -> None:
        while True:
            taken.extend(take(index))

    with pytest.raises(IndexFailed, match="Input/output error"):
        take_all()
    assert FIRST_BLOCK - SERIALS_AHEAD < len(taken) <= FIRST_BLOCK
    with index.transaction():
        pass  # what needs no number goes on


def test_a_crash_skips_at_most_a_block(open_index: OpenIndex, home: Path) -> None:
    last = take(open_index(), 5)[-1]
    shutil.copytree(home, home / "crashed")
    crashed = Index(home / "crashed" / "index.db", FaultyOs(), Metrics())
    assert last < take(crashed)[0] <= last + SERIAL_BLOCK
    crashed.close()


def test_a_reservation_that_rolls_back_is_made_again(index: Index) -> None:
    taken = take(index, SERIAL_BLOCK - 1)
    take_and_roll_back(index, 2 * SERIAL_BLOCK)
    taken += take(index, SERIAL_BLOCK)
    assert len(set(taken)) == len(taken)
    assert index._stored_next_serial() > max(taken)


def test_death_at_the_commit_reuses_nothing_that_was_committed(home: Path) -> None:
    for moment in ("before", "after"):
        place = home / moment
        place.mkdir()
        faulty = FaultyOs()
        index = Index(place / "index.db", faulty, Metrics())
        taken = take(index, SERIAL_BLOCK)
        faulty.clear()
        faulty.kill(
            Point("index.commit", 0),
            "before" if moment == "before" else "after",
            functools.partial(shutil.copytree, place, place / "crashed"),
        )
        with suppress(Killed):
            take(index, 2)
        index.close()
        crashed = Index(place / "crashed" / "index.db", FaultyOs(), Metrics())
        assert take(crashed)[0] > max(taken)
        crashed.close()


steps = st.tuples(
    st.sampled_from(["take", "roll back", "reopen", "crash"]),
    st.integers(1, SERIAL_BLOCK + 5) | st.integers(1, 3),
)


@given(st.lists(steps, max_size=12))
@settings(max_examples=30, deadline=None)
def test_no_serial_comes_twice_whatever_happens(sequence: list[tuple[str, int]]) -> None:
    with directory(Path("/tmp")) as home:  # noqa: S108 - used only where there is no /dev/shm
        index = Index(home / "0.db", FaultyOs(), Metrics())
        taken: list[int] = []
        for number, (action, count) in enumerate(sequence, start=1):
            if action == "take":
                taken += take(index, count)
            elif action == "roll back":
                take_and_roll_back(index, count)
            else:
                index = follow(index, crashed=action == "crash", number=number)
        index.close()
    assert taken == sorted(set(taken))


def follow(index: Index, *, crashed: bool, number: int) -> Index:
    """The index opened again: after closing it, or from what a crash would leave."""
    path, copy = index.path, index.path.with_name(f"{number}.db")
    if not crashed:
        index.close()
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    if crashed:
        index.close()
    return Index(copy, FaultyOs(), Metrics())
