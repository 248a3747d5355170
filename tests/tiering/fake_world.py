"""A filesystem that the engine moves in virtual time: rows in a dict, moves that only count."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tierfs.common.errors import FsError
from tierfs.common.metrics import Metrics
from tierfs.common.units import KIB, MIB, SECOND
from tierfs.fs.migration_plan import Migrated
from tierfs.metadata.inodes import Inode
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.policy.model import Policy
from tierfs.policy.tier_policy import load_policy
from tierfs.storage.objects import Space
from tierfs.tiering.engine import Clocks, Engine
from tierfs.tiering.heat import Row
from tierfs.tiering.model import Done
from tierfs.tiering.mover import Mover
from tierfs.tiering.ports import Ports

START = 1_700_000_000 * SECOND
HEAD = 64 * KIB
LONG_AGO = START - 3600 * SECOND
PER_MIB = MIB // HEAD

FLASH = "flash: {high_watermark: 80%, low_watermark: 60%, reserve: 0}\n"
"""The watermarks of most policies here."""


class FakeTime:
    """Both clocks, which stand still until somebody moves them."""

    def __init__(self) -> None:
        self.now = START

    def clock(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return (self.now - START) / SECOND

    def pass_by(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)

    @property
    def clocks(self) -> Clocks:
        """Threads take no processor time, and have nothing to rest for."""
        return Clocks(self.clock, self.monotonic, self.monotonic)


class FakeWorld:
    """Catalog, moves, space and activity at once."""

    def __init__(self, time: FakeTime, capacity: int = 100 * MIB) -> None:
        self.time = time
        self.capacity = capacity
        self.files_on_flash = 0
        """Inodes of flash; 0: more than anybody needs."""
        self.inodes: dict[int, Inode] = {}
        self.names: dict[int, bytes] = {}
        self.xattrs: dict[tuple[int, bytes], bytes] = {}
        self.noted_pins: dict[int, Pin] = {}
        self.noted_requests: dict[int, Request] = {}
        self.placed: list[tuple[int, int]] = []
        self.mirrored: list[int] = []
        self.broken: set[int] = set()
        self.upcoming: dict[int, int] = {}
        self._reads: dict[int, tuple[int, int]] = {}
        self._changed: set[int] = set()

    def ports(self) -> Ports:
        return Ports(self, self, self.space, self.drain, lambda _most: self.upcoming)

    # ------------------------------------------------------------ what a test does
    def add(
        self,
        ino: int,
        size: int = HEAD,
        prefix: int = HEAD,
        *,
        name: str = "/a",
        changed: int = LONG_AGO,
        mirrored: int = 0,
    ) -> None:
        mode = stat.S_IFREG | 0o644
        self.inodes[ino] = Inode(
            ino,
            mode,
            0,
            0,
            1,
            size,
            0,
            changed,
            changed,
            changed,
            prefix,
            0,
            1,
            None,
            0,
            mirrored,
        )
        self.names[ino] = name.encode()

    def fill(
        self,
        numbers: Iterable[int],
        size: int = HEAD,
        prefix: int = HEAD,
        *,
        name: str = "/a",
        mirrored: int = 0,
    ) -> None:
        for ino in numbers:
            self.add(ino, size, prefix, name=name, mirrored=mirrored)

    def read(self, *inos: int) -> None:
        for ino in inos:
            reads, size = self._reads.get(ino, (0, 0))
            self._reads[ino] = reads + 1, size + self.inodes[ino].size

    def write(self, ino: int, size: int) -> None:
        self.inodes[ino] = self.inodes[ino]._replace(size=size, ctime=self.time.now, mirrored=0)
        self._changed.add(ino)

    def on_flash(self, ino: int) -> int:
        return min(self.inodes[ino].size, self.inodes[ino].prefix)

    @property
    def used(self) -> int:
        return sum(map(self.on_flash, self.inodes))

    # ------------------------------------------------------------ the ports
    def space(self) -> Space:
        free = self.capacity - self.used
        if not self.files_on_flash:
            return Space(self.capacity, free, free, 1000, 1000)
        taken = sum(map(bool, map(self.on_flash, self.inodes)))
        return Space(self.capacity, free, free, self.files_on_flash, self.files_on_flash - taken)

    def drain(self) -> tuple[list[Row], set[int]]:
        reads, self._reads = self._reads, {}
        changed, self._changed = self._changed, set()
        return [(ino, *counts) for ino, counts in reads.items()], changed

    def files(self, after: int, span: int, *, on_flash: bool) -> tuple[list[Inode], int]:
        numbers = (ino for ino in range(after + 1, after + span + 1) if ino in self.inodes)
        rows = [self.inodes[ino] for ino in numbers if not on_flash or self.on_flash(ino)]
        return rows, after + span if after + span < self.last_inode() else 0

    def header_fact(self, _ino: int, _version: int, _key: str) -> float | str | None:
        return None

    def alone(self, after: int, span: int) -> tuple[int | None, int]:
        rows, following = self.files(after, span, on_flash=True)
        return min((row.ctime for row in rows if not row.mirrored), default=None), following

    def last_inode(self) -> int:
        return max(self.inodes, default=0)

    def some(self, inos: Sequence[int]) -> list[Inode]:
        return [self.inodes[ino] for ino in sorted(inos) if ino in self.inodes]

    def paths(self, rows: Sequence[Inode]) -> dict[int, list[bytes]]:
        return {row.ino: [self.names[row.ino]] for row in rows}

    def xattr(self, ino: int, name: bytes) -> bytes | None:
        return self.xattrs.get((ino, name))

    def pinned(self, rows: Sequence[Inode], now: int) -> dict[int, int]:
        pins = {ino for ino, pin in self.noted_pins.items() if pin.holds(now)}
        above = {row.ino: row.parent for row in rows if row.parent in pins}
        return {**above, **{row.ino: row.ino for row in rows if row.ino in pins}}

    def pinned_directories(self, now: int) -> list[int]:
        return [pin.ino for pin in self.noted_pins.values() if pin.below and pin.holds(now)]

    def directory_path(self, ino: int) -> bytes | None:
        return b"/%d" % ino

    def below(self, directory: int, after: int, limit: int) -> list[tuple[int, int, int]]:
        rows = (self.inodes[ino] for ino in sorted(self.inodes) if ino > after)
        found = [(row.ino, row.ino, row.mode) for row in rows if row.parent == directory]
        return found[:limit]

    def pins(self, after: int, limit: int) -> list[Pin]:
        return [self.noted_pins[ino] for ino in sorted(self.noted_pins) if ino > after][:limit]

    def requests(self, after: int, limit: int) -> list[Request]:
        known = self.noted_requests
        return [known[ino] for ino in sorted(known) if ino > after][:limit]

    def settle(self, requests: Sequence[Request], ended: Sequence[Pin]) -> None:
        for request in requests:
            if self.noted_requests.get(request.ino) == request:
                del self.noted_requests[request.ino]
        for pin in ended:
            del self.noted_pins[pin.ino]

    def place(
        self, ino: int, prefix: int, *, keep_mirror: bool, paced: Callable[[int], None]
    ) -> Migrated:
        if ino in self.broken:
            raise FsError(5)
        if ino not in self.inodes:
            return Migrated(ino, "gone")
        inode, before = self.inodes[ino], self.on_flash(ino)
        after = min(inode.size, prefix)
        free = after < before and inode.mirrored
        copied = 0 if free else abs(after - before)
        paced(copied)
        self.placed.append((ino, prefix))
        kept = int(keep_mirror and after > before) or inode.mirrored
        self.inodes[ino] = inode._replace(prefix=prefix, mirrored=kept if prefix else 0)
        return Migrated(ino, "moved", copied, max(0, before - after))

    def mirror(self, inos: Sequence[int], *, paced: Callable[[int], None]) -> list[Migrated]:
        if self.broken & set(inos):
            raise FsError(5)
        paced(sum(map(self.on_flash, inos)))
        self.mirrored += inos
        for ino in inos:
            self.inodes[ino] = self.inodes[ino]._replace(mirrored=1)
        return [Migrated(ino, "moved", self.on_flash(ino)) for ino in inos]


class InlineMover(Mover):
    """A mover that works off its jobs when it is asked what became of them: no thread, no wait."""

    def _start_threads(self) -> None:
        pass

    def drain(self) -> list[Done]:
        while (job := self._may_begin()) is not None:
            try:
                self._run(job)
            finally:
                self.queue.release(job)
        return super().drain()

    def _wait(self, seconds: float) -> None:
        pass


class Driver:
    """An engine in a fake world, ticked in virtual time."""

    def __init__(self, directory: Path, *, capacity: int = 100 * MIB, closed: bool = False) -> None:
        self.time = FakeTime()
        self.world = FakeWorld(self.time, capacity)
        self.directory = directory
        self.metrics = Metrics()
        self.closed = closed
        self.engine = self.begin(self.time.clocks)

    def begin(self, clocks: Clocks) -> Engine:
        """Another engine, which goes by these clocks."""
        return Engine(
            self.world.ports(),
            self.directory / "index.db",
            MIB,
            self.metrics,
            clocks,
            InlineMover,
            closed=self.closed,
        )

    def policy(self, text: str) -> Policy:
        path = self.directory / "policy.yaml"
        path.write_text(f"version: 1\n{text}\n")
        return load_policy(path)

    def apply(self, text: str) -> None:
        self.engine.apply(self.policy(text))

    def ticks(self, count: int = 1, seconds: float = 1.0) -> None:
        for _ in range(count):
            self.time.pass_by(seconds)
            self.engine.tick()
