"""A tick costs milliseconds and its memory is bounded, whatever the number of files.

``TIERFS_TIERING_INODES=10000000 pytest tests/tiering/test_many_inodes.py -s`` prints the figures.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import mean

import pytest

from tests.support.volumes import MakeVolume, home, make_volume
from tests.tiering.many_inodes import FIRST, fill_index
from tierfs.common.metrics import Metrics
from tierfs.common.units import GIB, KIB, MIB
from tierfs.fs.migration_plan import Migrated
from tierfs.metadata.index import IndexCatalog
from tierfs.policy.tier_policy import load_policy
from tierfs.storage.objects import Space
from tierfs.tiering.engine import Engine
from tierfs.tiering.heat import Row
from tierfs.tiering.model import on_flash
from tierfs.tiering.ports import Ports

__all__ = ["home", "make_volume"]

INODES = int(os.environ.get("TIERFS_TIERING_INODES", "20000"))
TICKS = 30
READ = 2000
"""Files read each second."""

MEMORY = 4 * MIB
GROWTH = 64 * MIB
"""What the lists of the engine, which are bounded, and the allocator may take besides."""

POLICY = """
version: 1
flash: {high_watermark: 80%, low_watermark: 79%, reserve: 0}
mover: {rate: unlimited}
rules:
  - {name: archive, match: {path: "/d*/f*7", age: "> 30d"}, head: none}
  - {name: screens, match: {path: "/screens/**", size: "<= 4MiB"}, head: all, pin: true}
  - {name: warm, match: {path: "**/*.tiff", owner: 1000}, promote: {reads: 3, within: 1h}}
"""


class Ledger:
    """Moves that only note what would be freed, and the room that follows from it."""

    def __init__(self, catalog: IndexCatalog, capacity: int, excess: int) -> None:
        self.gone: set[int] = set()
        self._catalog = catalog
        self._capacity = capacity
        self._used = capacity * 80 // 100 + excess

    def place(
        self, ino: int, _prefix: int, *, keep_mirror: bool, paced: Callable[[int], None]
    ) -> Migrated:
        assert keep_mirror
        paced(0)
        (inode,) = self._catalog.some([ino])
        self.gone.add(ino)
        self._used -= on_flash(inode)
        return Migrated(ino, "moved", 0, on_flash(inode))

    def mirror(self, inos: Sequence[int], *, paced: Callable[[int], None]) -> list[Migrated]:
        paced(0)
        return [Migrated(ino, "nothing") for ino in inos]

    def space(self) -> Space:
        free = self._capacity - self._used
        return Space(self._capacity, free, free, 0, 0)

    def fill(self, size: int) -> None:
        self._used += size


def resident() -> int:
    """Bytes of memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def reads(tick: int) -> list[Row]:
    start = tick * READ
    return [(FIRST + (start + n) * 7919 % INODES, 1, 64 * KIB) for n in range(READ)]


@pytest.fixture
def catalog(make_volume: MakeVolume) -> Iterator[IndexCatalog]:
    volume = make_volume()
    fill_index(volume.settings.index, INODES, time.time_ns())
    with closing(IndexCatalog(volume.index)) as catalog:
        yield catalog


@pytest.mark.timeout(3600 if INODES > 100_000 else 60)
def test_a_tick_among_many_inodes(catalog: IndexCatalog, tmp_path: Path) -> None:
    ledger = Ledger(catalog, 100 * GIB, 0)
    ticking = [0]
    ports = Ports(catalog, ledger, ledger.space, lambda: (reads(ticking[0]), set()))
    engine = Engine(ports, tmp_path / "index.db", MEMORY, Metrics())
    (tmp_path / "policy.yaml").write_text(POLICY)
    engine.apply(load_policy(tmp_path / "policy.yaml"))
    engine.tick()
    before, took = resident(), []
    for ticking[0] in range(1, TICKS):
        start = time.perf_counter()
        engine.tick()
        took.append(time.perf_counter() - start)
    ledger.fill(GIB)  # above the high watermark: some thousand files must go
    start, busy = time.perf_counter(), time.thread_time()
    engine.tick()
    planning, busy = time.perf_counter() - start, time.thread_time() - busy
    state, growth = engine.state(), resident() - before
    engine.stop()
    print(  # noqa: T201 - the figures are what this is run for
        f"\n{INODES:,} inodes: a tick {mean(took) * 1e3:.1f} ms, at most {max(took) * 1e3:.1f} ms; "
        f"a tick that plans {state.waiting['evict'] + len(ledger.gone):,} evictions "
        f"{planning * 1e3:.1f} ms, {busy * 1e3:.1f} ms of a processor; "
        f"memory grew by {growth / MIB:.1f} MiB"
    )
    assert state.waiting["evict"] + len(ledger.gone) >= min(1000, INODES // 100)
    assert growth < GROWTH
