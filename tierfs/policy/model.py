"""What a tier policy says once it is read: settings by rule, how full flash may be, the mover.

Plain values that know nothing of YAML; `tierfs.policy.tier_policy` reads them from a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import format_duration, format_size

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from tierfs.policy.conditions import Match
    from tierfs.policy.schedule import Window

Mirror: TypeAlias = Literal["async", "sync", "never"]
Evict: TypeAlias = Literal["heat", "lru", "never"]

STANDARD: Final = "standard"
"""The class of files for which the policy names none."""


def show_prefix(prefix: int) -> str:
    """A number of bytes from the start as a policy writes it."""
    return {0: "none", WHOLE_FILE: "all"}.get(prefix) or format_size(prefix)


@dataclass(frozen=True, slots=True)
class Promote:
    """After ``reads`` reads within ``within`` nanoseconds, the first ``to`` bytes go to flash."""

    reads: int
    within: int
    to: int = WHOLE_FILE


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for a file."""

    head: int
    """Bytes of its start that belong on flash; 0 for none, `WHOLE_FILE` for all."""
    pin: bool
    """Whether they stay there, however full flash is."""
    mirror: Mirror
    """Whether the head is copied to disk as well."""
    promote: Promote | None
    evict: Evict
    eviction_class: str
    eviction_rank: int
    """The place of the class in the order of eviction: files of rank 0 are evicted first."""

    def summary(self) -> str:
        """The settings in a line."""
        promotion = "never"
        if self.promote:
            within = format_duration(self.promote.within)
            to = show_prefix(self.promote.to)
            promotion = f"to {to} after {self.promote.reads} reads within {within}"
        parts = [
            f"head {show_prefix(self.head)}",
            "pinned" if self.pin else f"evict {self.evict}",
            f"mirror {self.mirror}",
            f"promote {promotion}",
            f"class {self.eviction_class}",
        ]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Mark:
    """How full something is: ``percent`` of its capacity, or ``size`` bytes; the other is None."""

    percent: float | None = None
    size: int | None = None

    def of(self, capacity: int) -> int:
        """The bytes in use that it stands for; never more than ``capacity``."""
        if self.size is not None:
            return min(self.size, capacity)
        return int(capacity * (self.percent or 0.0) / 100)

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.size is None else format_size(self.size)


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


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for the files that match."""

    name: str
    match: Match
    settings: Settings


@dataclass(frozen=True, slots=True)
class Policy:
    """What a policy file says: the first rule that a file matches holds, else the defaults."""

    path: Path
    defaults: Settings
    flash: Flash
    mover: Mover
    rules: tuple[Rule, ...]
