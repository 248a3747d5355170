"""The policy's limits of the whole volume: how full flash may be, and how hard the mover works."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from tierfs.base.units import GIB, MAX_SIZE, MIB
from tierfs.policy.fields import NOTHING_GIVEN, Field, Record, Table
from tierfs.policy.readers import Size
from tierfs.policy.settings import STANDARD
from tierfs.policy.values import (
    ByteRate,
    Count,
    CountRate,
    ListOf,
    Mark,
    OneOrMore,
    Percent,
    Watermark,
    Word,
    WordOr,
)
from tierfs.policy.windows import Window, WindowReader

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Flash:
    """How full flash may be."""

    high_watermark: Mark
    """Above it files are evicted."""
    low_watermark: Mark
    """Evicting stops here."""
    reserve: int
    """Bytes that are always left free."""
    evict_order: tuple[str, ...]
    """Classes, those that are evicted first at the beginning."""
    capacity: int | None = None
    """Bytes of flash that tierfs may fill; None: the filesystem is all its own."""


@dataclass(frozen=True, slots=True)
class Mover:
    """How much the mover may do."""

    rate: int | None
    """Bytes a second; None: no limit."""
    operations: int | None
    """Moves a second; None: no limit."""
    concurrency: int
    """Moves at a time."""
    windows: tuple[Window, ...]
    """When it may work; none: always."""
    suspend_on_errors: float | None
    """Percent of its latest moves that may fail before it stops for a while; None: any."""

    def may_work(self, when: datetime) -> bool:
        """Whether ``when``, a local time, is in one of the windows."""
        return not self.windows or any(window.holds(when) for window in self.windows)


UNLIMITED = MappingProxyType({"unlimited": None})

HIGH = Field(
    "high_watermark",
    Watermark(),
    "85%",
    Mark(percent=85.0),
    "Evict when flash is fuller than this: percent of `capacity`, or a size such as `100GiB`.",
    "85%",
)
LOW = Field(
    "low_watermark",
    Watermark(),
    "75%",
    Mark(percent=75.0),
    "Stop evicting when flash is as empty as this, written likewise. Less than `high_watermark`.",
    "75%",
)
RESERVE = Field(
    "reserve",
    Size(0, MAX_SIZE, 1),
    "5GiB",
    GIB,
    "Bytes of flash that are left free always, for the index and others.",
    "1GiB",
)
EVICT_ORDER: Field[tuple[str, ...]] = Field(
    "evict_order",
    ListOf(Word(), "a class", 1),
    "[scratch, standard, reference]",
    (STANDARD,),
    "Classes in the order of eviction: the second when nothing of the first is left, and so on.",
    "[standard]",
)
CAPACITY: Field[int | None] = Field(
    "capacity",
    Size(GIB, MAX_SIZE, 1),
    "500GiB",
    None,
    "What tierfs may fill of a flash filesystem that others use as well, 1GiB at least: its files'"
    " own bytes count, and `reserve` is left free for all.",
    "the whole filesystem",
)
FLASH_TABLE = Table('"flash"', (HIGH, LOW, RESERVE, CAPACITY, EVICT_ORDER))

RATE: Field[int | None] = Field(
    "rate",
    WordOr(UNLIMITED, ByteRate()),
    "200MiB/s",
    200 * MIB,
    "Bytes moved in a second at most: at least 64KiB/s, or `unlimited`.",
    "200MiB/s",
)
OPERATIONS: Field[int | None] = Field(
    "operations",
    WordOr(UNLIMITED, CountRate()),
    "500/s",
    None,
    "Files moved in a second at most, or `unlimited`.",
    "unlimited",
)
CONCURRENCY = Field(
    "concurrency", Count(64), "4", 2, "Files moved at the same time at most: 1 to 64.", "2"
)
WINDOW: Field[tuple[Window, ...]] = Field(
    "window",
    OneOrMore(WindowReader(), '"window"'),
    '"22:00-06:00"',
    (),
    "When files are moved, in local time: `HH:MM-HH:MM`, with days in front if wished"
    " (`mon-fri 20:00-07:00`, `sat,sun 00:00-24:00`). One, or a list.",
    "always",
)
SUSPEND: Field[float | None] = Field(
    "suspend_on_errors",
    WordOr(MappingProxyType({"never": None}), Percent()),
    "20%",
    50.0,
    "Stop moving for a while when more of the latest moves failed than this, or `never`.",
    "50%",
)
MOVER_TABLE = Table('"mover"', (RATE, OPERATIONS, CONCURRENCY, WINDOW, SUSPEND))

FLASH = Field(
    "flash",
    FLASH_TABLE,
    "{high_watermark: 85%}",
    NOTHING_GIVEN,
    "How full flash may be.",
    "see below",
)
MOVER = Field(
    "mover",
    MOVER_TABLE,
    "{rate: 100MiB/s}",
    NOTHING_GIVEN,
    "How hard the mover may work.",
    "see below",
)


def flash_of(record: Record) -> Flash:
    """The limits of a table that was read without problems."""
    return Flash(record[HIGH], record[LOW], record[RESERVE], record[EVICT_ORDER], record[CAPACITY])


def mover_of(record: Record) -> Mover:
    """Likewise."""
    return Mover(
        rate=record[RATE],
        operations=record[OPERATIONS],
        concurrency=record[CONCURRENCY],
        windows=record[WINDOW],
        suspend_on_errors=record[SUSPEND],
    )
