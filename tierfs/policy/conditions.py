"""The conditions of a rule, each declared in one place: its class, and the key that reads it.

A class says what passes, how the outcome is explained, and what it costs to test. The field below
it has the key, its reader, an example and the meaning for the reference. `MATCH_SCHEMA` lists all;
`MatchReader` reads the key ``match`` into a tree (`tierfs.policy.match`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar

from tierfs.common.errors import printable
from tierfs.common.units import format_duration, format_size
from tierfs.policy.diagnostics import quote
from tierfs.policy.fact_condition import FACT
from tierfs.policy.glob import MAX_LENGTH, BadGlob, Glob, path_glob, text_glob
from tierfs.policy.match import AnyOf, Condition, Match, all_of, any_of, negated
from tierfs.policy.schema import (
    REQUIRED,
    BadValue,
    Field,
    Reader,
    Schema,
    read_node,
    scalar_text,
    string_text,
)
from tierfs.policy.units import COUNT, DURATION, SIZE, Comparison, Duration
from tierfs.policy.values import AccountReader, ListOf, OneOrMore, account_name
from tierfs.policy.yaml import Mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Mapping as MappingOf

    from tierfs.policy.diagnostics import Diagnostics
    from tierfs.policy.match import Facts
    from tierfs.policy.units import Interval
    from tierfs.policy.values import Account, AccountKind
    from tierfs.policy.yaml import Node

T = TypeVar("T")

Parts: TypeAlias = tuple[Match, ...]
"""What a key is read into: conditions that all must pass."""

UNKNOWN: Final = "unknown"
"""How a fact that is not known is shown."""


@dataclass(frozen=True, slots=True)
class Made(Generic[T]):
    """Conditions made of what another reader reads."""

    reader: Reader[T]
    make: Callable[[T], Match]

    def read(self, node: Node, diagnostics: Diagnostics) -> Parts:
        """The condition."""
        return (self.make(self.reader.read(node, diagnostics)),)

    def json_schema(self) -> dict[str, Any]:
        """As the other reader."""
        return self.reader.json_schema()


COMPARED = "`<`, `<=`, `=`, `>=` or `>` and a number, or `A..B` with both ends included"
_ONE_OR_LIST = " One, or a list of which one must match."

# ------------------------------------------------------------------ size and times

MeasureKey: TypeAlias = Literal["size", "age", "idle"]

_MEASURES: MappingOf[MeasureKey, Callable[[Facts], int | None]] = {
    "size": attrgetter("row.size"),
    "age": attrgetter("age"),
    "idle": attrgetter("idle"),
}
_COSTS: MappingOf[MeasureKey, int] = {"size": 0, "age": 1, "idle": 2}


@dataclass(frozen=True, slots=True)
class Measured(Condition):
    """The size in bytes, or the nanoseconds since a write or a read, are in an interval."""

    fact: MeasureKey
    interval: Interval

    @property
    def key(self) -> str:
        """As `Condition`."""
        return self.fact

    @property
    def cost(self) -> int:
        """Less than a path or an attribute."""
        return _COSTS[self.fact]

    @property
    def certain(self) -> bool | None:
        """An idle time may not be known, so it never is."""
        return True if self.interval.everything and self.fact != "idle" else None

    @property
    def limits(self) -> tuple[int, int]:
        """As `Condition`."""
        return self.interval.low, self.interval.high

    @property
    def changes_with_time(self) -> bool:
        """The times grow."""
        return self.fact != "size"

    def test(self, facts: Facts) -> bool | None:
        """As `Condition`."""
        value = _MEASURES[self.fact](facts)
        return None if value is None else self.interval.low <= value <= self.interval.high

    def wanted(self) -> str:
        """As `Condition`."""
        return self.interval.text

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        value = _MEASURES[self.fact](facts)
        if value is None:
            return UNKNOWN
        return format_size(value) if self.fact == "size" else format_duration(value)


SIZE_IS = Field(
    "size",
    Made(Comparison(SIZE), partial(Measured, "size")),
    '"<= 4MiB"',
    None,
    "The file's size: " + COMPARED + ".",
)
AGE = Field(
    "age",
    Made(Comparison(DURATION), partial(Measured, "age")),
    '"> 30d"',
    None,
    "The time since its bytes were changed.",
)
IDLE = Field(
    "idle",
    Made(Comparison(DURATION), partial(Measured, "idle")),
    '"> 7d"',
    None,
    "The time since it was last read.",
)

# ------------------------------------------------------------------ owner and group

OwnerKey: TypeAlias = Literal["owner", "group"]


@dataclass(frozen=True, slots=True)
class OwnedBy(Condition):
    """The file's user, or group, is one of some."""

    fact: OwnerKey
    accounts: tuple[Account, ...]
    numbers: frozenset[int]
    cost: int = 0

    @property
    def key(self) -> str:
        """As `Condition`."""
        return self.fact

    def test(self, facts: Facts) -> bool:
        """As `Condition`."""
        return self._number(facts) in self.numbers

    def wanted(self) -> str:
        """As `Condition`."""
        return " or ".join(account.text for account in self.accounts)

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        kind: AccountKind = "user" if self.fact == "owner" else "group"
        return account_name(kind, self._number(facts))

    def _number(self, facts: Facts) -> int:
        return facts.row.uid if self.fact == "owner" else facts.row.gid


