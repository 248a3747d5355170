"""What a daemon takes for itself: processor time while nobody asks, and memory."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

from tests.benchmarks.datasets import Dataset
from tests.benchmarks.loops import read_files, stat_files
from tests.benchmarks.machine import Coldness
from tests.benchmarks.processes import PROC, daemons_of, processor_seconds
from tests.benchmarks.scenario import Better, Figure, Side, Turn
from tierfs.common.errors import TierfsError
from tierfs.common.units import KIB, MIB

IDLE: Final = "idle"
PROCESSOR: Final = "processor time"
MEMORY: Final = "memory"
RESIDENT: Final = "daemon's resident memory"
_RESIDENT: Final = re.compile(r"^VmRSS:\s*(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Idle:
    """Uses the mount, lets it rest for ``settle_s``, and watches the daemon for ``watch_s``."""

    dataset: Dataset
    settle_s: float = 3.0
    watch_s: float = 10.0
    name: str = IDLE
    figures: ClassVar = (Figure(PROCESSOR, "%", Better.LESS),)

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """The share of one core that the daemon used while nobody asked it anything."""
        paths = self.dataset.ordered(turn.side, turn.number)
        turn.timed([partial(read_files, paths, self.dataset.size)])
        pids = _daemons(turn.side)
        time.sleep(self.settle_s)
        began, used = time.monotonic(), sum(map(processor_seconds, pids))
        time.sleep(self.watch_s)
        used = sum(map(processor_seconds, pids)) - used
        return {PROCESSOR: 100 * used / (time.monotonic() - began)}

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Looks every file up, and asks how much memory the daemon holds then."""

    dataset: Dataset
    name: str = MEMORY
    figures: ClassVar = (Figure(RESIDENT, "MiB", Better.LESS, Coldness.KERNEL),)

    def prepare(self, side: Side) -> None:
        """Make the data set, or find it."""
        self.dataset.provide(side)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """MiB after all lookups."""
        turn.chill()
        paths = self.dataset.ordered(turn.side, turn.number)
        turn.timed([partial(stat_files, paths, self.dataset.size)])
        return {RESIDENT: sum(map(resident_bytes, _daemons(turn.side))) / MIB}

    def finish(self, side: Side) -> None:
        """Nothing: the data set stays for the next run."""


def resident_bytes(pid: int) -> int:
    """VmRSS of proc_pid_status(5), in bytes."""
    found = _RESIDENT.search((PROC / str(pid) / "status").read_text("utf-8"))
    return int(found[1]) * KIB if found else 0


def _daemons(side: Side) -> list[int]:
    pids = sorted({*daemons_of(side.directory), *side.daemons})
    if not pids:
        raise TierfsError(f"the daemon of {side.directory} was not found; look as root")
    return pids
