"""The process dies at any call or moment of a move: the file is whole, before or after it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from tests.fs import scenarios
from tests.fs.consistency import check
from tests.fs.migrating import KINDS, WITHIN_A_PAGE, Kind, ready, same, small_chunks, state
from tests.fs.scenarios import prepared
from tests.fs.test_crashes import crashed
from tests.support.faulty_os import FaultyOs
from tests.support.fsck import assert_clean
from tests.support.volumes import LooseVolume, volume_settings

pytestmark = pytest.mark.long

P = ParamSpec("P")
T = TypeVar("T")

MOMENTS = ("move.copied", "move.synced", "move.committed", "move.freed")


@pytest.fixture(scope="module")
def template() -> Iterator[LooseVolume]:
    with scenarios.template() as made, small_chunks():
        yield made


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_crash_before_any_call_leaves_the_file_whole(
    template: LooseVolume, home: Path, kind: Kind
) -> None:
    """After a call is before the next one: nothing happens in between."""
    with ready(template, home / "recorded", kind) as volume:
        kind.do(volume)
        recorded = volume.os.points()
    for point in recorded:
        with (
            ready(template, home / "killed", kind) as volume,
            crashed(volume, home / "crashed", point, "before", kind.do) as survivor,
        ):
            judge(survivor, kind, str(point))


def judge(survivor: LooseVolume, kind: Kind, where: str) -> None:
    """All is there, nothing leaks, and the move can be made."""
    same(survivor, kind, where)
    check(survivor, trimmed=True)
    if kind.end[0] != WITHIN_A_PAGE:
        survivor.close()
        assert_clean(survivor.settings)
        survivor.open()
    assert kind.do(survivor).outcome in {"moved", "nothing"}, where
    assert state(survivor.find(kind.name)) == kind.end, where
    survivor.reopen()
    same(survivor, kind, where)
    check(survivor, trimmed=True)


class Suicidal(FaultyOs):
    """Kills the process at a label, once armed."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label
        self.armed = False

    def call(self, label: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.armed and label == self._label:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().call(label, function, *args, **kwargs)


def die_moving(home: Path, kind: Kind, label: str) -> int:
    """Let a child make the move and kill itself at a moment; returns what waitpid(2) says."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        volume = LooseVolume(volume_settings(home, scenarios.HEAD))
        suicidal = volume.os = Suicidal(label)
        volume.open()
        kind.prepare(volume)
        suicidal.armed = True
        kind.do(volume)
    finally:
        os._exit(1)


@pytest.mark.parametrize("label", MOMENTS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_process_killed_at_a_moment_of_a_move(
    template: LooseVolume, home: Path, kind: Kind, label: str
) -> None:
    with ready(template, home / "recorded", kind) as volume:
        kind.do(volume)
        comes_by = label in volume.os.labels
    with prepared(template, home / "prepared") as volume:
        volume.close()
        survivor = volume.copy(home / "victim")
    status = die_moving(survivor.home, kind, label)
    assert os.WIFSIGNALED(status) == comes_by
    survivor.open()
    judge(survivor, kind, label)
    survivor.close()
