"""The keys of a tier policy: how each is read, what holds without it, and what it means.

The page docs/reference/tier-policy.md, the JSON Schema and the checker are made of these
declarations. configs/policy.example.yaml shows every key.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import GIB, MAX_SIZE, MIB
from tierfs.policy.conditions import MatchReader
from tierfs.policy.model import STANDARD, Evict, Mark, Mirror, Promote, Window
from tierfs.policy.schedule import WindowReader
from tierfs.policy.schema import EMPTY, REQUIRED, Field, Record, Schema
from tierfs.policy.units import (
    NO_LIMIT,
    ByteRate,
    CountRate,
    Duration,
    Percent,
    Size,
    Watermark,
)
from tierfs.policy.values import (
    Boolean,
    Choice,
    Count,
    FormatVersion,
    KeywordOr,
    ListOf,
    Name,
    OneOrMore,
)
from tierfs.policy.volume_file import HEAD_STEP

if TYPE_CHECKING:
    from tierfs.policy.diagnostics import Diagnostics
    from tierfs.policy.yaml import Node

FORMAT: Final = FormatVersion(readable=1)

# ------------------------------------------------------------------ settings of files

HEAD_SIZE: Final = Size(HEAD_STEP, GIB, HEAD_STEP)
ALL = MappingProxyType({"all": WHOLE_FILE})
ALL_OR_NONE = MappingProxyType({"all": WHOLE_FILE, "none": 0})

PROMOTE_READS = Field(
    "reads", Count(1_000_000), "3", meaning="How many reads promote a file: 1 to 1000000."
)
PROMOTE_WITHIN = Field(
    "within", Duration(), "1h", meaning="The time in which the reads must come: 1s to 100y."
)
PROMOTE_TO = Field(
    "to",
    KeywordOr(ALL, HEAD_SIZE),
    "1MiB",
    WHOLE_FILE,
    "What then belongs on flash: `all`, or a size longer than the head.",
    "all",
)
PROMOTE_SCHEMA = Schema('"promote"', (PROMOTE_READS, PROMOTE_WITHIN, PROMOTE_TO))


@dataclass(frozen=True, slots=True)
class PromoteReader:
    """``promote: {reads: ..., within: ..., to: ...}``."""

    def read(self, node: Node, diagnostics: Diagnostics) -> Promote:
        """The promotion; its own mistakes go to ``diagnostics``."""
        record = PROMOTE_SCHEMA.read(node, diagnostics)
        reads, within = record.get(PROMOTE_READS), record.get(PROMOTE_WITHIN)
        return Promote(reads or 1, within or NO_LIMIT, record.get(PROMOTE_TO) or WHOLE_FILE)

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return PROMOTE_SCHEMA.json_schema()


MIRRORS: tuple[Mirror, ...] = ("async", "sync", "never")
EVICTIONS: tuple[Evict, ...] = ("heat", "lru", "never")

HEAD: Field[int | None] = Field(
    "head",
    KeywordOr(ALL_OR_NONE, HEAD_SIZE),
    "64KiB",
    None,
    "How much of the file's start belongs on flash: 4KiB to 1GiB in steps of 4KiB, `all` or"
    " `none`.",
    "the `head` of the volume file",
)
PIN = Field(
    "pin",
    Boolean(),
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
    KeywordOr(MappingProxyType({"never": None}), PromoteReader()),
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
    "How files are chosen when flash is full: those read least, where recent reads count most"
    " (`heat`), those not read for the longest time (`lru`), or not at all (`never`).",
    "heat",
)
CLASS = Field(
    "class",
    Name(),
    "scratch",
    STANDARD,
    "The class in which the file is evicted; see `flash.evict_order`.",
    STANDARD,
)

SETTINGS: Final[tuple[Field[Any], ...]] = (HEAD, PIN, MIRROR, PROMOTE, EVICT, CLASS)

# ------------------------------------------------------------------ limits of the volume

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
    "Stop evicting at this fill level, written in the same way. Less than `high_watermark`.",
    "75%",
)
RESERVE = Field(
    "reserve",
    Size(0, MAX_SIZE, 1),
    "5GiB",
    GIB,
    "Bytes of flash that are always left free, for the index and others.",
    "1GiB",
)
EVICT_ORDER: Field[tuple[str, ...]] = Field(
    "evict_order",
    ListOf(Name(), "a class", 1),
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
    "How much tierfs may fill of a flash filesystem that others use too, at least 1GiB: the bytes"
    " of its own files count, and `reserve` is left free for all.",
    "the whole filesystem",
)
FLASH_SCHEMA = Schema('"flash"', (HIGH, LOW, RESERVE, CAPACITY, EVICT_ORDER))

RATE: Field[int | None] = Field(
    "rate",
    KeywordOr(UNLIMITED, ByteRate()),
    "200MiB/s",
    200 * MIB,
    "The most bytes moved in a second: at least 64KiB/s, or `unlimited`.",
    "200MiB/s",
)
OPERATIONS: Field[int | None] = Field(
    "operations",
    KeywordOr(UNLIMITED, CountRate()),
    "500/s",
    None,
    "The most files moved in a second, or `unlimited`.",
    "unlimited",
)
CONCURRENCY = Field(
    "concurrency", Count(64), "4", 2, "The most files moved at the same time: 1 to 64.", "2"
)
WINDOW: Field[tuple[Window, ...]] = Field(
    "window",
    OneOrMore(WindowReader(), '"window"'),
    '"22:00-06:00"',
    (),
    "When files are moved, in local time: `HH:MM-HH:MM`, optionally with days in front"
    " (`mon-fri 20:00-07:00`, `sat,sun 00:00-24:00`). One, or a list.",
    "always",
)
SUSPEND: Field[float | None] = Field(
    "suspend_on_errors",
    KeywordOr(MappingProxyType({"never": None}), Percent()),
    "20%",
    50.0,
    "Pause for a while when more than this share of the latest moves failed, or `never`.",
    "50%",
)
MOVER_SCHEMA = Schema('"mover"', (RATE, OPERATIONS, CONCURRENCY, WINDOW, SUSPEND))

FLASH = Field(
    "flash",
    FLASH_SCHEMA,
    "{high_watermark: 85%}",
    EMPTY,
    "How full flash may be.",
    "see below",
)
MOVER = Field(
    "mover",
    MOVER_SCHEMA,
    "{rate: 100MiB/s}",
    EMPTY,
    "How hard the mover may work.",
    "see below",
)

# ------------------------------------------------------------------ rules and the whole file

NAME = Field("name", Name(), "archive", REQUIRED, "The name of the rule in reports and metrics.")
MATCH = Field(
    "match",
    MatchReader(),
    '{path: "/archive/**"}',
    REQUIRED,
    "Which files the rule applies to: conditions, all of which must hold.",
)
RULE_SCHEMA = Schema("a rule", (NAME, MATCH, *SETTINGS))
VERSION = Field("version", FORMAT, "1", REQUIRED, "The version of the file's format: `1`.")
RULES: Field[tuple[Record, ...]] = Field(
    "rules",
    ListOf(RULE_SCHEMA, "a rule"),
    '[{name: archive, match: {path: "/archive/**"}, head: none}]',
    (),
    "Rules in order: the first that a file matches holds for it.",
    "none",
)

POLICY = Schema("the policy", (VERSION, *SETTINGS, FLASH, MOVER, RULES))