def _owned_by(key: OwnerKey, accounts: tuple[Account, ...]) -> OwnedBy:
    return OwnedBy(key, accounts, frozenset(account.number for account in accounts))


OWNER = Field(
    "owner",
    Made(OneOrMore(AccountReader("user"), '"owner"'), partial(_owned_by, "owner")),
    "lab",
    None,
    "The user it belongs to, by name or number." + _ONE_OR_LIST,
)
GROUP = Field(
    "group",
    Made(OneOrMore(AccountReader("group"), '"group"'), partial(_owned_by, "group")),
    "imaging",
    None,
    "The group it belongs to, by name or number." + _ONE_OR_LIST,
)

# ------------------------------------------------------------------ reads


@dataclass(frozen=True, slots=True)
class ReadsAre(Condition):
    """The number of reads in the last ``within`` nanoseconds is in an interval."""

    interval: Interval
    within: int
    key: str = "reads"
    cost: int = 3

    @property
    def changes_with_time(self) -> bool:
        """Reads are forgotten."""
        return True

    def test(self, facts: Facts) -> bool | None:
        """As `Condition`."""
        reads = facts.reads(self.within)
        return None if reads is None else self.interval.low <= reads <= self.interval.high

    def wanted(self) -> str:
        """As `Condition`."""
        return f"{self.interval.text} within {format_duration(self.within)}"

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        reads = facts.reads(self.within)
        return UNKNOWN if reads is None else f"{reads:,}"


READS_COUNT = Field(
    "count", Comparison(COUNT), '">= 3"', REQUIRED, "How many reads: " + COMPARED + "."
)
READS_WITHIN = Field(
    "within", Duration(), "7d", REQUIRED, "The period before now in which reads count."
)
READS_SCHEMA = Schema('"reads"', (READS_COUNT, READS_WITHIN))


@dataclass(frozen=True, slots=True)
class ReadsReader:
    """``reads: {count: ..., within: ...}``."""

    def read(self, node: Node, diagnostics: Diagnostics) -> Parts:
        """The condition; none when its parts are wrong, which is noted."""
        record = READS_SCHEMA.read(node, diagnostics)
        interval, within = record.get(READS_COUNT), record.get(READS_WITHIN)
        return (ReadsAre(interval, within),) if interval and within else ()

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return READS_SCHEMA.json_schema()


READS = Field(
    "reads",
    ReadsReader(),
    '{count: ">= 3", within: 7d}',
    None,
    "How often it was read recently.",
)

# ------------------------------------------------------------------ path


@dataclass(frozen=True, slots=True)
class PathFits(Condition):
    """One of the file's names fits one of some patterns."""

    globs: tuple[Glob, ...]
    key: str = "path"
    cost: int = 4

    @property
    def certain(self) -> bool | None:
        """Such as ``**``."""
        return any(glob.everything for glob in self.globs) or None

    @property
    def needs_paths(self) -> bool:
        """As `Condition`."""
        return True

    @property
    def path_prefixes(self) -> Sequence[str] | None:
        """As `Condition`."""
        found = [prefix for glob in self.globs for prefix in glob.prefixes]
        return None if "/" in found else found

    def test(self, facts: Facts) -> bool:
        """As `Condition`; a file without a name, unlinked but open, fits only what all do."""
        paths = facts.paths
        if not paths:
            return self.certain is True
        # Loops, not any(): this is most of what deciding costs.
        for glob in self.globs:
            fullmatch = glob.pattern.fullmatch
            for path in paths:
                if fullmatch(path):
                    return True
        return False

    def wanted(self) -> str:
        """As `Condition`."""
        return " or ".join(quote(glob.text) for glob in self.globs)

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        return ", ".join(printable(path) for path in facts.paths) or "no name"


