"""Names and attributes: lookups, stat again, extended attributes; and walks of the whole tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

from tierfs.bench.dataset import ABSENT, LABEL, LABEL_VALUE, Dataset
from tierfs.bench.framework.caches import Coldness
from tierfs.bench.framework.scenario import Figure, Turn
from tierfs.bench.framework.side import Side
from tierfs.bench.loops import get_xattrs, miss_xattrs, stat_files, walk

LOOKUP: Final = "first lookup"
STAT: Final = "stat again"
XATTR: Final = "getxattr, set"
NO_XATTR: Final = "getxattr, absent"
COLD_WALK: Final = "first walk"
WALK: Final = "walk again"
UNIT: Final = "files/s"


@dataclass(frozen=True, slots=True)
class Metadata:
    """Paths one after the other in an order that ``seed`` decides, equal on all sides."""

    dataset: Dataset
    seed: int = 0
    name: str = "metadata"
    figures: ClassVar = (
        Figure(LOOKUP, UNIT, needs=Coldness.KERNEL),
        Figure(STAT, UNIT),
        Figure(XATTR, UNIT),
        Figure(NO_XATTR, UNIT),
    )

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Look all files up with cold caches, and ask for their attributes after that."""
        turn.chill()
        paths = self.dataset.ordered(turn.side, self.seed + turn.number)
        look = partial(stat_files, paths, self.dataset.size)
        values = {LOOKUP: _rate(turn, look), STAT: _rate(turn, look)}
        if self.dataset.has_labels(turn.side):
            values[XATTR] = _rate(turn, partial(get_xattrs, paths, LABEL, LABEL_VALUE))
            values[NO_XATTR] = _rate(turn, partial(miss_xattrs, paths, ABSENT))
        return values

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""


@dataclass(frozen=True, slots=True)
class Walks:
    """The whole tree in the order of its directories, with the attributes of every file."""

    dataset: Dataset
    name: str = "walk"
    figures: ClassVar = (
        Figure(COLD_WALK, UNIT, needs=Coldness.KERNEL),
        Figure(WALK, UNIT),
    )

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Walk with cold caches, and once more."""
        turn.chill()
        work = partial(walk, os.fsencode(self.dataset.root(turn.side)))
        return {COLD_WALK: _rate(turn, work), WALK: _rate(turn, work)}

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""


def _rate(turn: Turn, work: Callable[[], int]) -> float:
    """Files a second; every work returns how many it did."""
    lap = turn.timed([work])
    return lap.results[0] / lap.seconds
