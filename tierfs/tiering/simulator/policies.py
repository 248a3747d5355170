"""The policies that are compared, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from tierfs.tiering.heat import Heat
from tierfs.tiering.simulator.access import Workload
from tierfs.tiering.simulator.belady import Belady
from tierfs.tiering.simulator.classics import Lfu, Lru
from tierfs.tiering.simulator.s3fifo import S3Fifo
from tierfs.tiering.simulator.sieve import Sieve
from tierfs.tiering.simulator.simulate import Policy
from tierfs.tiering.simulator.tierfs import Tierfs

TIERFS: Final = "tierfs"
OPTIMUM: Final = "belady"
KNOWN: Final = 2**16
"""Files that the heat table of the simulated tierfs has room for, unless told."""

MAKERS: Final[Mapping[str, Callable[[int, Workload, int], Policy]]] = MappingProxyType(
    {
        TIERFS: lambda flash, _, known: Tierfs(flash, Heat(known)),
        "lru": lambda flash, _, __: Lru(flash),
        "lfu": lambda flash, _, __: Lfu(flash),
        "s3-fifo": lambda flash, _, __: S3Fifo(flash),
        "sieve": lambda flash, _, __: Sieve(flash),
        OPTIMUM: lambda flash, workload, _: Belady(flash, workload.accesses),
    }
)


def make(name: str, flash: int, workload: Workload, known: int = KNOWN) -> Policy:
    """An empty policy called ``name``, for ``flash`` bytes and this workload."""
    return MAKERS[name](flash, workload, known)