@dataclass(frozen=True, slots=True)
class PathGlobReader:
    """A pattern of paths."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> Glob:
        """The pattern, compiled."""
        return _glob(path_glob, string_text(node, "a path"))

    def json_schema(self) -> dict[str, Any]:
        """As `read`, except for brackets that do not fit together."""
        return {"type": "string", "pattern": r"^(?:/|\*\*)", "maxLength": MAX_LENGTH}


def _glob(compiler: Callable[[str], Glob], text: str) -> Glob:
    try:
        return compiler(text)
    except BadGlob as exc:
        raise BadValue(f"{exc}: {quote(text)}", exc.hint) from exc


PATH = Field(
    "path",
    Made(OneOrMore(PathGlobReader(), '"path"'), PathFits),
    '"/screens/**"',
    None,
    "The file's path from the root of the mount: a pattern, see below." + _ONE_OR_LIST,
)

# ------------------------------------------------------------------ extended attributes

NAMESPACES = ("user", "trusted", "security")
"""Of the attributes that a policy may ask for (xattr(7)); ``tierfs.*`` it decides itself."""

_XATTR = rf"(?:{'|'.join(NAMESPACES)})\.[^\x00]{{1,240}}"


@dataclass(frozen=True, slots=True)
class XattrFits(Condition):
    """The value of the extended attribute ``name`` fits one of some patterns."""

    name: str
    globs: tuple[Glob, ...]
    cost: int = 5

    @property
    def key(self) -> str:
        """With the attribute's name."""
        return f"xattr {self.name}"

    def test(self, facts: Facts) -> bool:
        """As `Condition`."""
        value = facts.xattr(self.name)
        return value is not None and any(glob.matches(value) for glob in self.globs)

    def wanted(self) -> str:
        """As `Condition`."""
        return " or ".join(quote(glob.text) for glob in self.globs)

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        value = facts.xattr(self.name)
        return "not set" if value is None else quote(value)


@dataclass(frozen=True, slots=True)
class ValueGlobReader:
    """A pattern of an attribute's value."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> Glob:
        """The pattern, compiled."""
        return _glob(text_glob, scalar_text(node))

    def json_schema(self) -> dict[str, Any]:
        """As `read`; numbers and truth values stand for themselves, as they are written."""
        return {"type": ["string", "number", "boolean"], "maxLength": MAX_LENGTH}


ATTRIBUTE_VALUES = OneOrMore(ValueGlobReader(), "a value")


@dataclass(frozen=True, slots=True)
class XattrReader:
    """Extended attributes by name, each with the values that pass."""

    def read(self, node: Node, diagnostics: Diagnostics) -> Parts:
        """A condition for each."""
        if not isinstance(node, Mapping) or not node.entries:
            raise BadValue("must hold names of attributes, each with a value")
        conditions: list[Match] = []
        for entry in node.entries:
            name = quote(entry.key)
            if not re.fullmatch(_XATTR, entry.key):
                message = f"{name} is not the name of an attribute that can be matched"
                hint = f"names begin with {', '.join(f'{space}.' for space in NAMESPACES)}"
                if "." not in entry.key:
                    hint = f'did you mean "user.{entry.key}"?'
                diagnostics.add(entry.position, message, hint)
            try:
                globs = read_node(ATTRIBUTE_VALUES, entry.value, diagnostics)
                conditions.append(XattrFits(entry.key, globs))
            except BadValue as exc:
                hint = exc.hint or f'write, for example, "{entry.key}: archived"'
                diagnostics.add(entry.value.position, f"{name} {exc.message}", hint)
        return tuple(conditions)

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_XATTR}$"},
            "additionalProperties": ATTRIBUTE_VALUES.json_schema(),
            "minProperties": 1,
        }


XATTR = Field(
    "xattr",
    XattrReader(),
    "{user.state: archived}",
    None,
    "Extended attributes and their values, all of which must match; wildcards as in paths, `*` for"
    " any value. A list of values: one must match.",
)

# ------------------------------------------------------------------ all, any, not


@dataclass(frozen=True, slots=True)
class MatchReader:
    """A mapping of conditions, of which all must hold."""

    def read(self, node: Node, diagnostics: Diagnostics) -> Match:
        """The tree, or `WRONG`."""
        before = len(diagnostics.found)
        record = MATCH_SCHEMA.read(node, diagnostics)
        if isinstance(node, Mapping) and not node.entries:
            raise BadValue("holds no condition", 'to match every file write {path: "**"}')
        parts = chain.from_iterable(record.get(field) or () for field in MATCH_SCHEMA.fields)
        return all_of(parts) if len(diagnostics.found) == before else WRONG

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"$ref": "#/definitions/match"}


WRONG: Final[Match] = AnyOf((), 0)
"""Stands in for conditions with a mistake, about which no more can be said."""

ALL = Field(
    "all",
    ListOf(MatchReader(), 'a part of "all"', 1),
    '[{age: "> 1d"}, {size: "< 1MiB"}]',
    None,
    "A list of conditions: all must hold.",
)
ANY = Field(
    "any",
    Made(
        ListOf(MatchReader(), 'a part of "any"', 1),
        lambda parts: any_of(parts) if parts else WRONG,
    ),
    '[{idle: "> 30d"}, {owner: lab}]',
    None,
    "A list of conditions: at least one must hold.",
)
NOT = Field(
    "not",
    Made(MatchReader(), negated),
    '{path: "/tmp/**"}',
    None,
    "Conditions that must not all hold.",
)

MATCH_SCHEMA = Schema(
    '"match"', (PATH, SIZE_IS, AGE, IDLE, OWNER, GROUP, XATTR, FACT, READS, ALL, ANY, NOT)
)
