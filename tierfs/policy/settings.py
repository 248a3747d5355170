"""What a policy sets for a file: its keys, which the top level and every rule share."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from tierfs.base.durations import format_duration
from tierfs.base.extents import WHOLE_FILE
from tierfs.base.units import GIB, format_size
from tierfs.policy.fields import Field, Record, Table
from tierfs.policy.quantities import NO_LIMIT
from tierfs.policy.readers import Choice, Size
from tierfs.policy.schema import table_schema
from tierfs.policy.values import Count, Duration, Flag, Word, WordOr
from tierfs.policy.volume_file import HEAD_STEP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierfs.policy.document import Value
    from tierfs.policy.problems import Problems

T = TypeVar("T")

Mirror: TypeAlias = Literal["async", "sync", "never"]
Evict: TypeAlias = Literal["heat", "lru", "never"]

STANDARD: Final = "standard"
"""The class of files for which the policy names none."""


@dataclass(frozen=True, slots=True)
class Promote:
    """After ``reads`` reads within so many nanoseconds, the first ``to`` bytes go to flash."""

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

    def told(self) -> str:
        """The settings in a line."""
        parts = [
            f"head {show_prefix(self.head)}",
            "pinned" if self.pin else f"evict {self.evict}",
            f"mirror {self.mirror}",
            f"promote {_promotion(self.promote)}",
            f"class {self.eviction_class}",
        ]
        return ", ".join(parts)


def show_prefix(prefix: int) -> str:
    """A number of bytes from the start as a policy writes it."""
    return {0: "none", WHOLE_FILE: "all"}.get(prefix) or format_size(prefix)


def _promotion(promote: Promote | None) -> str:
    if promote is None:
        return "never"
    within = format_duration(promote.within)
    return f"to {show_prefix(promote.to)} after {promote.reads} reads within {within}"


HEAD_SIZE: Final = Size(HEAD_STEP, GIB, HEAD_STEP)
ALL = MappingProxyType({"all": WHOLE_FILE})
ALL_OR_NONE = MappingProxyType({"all": WHOLE_FILE, "none": 0})

PROMOTE_READS = Field(
    "reads", Count(1_000_000), "3", meaning="So many reads make it happen: 1 to 1000000."
)
PROMOTE_WITHIN = Field(
    "within", Duration(), "1h", meaning="The time in which the reads must come: 1s to 100y."
)
PROMOTE_TO = Field(
    "to",
    WordOr(ALL, HEAD_SIZE),
    "1MiB",
    WHOLE_FILE,
    "What then belongs on flash: `all`, or a size longer than the head.",
    "all",
)
PROMOTE_TABLE = Table('"promote"', (PROMOTE_READS, PROMOTE_WITHIN, PROMOTE_TO))


@dataclass(frozen=True, slots=True)
class PromoteReader:
    """``promote: {reads: ..., within: ..., to: ...}``."""

    def read(self, value: Value, problems: Problems) -> Promote:
        """The promotion; its own mistakes go to ``problems``."""
        record = PROMOTE_TABLE.read(value, problems)
        reads, within = record.good(PROMOTE_READS), record.good(PROMOTE_WITHIN)
        return Promote(reads or 1, within or NO_LIMIT, record.good(PROMOTE_TO) or WHOLE_FILE)

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return table_schema(PROMOTE_TABLE)


MIRRORS: tuple[Mirror, ...] = ("async", "sync", "never")
EVICTIONS: tuple[Evict, ...] = ("heat", "lru", "never")

HEAD: Field[int | None] = Field(
    "head",
    WordOr(ALL_OR_NONE, HEAD_SIZE),
    "64KiB",
    None,
    "How much of the file's start belongs on flash: 4KiB to 1GiB in steps of 4KiB, `all` or"
    " `none`.",
    "the `head` of the volume file",
)
PIN = Field(
    "pin",
    Flag(),
    "true",
    default=False,
    meaning="Keep it on flash, however full flash is.",
    unset="false",
)
MIRROR: Field[Mirror] = Field(
    "mirror",
    Choice(MIRRORS),
    "never",
    "async",
    "Copy the head to disk as well, in the background (`async`); also before fsync(2) returns"
    " (`sync`, see below); or `never`: then it must be copied when it is evicted, and is lost with"
    " the flash device.",
    "async",
)
PROMOTE: Field[Promote | None] = Field(
    "promote",
    WordOr(MappingProxyType({"never": None}), PromoteReader()),
    "{reads: 3, within: 1h}",
    None,
    "Bring more of the file to flash when it is read often. `never`: do not. A rule with"
    " `head: none` does not inherit it.",
    "never",
)
EVICT: Field[Evict] = Field(
    "evict",
    Choice(EVICTIONS),
    "lru",
    "heat",
    "How files are chosen when flash is full: those read least of late (`heat`), those not read for"
    " the longest time (`lru`), or not at all (`never`).",
    "heat",
)
CLASS = Field(
    "class",
    Word(),
    "scratch",
    STANDARD,
    "The class in which the file is evicted; see `flash.evict_order`.",
    STANDARD,
)

SETTINGS: Final[tuple[Field[Any], ...]] = (HEAD, PIN, MIRROR, PROMOTE, EVICT, CLASS)


def settings_of(record: Record, inherited: Settings, ranks: Mapping[str, int]) -> Settings:
    """The settings that a mapping gives, and those it inherits; ``ranks`` are those of classes."""

    def chosen(field: Field[T], otherwise: T) -> T:
        return record[field] if record.given(field) else otherwise

    name = chosen(CLASS, inherited.eviction_class)
    given_head = record.good(HEAD)
    head = inherited.head if given_head is None else given_head
    return Settings(
        head=head,
        pin=chosen(PIN, inherited.pin),
        mirror=chosen(MIRROR, inherited.mirror),
        promote=chosen(PROMOTE, _useful(inherited.promote, given_head, head)),
        evict=chosen(EVICT, inherited.evict),
        eviction_class=name,
        eviction_rank=ranks[name],
    )


def _useful(inherited: Promote | None, given_head: int | None, head: int) -> Promote | None:
    """An inherited promotion, unless the head is as long already or was said to be ``none``."""
    useless = inherited is None or inherited.to <= head or given_head == 0
    return None if useless else inherited
