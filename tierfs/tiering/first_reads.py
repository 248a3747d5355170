"""How far into files programs read first, by extension and size, in bounded memory.

A *first read* goes from the beginning of a file onwards, as far as it went without a gap. It is
counted in a histogram, by what told of it:

- ``job``: a training client, which measures what its program reads;
- ``requests``: the kernel's requests, with what it read ahead: an upper bound.

Counts fade with a half-life of a month, so that what is proposed follows what is read.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast, get_args

from tierfs.common.units import DAY, KIB

Source: TypeAlias = Literal["job", "requests"]

HALF_LIFE: Final = 30 * DAY
"""Nanoseconds after which a first read counts half."""

EXTENSIONS: Final = 48
"""That are kept apart of each source: the commonest. The others are together, as `OTHERS`."""

OTHERS: Final = ""
"""Also the extension of files without one, and of those that a rule could not name."""

CELLS: Final = 16_384
"""Counts that are kept; the lightest go first."""

FORGOTTEN: Final = 0.01
"""A count that has faded to less goes."""

_STEPS: Final = (4, 5, 6, 7)
REACHES: Final = (
    *(4 * KIB * step for step in (1, 2, 3)),
    *(step << shift for shift in range(12, 25) for step in _STEPS),
)
"""Bytes at which the classes of the reach end, multiples of 4 KiB: 4KiB to 112MiB."""

_MOST_BYTES: Final = 4 * 1024 * 1024
_VERSION: Final = 1
_EXTENSION: Final = re.compile(r"\.[A-Za-z0-9_-]{1,15}")
_LARGEST: Final = 1 << 63


class Cell(NamedTuple):
    """Files of one kind that were read about as far."""

    source: Source
    extension: str
    """With its dot."""
    size: int
    """The largest length of such files, in bytes: a power of two. All are longer than half."""
    reach: int
    """The furthest offset that was read, in bytes: one of `REACHES`; 0: beyond all of these."""
    whole: bool
    """They were read to their end."""


class FirstReads:
    """The histogram. For one thread at a time."""

    def __init__(self) -> None:
        self.counts: dict[Cell, float] = {}
        self.faded_at: int | None = None
        """When counts faded last, in ns since the epoch; None: never."""

    def count(self, source: Source, extension: str, size: int, reach: int) -> None:
        """A file of ``size`` bytes was first read ``reach`` bytes far, which may be beyond it."""
        if not (0 < size < _LARGEST and reach > 0):
            return
        if not _EXTENSION.fullmatch(extension):
            extension = OTHERS
        cell = Cell(
            source, extension, size_class(size), reach_class(min(reach, size)), reach >= size
        )
        self.counts[cell] = self.counts.get(cell, 0.0) + 1
        if len(self.counts) > CELLS:
            self._shrink()

    def fade(self, now: int) -> None:
        """Let counts lose weight until ``now`` (ns since the epoch); the rarest are forgotten."""
        before, self.faded_at = self.faded_at, now
        left = 1.0 if before is None else 0.5 ** (max(0, now - before) / HALF_LIFE)
        self.counts = {
            cell: count * left for cell, count in self.counts.items() if count * left >= FORGOTTEN
        }
        self._merge_rare()

    def _shrink(self) -> None:
        """Half of the room is free afterwards."""
        self._merge_rare()
        heaviest = sorted(self.counts, key=self.counts.__getitem__, reverse=True)
        for cell in heaviest[CELLS // 2 :]:
            del self.counts[cell]

    def _merge_rare(self) -> None:
        for source in get_args(Source):
            sums: dict[str, float] = {}
            for cell, count in self.counts.items():
                if cell.source == source and cell.extension != OTHERS:
                    sums[cell.extension] = sums.get(cell.extension, 0.0) + count
            rare = set(sorted(sums, key=sums.__getitem__, reverse=True)[EXTENSIONS:])
            gone = [one for one in self.counts if one.source == source and one.extension in rare]
            for cell in gone:
                others = cell._replace(extension=OTHERS)
                self.counts[others] = self.counts.get(others, 0.0) + self.counts.pop(cell)


def extension_of(name: bytes) -> str:
    """The extension of a name with its dot, as it is written there; `OTHERS`: none."""
    stem, dot, last = name.rpartition(b".")
    found = (dot + last).decode("ascii", "replace") if stem else OTHERS
    return found if _EXTENSION.fullmatch(found) else OTHERS


def size_class(size: int) -> int:
    """The power of two that is not less than ``size``."""
    return 1 << max(0, size - 1).bit_length()


def reach_class(reach: int) -> int:
    """The least of `REACHES` that is not less; 0: there is none."""
    at = bisect_left(REACHES, reach)
    return REACHES[at] if at < len(REACHES) else 0


# ------------------------------------------------------------------ over a restart


class BadFirstReads(ValueError):
    """They are of another version or damaged; begin with none."""


def pack(table: FirstReads) -> bytes:
    """A snapshot."""
    rows = [[*cell, round(count, 4)] for cell, count in table.counts.items()]
    return json.dumps({"version": _VERSION, "faded_at": table.faded_at, "rows": rows}).encode()


def unpack(snapshot: bytes) -> FirstReads:
    """The histogram of a snapshot.

    Raises:
        BadFirstReads: it cannot be used.
    """
    table = FirstReads()
    try:
        found: dict[str, Any] = json.loads(snapshot)
        version, faded_at = found["version"], found["faded_at"]
        table.faded_at = None if faded_at is None else int(faded_at)
        rows = cast("Iterable[list[Any]]", found["rows"])
        table.counts = dict(map(_row, rows)) if version == _VERSION else {}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
        raise BadFirstReads("first reads are damaged") from None
    if version != _VERSION:
        raise BadFirstReads(f"first reads of version {version!r} cannot be used")
    if len(table.counts) > CELLS:
        raise BadFirstReads("first reads are more than can be kept")
    return table


def _row(row: list[Any]) -> tuple[Cell, float]:
    """Raises ValueError or TypeError."""
    source, extension, size, reach, whole, count = row
    weight = float(count)
    if not (
        source in get_args(Source)
        and isinstance(extension, str)
        and (extension == OTHERS or _EXTENSION.fullmatch(extension))
        and isinstance(size, int)
        and 0 < size <= _LARGEST
        and size == size_class(size)
        and (reach == 0 or reach in REACHES)
        and isinstance(whole, bool)
        and 0 < weight < float("inf")
    ):
        raise ValueError(row)
    return Cell(source, extension, size, int(reach), whole), weight
