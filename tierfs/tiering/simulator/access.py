"""One use of a file, and a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Access(NamedTuple):
    """File ``ino`` is read, or written, at ``time`` (nanoseconds since the first access).

    ``size`` is what the file, or its head, takes on flash, in bytes, and what is read of it.
    """

    time: int
    ino: int
    size: int
    write: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """Accesses in the order of time; those before number ``counted_from`` only warm flash up."""

    name: str
    accesses: Sequence[Access]
    counted_from: int = 0

    @property
    def stored(self) -> int:
        """Bytes of all files together."""
        return sum(sizes_of(self.accesses).values())


def sizes_of(accesses: Sequence[Access]) -> dict[int, int]:
    """Each file's size: the largest that was seen."""
    sizes: dict[int, int] = {}
    for access in accesses:
        sizes[access.ino] = max(access.size, sizes.get(access.ino, 0))
    return sizes
