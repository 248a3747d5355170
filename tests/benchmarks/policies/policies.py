"""tierfs's own policy beside the others: heat and replacement, driven as the engine drives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

from tests.benchmarks.policies.classics import Belady, Lfu, Lru, S3Fifo, Sieve
from tests.benchmarks.policies.simulate import Access, Policy, Workload
from tierfs.tiering.heat import Heat
from tierfs.tiering.replacement import Item, admit, resident_worth
from tierfs.tiering.replay.flash import FilesOnFlash

SAMPLE: Final = 8
"""Files looked at for each one that asks to come in."""

REMEMBERED: Final = 64
"""The coldest files of all looks that are remembered."""


class Coldest:
    """At most ``remembered`` files of those offered: those worth least.

    As Redis does it for its approximated LRU: a few files are looked at each time, and the coldest
    of all looks are remembered. A file becomes no warmer while it is not read, so that a remembered
    file is still as cold as it was, or it was read, which the owner tells by `forget`.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._known: dict[int, tuple[tuple[float, ...], Item]] = {}

    def offer(self, heat: Heat, items: Iterable[Item], now: int) -> None:
        """Look at files that are on flash; those that are never evicted are passed by."""
        for item in items:
            if item.evict != "never":
                self._known[item.ino] = resident_worth(heat, item, now).order, item
        for _, item in sorted(self._known.values())[self._remembered :]:
            del self._known[item.ino]

    def forget(self, ino: int) -> None:
        """A file was read, or is gone; one that is not remembered is no mistake."""
        self._known.pop(ino, None)

    def first(self) -> list[Item]:
        """The remembered files, the one that should go first in front."""
        return [item for _, item in sorted(self._known.values())]


class Tierfs:
    """Decides at each read or write that misses; ``heat`` may know fewer files than there are."""

    def __init__(self, flash: int, heat: Heat, seed: int = 0) -> None:
        self._flash = flash
        self._shelf = FilesOnFlash()
        self._since: dict[int, int] = {}
        self._heat = heat
        self._random = Random(seed)
        self._coldest = Coldest()

    @property
    def used(self) -> int:
        """Bytes on flash."""
        return self._shelf.used

    def holds(self, ino: int) -> bool:
        """Whether a file is on flash."""
        return ino in self._shelf

    def access(self, access: Access, number: int) -> bool:  # noqa: ARG002 - the clock is enough
        """Count a read, and decide whether the file comes in."""
        if not access.write:
            self._heat.feed(((access.ino, 1, access.size),), access.time)
        hit = access.ino in self._shelf
        if hit:
            self._coldest.forget(access.ino)
        else:
            self._decide(access)
        return hit

    def _decide(self, access: Access) -> None:
        shelf, now = self._shelf, access.time
        room = self._flash - shelf.used
        item = Item(access.ino, access.size, now)
        coldest = [] if item.size <= room else self._look(now)
        verdict = admit(self._heat, item, room, coldest, now, written=access.write)
        for gone in verdict.evict:
            shelf.remove(gone.ino)
            del self._since[gone.ino]
            self._coldest.forget(gone.ino)
        if verdict.admit:
            shelf.add(item.ino, item.size)
            self._since[item.ino] = now

    def _look(self, now: int) -> list[Item]:
        shelf = self._shelf
        seen = shelf.sample(SAMPLE, self._random)
        items = [Item(ino, shelf.sizes[ino], self._since[ino]) for ino in seen]
        self._coldest.offer(self._heat, items, now)
        return self._coldest.first()


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
