"""The engine on a real volume, with real moves; only the room on flash is made up."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.proc import wait_until
from tests.support.volumes import LooseVolume
from tests.tiering.fake_world import START, FakeTime
from tierfs.common.units import KIB, MIB
from tierfs.metadata.index import IndexCatalog
from tierfs.policy.tier_policy import load_policy
from tierfs.storage.objects import Space
from tierfs.tiering.engine import Engine
from tierfs.tiering.model import on_flash
from tierfs.tiering.ports import Ports

HEAD = 4 * KIB


class Tiered:
    """A volume and its engine; the flash filesystem has as many bytes as a test says."""

    def __init__(self, volume: LooseVolume, catalog: IndexCatalog) -> None:
        self.volume = volume
        self.capacity = MIB
        self.time = FakeTime()
        self.catalog = catalog
        volume.clock.now = START
        volume.fs.activity.on = True
        ports = Ports(catalog, volume.fs.migrator, self.space, volume.fs.activity.drain)
        self.engine = Engine(
            ports, volume.settings.index, 64 * KIB, volume.metrics, self.time.clocks
        )

    def space(self) -> Space:
        free = max(0, self.capacity - self.used)
        return Space(self.capacity, free, free, 0, 0)

    @property
    def used(self) -> int:
        return sum(map(on_flash, self.catalog.files(0, 10**6, on_flash=True)[0]))

    def apply(self, text: str) -> None:
        path = self.volume.home / "policy.yaml"
        path.write_text(f"version: 1\n{text}\n")
        self.engine.apply(load_policy(path, head=HEAD))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Tick, a second a time, until it holds."""

        def holds() -> bool:
            self.time.pass_by(1)
            self.engine.tick()
            return condition()

        wait_until(holds, what=what)

    def inode(self, ino: int) -> tuple[int, int]:
        row = self.volume.index.inodes.get(ino)
        return row.prefix, row.mirrored
