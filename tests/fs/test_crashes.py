"""The process dies at any call: what had returned is there; what was going on is done or not.

A write that was going on may be there in part, as a short write would leave it.
"""

from __future__ import annotations

import contextlib
import functools
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from tests.fs import scenarios
from tests.fs.consistency import check
from tests.fs.scenarios import (
    OPERATIONS,
    Files,
    Operation,
    before,
    contents,
    drain,
    fsync,
    pattern,
    points,
    prepared,
    replace,
    truncate,
    unlink,
    write,
)
from tests.support.faulty_os import Killed, Moment, Point
from tests.support.volumes import LooseVolume, volume_settings

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=[False, True], ids=["alone", "grouped"])
def template(request: pytest.FixtureRequest) -> Iterator[LooseVolume]:
    with scenarios.template() as made:
        made.grouped = request.param
        yield made


@contextlib.contextmanager
def crashed(
    volume: LooseVolume,
    home: Path,
    point: Point,
    moment: Moment,
    do: Callable[[LooseVolume], object],
) -> Iterator[LooseVolume]:
    """The volume, opened again, as it was when ``do`` was killed."""
    volume.os.kill(point, moment, lambda: volume.copy(home))
    with pytest.raises(Killed):
        do(volume)
    survivor = LooseVolume(volume_settings(home, volume.head))
    survivor.open()
    try:
        yield survivor
    finally:
        survivor.close()
        shutil.rmtree(home)


@pytest.mark.parametrize("moment", get_args(Moment))
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))
def test_a_crash_leaves_all_or_nothing(
    template: LooseVolume, home: Path, operation: Operation, moment: Moment
) -> None:
    for point in points(template, home, operation):
        if moment == "after" and point.label in operation.full:
            continue  # it never returns
        with prepared(template, home / "killed") as volume:
            volume.os.full = operation.full
            with crashed(volume, home / "crashed", point, moment, operation.do) as survivor:
                judge(survivor, operation, f"{moment} {point}")


def judge(survivor: LooseVolume, operation: Operation, where: str) -> None:
    old, found = before(), contents(survivor)
    assert operation.allows(old, found), where
    # A write may leave bytes behind the end, which the next one overwrites; else nothing leaks.
    check(survivor, trimmed=not grows(operation, old))
    operation.do(survivor)
    assert contents(survivor) == operation.after(old), where
    survivor.reopen()
    assert contents(survivor) == operation.after(old), where
    check(survivor, trimmed=True)


def grows(operation: Operation, old: Files) -> bool:
    return any(len(data) > len(old.get(name, b"")) for name, data in operation.after(old).items())


def some_operations(seed: int, count: int) -> list[Operation]:
    """A random sequence; flash runs full now and then."""
    dice = random.Random(seed)
    return [an_operation(dice, number) for number in range(count)]


def an_operation(dice: random.Random, number: int) -> Operation:
    name = dice.choice([b"small", b"large", b"cut", b"exact"])
    size = dice.randrange(12_000)
    full = ("flash.pwrite",) if dice.random() < 0.2 else ()
    drawn = dice.random()
    if drawn < 0.5:
        return write(name, size, pattern(1 + size % 3000, number), full)
    if drawn < 0.8:
        return truncate(name, size)
    return fsync(name) if drawn < 0.9 else drain()


@pytest.mark.parametrize("seed", range(12))
def test_what_had_returned_is_there(template: LooseVolume, home: Path, seed: int) -> None:
    operations = [*some_operations(seed, 12), replace(b"small", b"large"), unlink(b"exact")]
    states: list[Files] = [before()]
    with prepared(template, home / "recorded") as volume:
        run(volume, operations, states)
        recorded = volume.os.points()
        assert contents(volume) == states[-1]
    for point in random.Random(seed).sample(recorded, 6):
        done: list[Files] = [before()]
        with prepared(template, home / "killed") as volume:
            act = functools.partial(run, operations=operations, states=done)
            with crashed(volume, home / "crashed", point, "before", act) as survivor:
                interrupted = operations[len(done) - 1]
                assert interrupted.allows(done[-1], contents(survivor)), point
                check(survivor)


def run(volume: LooseVolume, operations: list[Operation], states: list[Files]) -> None:
    """Do one after the other; ``states`` gets the files as each that returned left them."""
    for operation in operations:
        volume.os.full = operation.full
        operation.do(volume)
        states.append(operation.after(states[-1]))


@pytest.mark.parametrize("moment", get_args(Moment))
def test_death_while_recovering_is_recovered_from(
    template: LooseVolume, home: Path, moment: Moment
) -> None:
    with prepared(template, home / "prepared") as volume:
        scenarios.unlink(b"large").do(volume)
        volume.fs.data.truncate(volume.find(b"other").ino, 10)
        dead = volume.copy(home / "dead")
        expected = contents(volume)
    again = dead.copy(home / "again")
    again.open()
    steps = again.os.points()
    again.close()
    assert {"index.sync", "disk.unlink", "index.commit"} <= {point.label for point in steps}
    for point in steps:
        victim = dead.copy(home / "victim")
        with crashed(victim, home / "crashed", point, moment, LooseVolume.open) as survivor:
            assert contents(survivor) == expected
            check(survivor, trimmed=True)
        shutil.rmtree(home / "victim")


def test_an_unlinked_open_file_is_freed_at_the_next_mount(small: LooseVolume, home: Path) -> None:
    ino = small.fs.names.make(1, b"open", scenarios.FILE_MODE, scenarios.ME).ino
    small.fs.data.write(ino, 0, pattern(9000))
    small.fs.names.unlink(1, b"open")
    small.fs.reclaimer.drain()
    assert small.fs.reads.read(ino, 0, 9000) == pattern(9000)
    survivor = small.copy(home / "crashed")
    survivor.open()
    assert contents(survivor) == {}
    check(survivor, trimmed=True)
    survivor.close()
