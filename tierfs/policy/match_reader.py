"""The key ``match`` of a rule: its table, and the tree that reading it gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tierfs.policy.accounts import AccountReader
from tierfs.policy.conditions import Measured, OwnedBy, PathFits, ReadsAre, XattrFits
from tierfs.policy.document import Mapping
from tierfs.policy.fields import REQUIRED, BadValue, Field, Record, Table, read_value
from tierfs.policy.globs import MAX_LENGTH, BadGlob, Glob, path_glob, text_glob
from tierfs.policy.match import AnyOf, Match, all_of, any_of, negated
from tierfs.policy.problems import quote
from tierfs.policy.quantities import COUNT, DURATION, SIZE, Comparison
from tierfs.policy.readers import one_text
from tierfs.policy.schema import table_schema
from tierfs.policy.values import Duration, ListOf, OneOrMore, word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tierfs.policy.accounts import Account
    from tierfs.policy.conditions import MeasureKey, OwnerKey
    from tierfs.policy.document import Entry, Value
    from tierfs.policy.problems import Problems
    from tierfs.policy.quantities import Interval

NAMESPACES = ("user", "trusted", "security")
"""Of the attributes that a policy may ask for (xattr(7)); ``tierfs.*`` it decides itself."""

_XATTR = rf"(?:{'|'.join(NAMESPACES)})\.[^\x00]{{1,240}}"


@dataclass(frozen=True, slots=True)
class PathGlobReader:
    """A pattern of paths."""

    def read(self, value: Value, _problems: Problems) -> Glob:
        """The pattern, compiled."""
        return _glob(path_glob, word(value, "a path"))

    def schema(self) -> dict[str, Any]:
        """As `read`, but for brackets that do not fit together."""
        return {"type": "string", "pattern": r"^(?:/|\*\*)", "maxLength": MAX_LENGTH}


@dataclass(frozen=True, slots=True)
class ValueGlobReader:
    """A pattern of an attribute's value."""

    def read(self, value: Value, _problems: Problems) -> Glob:
        """The pattern, compiled."""
        return _glob(text_glob, one_text(value))

    def schema(self) -> dict[str, Any]:
        """As `read`; numbers and truth values stand for themselves, as they are written."""
        return {"type": ["string", "number", "boolean"], "maxLength": MAX_LENGTH}


def _glob(compiler: Callable[[str], Glob], text: str) -> Glob:
    try:
        return compiler(text)
    except BadGlob as exc:
        raise BadValue(f"{exc}: {quote(text)}", exc.hint) from exc


ATTRIBUTE_VALUES = OneOrMore(ValueGlobReader(), "a value")


@dataclass(frozen=True, slots=True)
class XattrReader:
    """Extended attributes by name, each with the values that pass."""

    def read(self, value: Value, problems: Problems) -> tuple[XattrFits, ...]:
        """A condition for each."""
        if not isinstance(value, Mapping) or not value.entries:
            raise BadValue("must hold names of attributes, each with a value")
        return tuple(self._conditions(value, problems))

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_XATTR}$"},
            "additionalProperties": ATTRIBUTE_VALUES.schema(),
            "minProperties": 1,
        }

    def _conditions(self, value: Mapping, problems: Problems) -> Iterator[XattrFits]:
        for entry in value.entries:
            if not re.fullmatch(_XATTR, entry.key):
                what = f"{quote(entry.key)} is not the name of an attribute that can be matched"
                problems.add(entry.place, what, _name_hint(entry))
            try:
                yield XattrFits(entry.key, read_value(ATTRIBUTE_VALUES, entry.value, problems))
            except BadValue as exc:
                hint = exc.hint or f'write, for example, "{entry.key}: archived"'
                problems.add(entry.value.place, f"{quote(entry.key)} {exc.what}", hint)


def _name_hint(entry: Entry) -> str:
    if "." not in entry.key:
        return f'did you mean "user.{entry.key}"?'
    return f"names begin with {', '.join(f'{space}.' for space in NAMESPACES)}"


COMPARED = "`<`, `<=`, `=`, `>=` or `>` and a number, or `A..B` with both ends included"
READS_COUNT = Field(
    "count", Comparison(COUNT), '">= 3"', REQUIRED, "How many reads: " + COMPARED + "."
)
READS_WITHIN = Field("within", Duration(), "7d", REQUIRED, "The time before now that is looked at.")
READS_TABLE = Table('"reads"', (READS_COUNT, READS_WITHIN))


