"""Epochs: every file of a data set opened, read and closed once, in random order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

from tierfs.bench.dataset import Dataset
from tierfs.bench.framework.caches import Coldness
from tierfs.bench.framework.scenario import Turn, rate, rated
from tierfs.bench.framework.side import Side
from tierfs.bench.loops import read_files

FIRST: Final = "first epoch"
AGAIN: Final = "epoch again"
SEEDS: Final = 1000
"""More than there are turns: the orders of an epoch and of the next one never meet."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """``readers`` processes share each epoch; ``seed`` decides the orders, equal on all sides."""

    dataset: Dataset
    readers: int = 1
    seed: int = 0
    name: str = "epoch"
    figures: ClassVar = (*rate(FIRST, "files/s", Coldness.KERNEL), *rate(AGAIN, "files/s"))

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """One epoch with cold caches, and one more."""
        turn.chill()
        seed = self.seed * SEEDS * 2 + turn.number
        return self._rate(turn, FIRST, seed) | self._rate(turn, AGAIN, seed + SEEDS)

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""

    def _rate(self, turn: Turn, figure: str, seed: int) -> dict[str, float]:
        paths = self.dataset.ordered(turn.side, seed)
        shares = [paths[number :: self.readers] for number in range(self.readers)]
        lap = turn.timed([partial(read_files, share, self.dataset.size) for share in shares])
        return rated(figure, len(paths), lap)
