"""What the first read of a file costs: through the mount, and from the disk tier alone."""

from __future__ import annotations

import hashlib
import os
import stat
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tierfs.demo.trees import Tree
from tierfs.demo.ui import Ui

CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds from before open(2): until the head was read, and until the whole file was."""

    head_s: float
    whole_s: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The costs of one way to read the same files, named for people."""

    name: str
    costs: Sequence[Cost]

    def row(self) -> tuple[str, ...]:
        """A table row: the median and the 95th percentile of both, and bytes a second."""
        seconds = sum(cost.whole_s for cost in self.costs) or 1e-9
        rate = sum(cost.bytes for cost in self.costs) / seconds / 2**20
        heads = _summary([cost.head_s for cost in self.costs])
        wholes = _summary([cost.whole_s for cost in self.costs])
        return (self.name, *heads, *wholes, f"{rate:.0f}")


COLUMNS = ("median and 95 %", "head", "95 %", "all of it", "95 %", "MiB/s")


def _summary(seconds: Sequence[float]) -> tuple[str, str]:
    ranked = sorted(seconds)
    high = ranked[min(len(ranked) - 1, int(len(ranked) * 0.95))]
    return _milliseconds(statistics.median(ranked)), _milliseconds(high)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def sample_files(tree: Tree, count: int) -> list[Path]:
    """``count`` regular files of ``tree`` (or all there are), in an order without a pattern."""
    files = [path for path, status in tree.walk() if stat.S_ISREG(status.st_mode)]
    return sorted(files, key=lambda path: hashlib.sha256(os.fsencode(path)).digest())[:count]


def measure(name: str, root: Path, paths: Sequence[Path], head: int) -> Measured:
    """Read every file once, one after the other, first ``head`` bytes. Raises OSError."""
    return Measured(name, [_read(root / path, head) for path in paths])


def _read(path: Path, head: int) -> Cost:
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        size = len(file.read(head))
        middle = time.perf_counter()
        while data := file.read(CHUNK):
            size += len(data)
    return Cost(middle - began, time.perf_counter() - began, size)


def show(ui: Ui, measured: Sequence[Measured], remarks: Sequence[str]) -> None:
    """The table of costs, with what must be known to read it."""
    title = f"First read of {len(measured[0].costs)} random images, one reader, caches dropped"
    ui.table(title, COLUMNS, [one.row() for one in measured])
    for remark in remarks:
        ui.say(remark)