@dataclass(frozen=True, slots=True)
class ReadsReader:
    """``reads: {count: ..., within: ...}``."""

    def read(self, value: Value, problems: Problems) -> ReadsAre | None:
        """The condition; None when its parts are wrong, which ``problems`` then tells."""
        record = READS_TABLE.read(value, problems)
        interval, within = record.good(READS_COUNT), record.good(READS_WITHIN)
        return ReadsAre(interval, within) if interval and within else None

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return table_schema(READS_TABLE)


@dataclass(frozen=True, slots=True)
class MatchReader:
    """A mapping of conditions, of which all must hold."""

    def read(self, value: Value, problems: Problems) -> Match:
        """The tree, or `WRONG`."""
        before = len(problems.found)
        record = MATCH_TABLE.read(value, problems)
        if not record.places and isinstance(value, Mapping) and not value.entries:
            raise BadValue("holds no condition", 'to match every file write {path: "**"}')
        return all_of(_parts(record)) if len(problems.found) == before else WRONG

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"$ref": "#/definitions/match"}


WRONG: Final[Match] = AnyOf((), 0)
"""Stands in for conditions with a mistake, about which no more can be said."""

_ONE_OR_LIST = " One, or a list of which one must fit."
PATH = Field(
    "path",
    OneOrMore(PathGlobReader(), '"path"'),
    '"/screens/**"',
    None,
    "The file's path from the root of the mount: a pattern, see below." + _ONE_OR_LIST,
)
SIZE_IS = Field("size", Comparison(SIZE), '"<= 4MiB"', None, "The file's size: " + COMPARED + ".")
AGE = Field("age", Comparison(DURATION), '"> 30d"', None, "The time since its bytes were changed.")
IDLE = Field("idle", Comparison(DURATION), '"> 7d"', None, "The time since it was last read.")
OWNER = Field(
    "owner",
    OneOrMore(AccountReader("user"), '"owner"'),
    "lab",
    None,
    "The user it belongs to, by name or number." + _ONE_OR_LIST,
)
GROUP = Field(
    "group",
    OneOrMore(AccountReader("group"), '"group"'),
    "imaging",
    None,
    "The group it belongs to, by name or number." + _ONE_OR_LIST,
)
XATTR = Field(
    "xattr",
    XattrReader(),
    "{user.state: archived}",
    None,
    "Extended attributes and their values, all of which must fit; wildcards as in paths, `*` for"
    " any value. A list of values: one must fit.",
)
READS = Field(
    "reads", ReadsReader(), '{count: ">= 3", within: 7d}', None, "How often it was read lately."
)
ALL = Field(
    "all",
    ListOf(MatchReader(), 'a part of "all"', 1),
    '[{age: "> 1d"}, {size: "< 1MiB"}]',
    None,
    "A list of conditions: all must hold.",
)
ANY = Field(
    "any",
    ListOf(MatchReader(), 'a part of "any"', 1),
    '[{idle: "> 30d"}, {owner: lab}]',
    None,
    "A list of conditions: at least one must hold.",
)
NOT = Field("not", MatchReader(), '{path: "/tmp/**"}', None, "Conditions that must not all hold.")

MEASURES: Final[dict[MeasureKey, Field[Interval | None]]] = {
    "size": SIZE_IS,
    "age": AGE,
    "idle": IDLE,
}
OWNERS: Final[dict[OwnerKey, Field[tuple[Account, ...] | None]]] = {"owner": OWNER, "group": GROUP}

MATCH_TABLE = Table(
    '"match"', (PATH, SIZE_IS, AGE, IDLE, OWNER, GROUP, XATTR, READS, ALL, ANY, NOT)
)


def _parts(record: Record) -> Iterator[Match]:
    """The conditions that are right."""
    yield from _facts(record)
    yield from record.good(XATTR) or ()
    yield from record.good(ALL) or ()
    if parts := record.good(ANY):
        yield any_of(parts)
    if part := record.good(NOT):
        yield negated(part)


def _facts(record: Record) -> Iterator[Match]:
    """The conditions about one fact each."""
    if globs := record.good(PATH):
        yield PathFits(globs)
    if reads := record.good(READS):
        yield reads
    for measure, field in MEASURES.items():
        if interval := record.good(field):
            yield Measured(measure, interval)
    for owner, field_of in OWNERS.items():
        if accounts := record.good(field_of):
            yield OwnedBy(owner, accounts, frozenset(one.number for one in accounts))
