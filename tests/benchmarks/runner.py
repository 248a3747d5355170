"""Take turns: every scenario on every side once, then all of it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TypeVar

from tests.benchmarks.machine import Coldness, warm_memory
from tests.benchmarks.processes import (
    Lap,
    Pin,
    daemons_of,
    pinned,
    processor_seconds,
    run_readers,
    settle,
)
from tests.benchmarks.report import Report, Result, look
from tests.benchmarks.scenario import Scenario, Side

T = TypeVar("T")

Say = Callable[[str], None]
"""Told in a few words what begins now."""


def silent(_text: str) -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How to measure: ``repeat`` turns; readers and daemons on the core ``pin``, or free."""

    repeat: int = 5
    pin: int | None = None


@dataclass(slots=True)
class SideTurn:
    """The turn of one side; what a scenario's ``run`` is given."""

    side: Side
    number: int
    pin: Pin | None
    everybody: Sequence[Side]
    """All sides of the run."""
    coldness: Coldness | None = field(default=None, init=False)

    def chill(self) -> Coldness:
        """Drop the side's caches; see `tierfs.bench.framework.scenario.Turn`."""
        reached = self.side.chill(self.side.directory)
        self.coldness = reached if self.coldness is None else min(reached, self.coldness)
        self.hold()
        settle({pid for side in self.everybody for pid in _daemons(side)})
        return reached

    def timed(self, works: Sequence[Callable[[], T]]) -> Lap[T]:
        """Run the works at once; see `tierfs.bench.framework.scenario.Turn`."""
        warm_memory()
        pids = _daemons(self.side)
        used = sum(map(processor_seconds, pids))
        lap = run_readers(works, self.pin.core if self.pin else None)
        used = sum(map(processor_seconds, pids)) - used
        return replace(lap, processor=lap.processor + used)

    def hold(self) -> None:
        """Pin the side's daemons; after a remount they are others."""
        if self.pin:
            self.pin.apply(_daemons(self.side))


class _Sheet:
    """Collects the values of all turns."""

    def __init__(self) -> None:
        self.samples: dict[tuple[str, str, str], list[float]] = {}
        self.remarks: dict[str, None] = {}

    def enter(self, scenario: Scenario, turn: SideTurn, values: Mapping[str, float]) -> None:
        """Keep what is as cold as it must be; remark on the rest."""
        for figure in scenario.figures:
            if figure.name not in values:
                self.remarks[f"{figure.name}: {turn.side.name} cannot do this"] = None
            elif figure.needs > (turn.coldness or Coldness.WARM):
                self.remarks[_too_warm(figure.name, turn.side.name)] = None
            else:
                key = (scenario.name, figure.name, turn.side.name)
                self.samples.setdefault(key, []).append(values[figure.name])

    def results(self, scenarios: Iterable[Scenario], sides: Iterable[Side]) -> list[Result]:
        """One result for every figure and side that has samples."""
        return [
            Result(scenario.name, figure, side.name, tuple(self.samples[key]))
            for scenario in scenarios
            for figure in scenario.figures
            for side in sides
            if (key := (scenario.name, figure.name, side.name)) in self.samples
        ]


def measure(
    title: str,
    scenarios: Sequence[Scenario],
    sides: Sequence[Side],
    conditions: Conditions,
    say: Say = silent,
) -> Report:
    """Measure every scenario on every side, ``conditions.repeat`` times; sides[0] is the baseline.

    The sides take turns, and each turn another one begins.

    Raises:
        TierfsError: a side cannot be used, pinned or remounted.
        OSError: a call of a workload failed.
    """
    machine, sheet = look(sides), _Sheet()
    with ExitStack() as stack:
        for scenario, side in product(scenarios, sides):
            say(f"{scenario.name}: preparing {side.name}")
            stack.callback(scenario.finish, side)
            scenario.prepare(side)
        pin = stack.enter_context(pinned(conditions.pin))
        for number in range(conditions.repeat):
            for scenario, side in product(scenarios, _rotated(sides, number)):
                say(f"{scenario.name}: turn {number + 1} of {conditions.repeat}, {side.name}")
                turn = SideTurn(side, number, pin, sides)
                turn.hold()
                sheet.enter(scenario, turn, scenario.run(turn))
    return Report(
        title=title,
        baseline=sides[0].name,
        repeat=conditions.repeat,
        pinned=conditions.pin,
        machine=machine,
        results=tuple(sheet.results(scenarios, sides)),
        remarks=tuple(sheet.remarks),
    )


def _daemons(side: Side) -> frozenset[int]:
    return daemons_of(side.directory) | set(side.daemons)


def _rotated(sides: Sequence[Side], number: int) -> list[Side]:
    """Each turn another side begins: whoever comes second finds the processor's caches warm."""
    start = number % len(sides)
    return [*sides[start:], *sides[:start]]


def _too_warm(figure: str, side: str) -> str:
    return (
        f"{figure}: left out for {side}, whose caches could not be dropped far enough; "
        "run as root, or have it remounted"
    )
