"""Names and attributes: lookups, stat again, extended attributes; and walks of the whole tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

from tierfs.bench.dataset import ABSENT, LABEL, LABEL_VALUE, Dataset
from tierfs.bench.framework.caches import Coldness
from tierfs.bench.framework.scenario import Turn, rate, rated
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
        *rate(LOOKUP, UNIT, Coldness.KERNEL),
        *rate(STAT, UNIT),
        *rate(XATTR, UNIT),
        *rate(NO_XATTR, UNIT),
    )

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Look all files up with cold caches, and ask for their attributes after that."""
        turn.chill()
        paths = self.dataset.ordered(turn.side, self.seed + turn.number)
        look = partial(stat_files, paths, self.dataset.size)
        values = _rated(turn, LOOKUP, look) | _rated(turn, STAT, look)
        if self.dataset.has_labels(turn.side):
            values |= _rated(turn, XATTR, partial(get_xattrs, paths, LABEL, LABEL_VALUE))
            values |= _rated(turn, NO_XATTR, partial(miss_xattrs, paths, ABSENT))
        return values

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""


@dataclass(frozen=True, slots=True)
class Walks:
    """The whole tree in the order of its directories, with the attributes of every file."""

    dataset: Dataset
    name: str = "walk"
    figures: ClassVar = (
        *rate(COLD_WALK, UNIT, Coldness.KERNEL),
        *rate(WALK, UNIT),
    )

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Walk with cold caches, and once more."""
        turn.chill()
        work = partial(walk, os.fsencode(self.dataset.root(turn.side)))
        return _rated(turn, COLD_WALK, work) | _rated(turn, WALK, work)

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""


def _rated(turn: Turn, figure: str, work: Callable[[], int]) -> dict[str, float]:
    """Files a second, and the processors' time; every work returns how many it did."""
    lap = turn.timed([work])
    return rated(figure, lap.results[0], lap)
