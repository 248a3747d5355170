"""S3-FIFO: three queues, from the literature of 2023.

Yang, Zhang, Qiu, Yue and Rashmi, FIFO Queues Are All You Need for Cache Eviction, SOSP 2023.
New files pass through a small queue; only those used again there, or remembered as ghosts, come
into the main one, where a use buys another round.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from tierfs.tiering.simulator.access import Access

SMALL_SHARE: Final = 10
"""The small queue has one part in so many of flash."""

MOST_USES: Final = 3
"""Uses are counted in two bits."""


class S3Fifo:
    """Sizes are counted in bytes; the ghosts are as many bytes as the main queue."""

    def __init__(self, flash: int) -> None:
        self._flash = flash
        self._small: OrderedDict[int, int] = OrderedDict()
        self._main: OrderedDict[int, int] = OrderedDict()
        self._ghosts: OrderedDict[int, int] = OrderedDict()
        self._uses: dict[int, int] = {}
        self._small_used = self._main_used = self._ghosts_size = 0

    @property
    def used(self) -> int:
        """Bytes on flash."""
        return self._small_used + self._main_used

    def holds(self, ino: int) -> bool:
        """Whether a file is on flash."""
        return ino in self._uses

    def access(self, access: Access, number: int) -> bool:  # noqa: ARG002 - the order is enough
        """Count a use, or take the file in."""
        if access.ino in self._uses:
            self._uses[access.ino] = min(self._uses[access.ino] + 1, MOST_USES)
            return True
        if access.size <= self._flash:
            while self.used + access.size > self._flash:
                self._evict()
            self._take_in(access.ino, access.size)
        return False

    def _take_in(self, ino: int, size: int) -> None:
        self._uses[ino] = 0
        if ino in self._ghosts:
            self._ghosts_size -= self._ghosts.pop(ino)
            self._to_main(ino, size)
        else:
            self._small[ino] = size
            self._small_used += size

    def _evict(self) -> None:
        """Free one file at least, or move one to the main queue, as the paper's algorithm 1."""
        if self._small and (self._small_used >= self._flash // SMALL_SHARE or not self._main):
            self._evict_small()
        else:
            self._evict_main()

    def _evict_small(self) -> None:
        ino, size = self._small.popitem(last=False)
        self._small_used -= size
        if self._uses[ino] > 1:
            self._uses[ino] = 0
            self._to_main(ino, size)
        else:
            del self._uses[ino]
            self._remember(ino, size)

    def _evict_main(self) -> None:
        while True:
            ino, size = self._main.popitem(last=False)
            if not self._uses[ino]:
                self._main_used -= size
                del self._uses[ino]
                return
            self._uses[ino] -= 1
            self._main[ino] = size

    def _to_main(self, ino: int, size: int) -> None:
        self._main[ino] = size
        self._main_used += size

    def _remember(self, ino: int, size: int) -> None:
        self._ghosts[ino] = size
        self._ghosts_size += size
        while self._ghosts_size > self._flash - self._flash // SMALL_SHARE:
            self._ghosts_size -= self._ghosts.popitem(last=False)[1]
