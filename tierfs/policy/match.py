"""The key ``match`` of a rule, read into a tree of conditions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tierfs.policy.conditions import (
    AnyOf,
    Match,
    Measured,
    OwnedBy,
    PathFits,
    ReadsAre,
    XattrFits,
    all_of,
    any_of,
    negated,
)
from tierfs.policy.diagnostics import quote
from tierfs.policy.glob import MAX_LENGTH, BadGlob, Glob, path_glob, text_glob
from tierfs.policy.schema import REQUIRED, BadValue, Field, Record, Schema, read_node
from tierfs.policy.units import COUNT, DURATION, SIZE, Comparison, Duration
from tierfs.policy.values import AccountReader, ListOf, OneOrMore, scalar_text, string_text
from tierfs.policy.yaml import Mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tierfs.policy.conditions import MeasureKey, OwnerKey
    from tierfs.policy.diagnostics import Diagnostics
    from tierfs.policy.units import Interval
    from tierfs.policy.values import Account
    from tierfs.policy.yaml import Node

NAMESPACES = ("user", "trusted", "security")
"""Of the attributes that a policy may ask for (xattr(7)); ``tierfs.*`` it decides itself."""

_XATTR = rf"(?:{'|'.join(NAMESPACES)})\.[^\x00]{{1,240}}"


@dataclass(frozen=True, slots=True)
class PathGlobReader:
    """A pattern of paths."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> Glob:
        """The pattern, compiled."""
        return _glob(path_glob, string_text(node, "a path"))

    def json_schema(self) -> dict[str, Any]:
        """As `read`, but for brackets that do not fit together."""
        return {"type": "string", "pattern": r"^(?:/|\*\*)", "maxLength": MAX_LENGTH}


@dataclass(frozen=True, slots=True)
class ValueGlobReader:
    """A pattern of an attribute's value."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> Glob:
        """The pattern, compiled."""
        return _glob(text_glob, scalar_text(node))

    def json_schema(self) -> dict[str, Any]:
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

    def read(self, node: Node, diagnostics: Diagnostics) -> tuple[XattrFits, ...]:
        """A condition for each."""
        if not isinstance(node, Mapping) or not node.entries:
            raise BadValue("must hold names of attributes, each with a value")
        conditions = []
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


COMPARED = "`<`, `<=`, `=`, `>=` or `>` and a number, or `A..B` with both ends included"
READS_COUNT = Field(
    "count", Comparison(COUNT), '">= 3"', REQUIRED, "How many reads: " + COMPARED + "."
)
READS_WITHIN = Field("within", Duration(), "7d", REQUIRED, "The time before now that is looked at.")
READS_SCHEMA = Schema('"reads"', (READS_COUNT, READS_WITHIN))


@dataclass(frozen=True, slots=True)
class ReadsReader:
    """``reads: {count: ..., within: ...}``."""

    def read(self, node: Node, diagnostics: Diagnostics) -> ReadsAre | None:
        """The condition; None when its parts are wrong, which is noted."""
        record = READS_SCHEMA.read(node, diagnostics)
        interval, within = record.get(READS_COUNT), record.get(READS_WITHIN)
        return ReadsAre(interval, within) if interval and within else None

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return READS_SCHEMA.json_schema()


@dataclass(frozen=True, slots=True)
class MatchReader:
    """A mapping of conditions, of which all must hold."""

    def read(self, node: Node, diagnostics: Diagnostics) -> Match:
        """The tree, or `WRONG`."""
        before = len(diagnostics.found)
        record = MATCH_SCHEMA.read(node, diagnostics)
        if isinstance(node, Mapping) and not node.entries:
            raise BadValue("holds no condition", 'to match every file write {path: "**"}')
        return all_of(_parts(record)) if len(diagnostics.found) == before else WRONG

    def json_schema(self) -> dict[str, Any]:
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

MATCH_SCHEMA = Schema(
    '"match"', (PATH, SIZE_IS, AGE, IDLE, OWNER, GROUP, XATTR, READS, ALL, ANY, NOT)
)


def _parts(record: Record) -> Iterator[Match]:
    """The conditions that are right."""
    if globs := record.get(PATH):
        yield PathFits(globs)
    if reads := record.get(READS):
        yield reads
    for measure, field in MEASURES.items():
        if interval := record.get(field):
            yield Measured(measure, interval)
    for owner, field_of in OWNERS.items():
        if accounts := record.get(field_of):
            yield OwnedBy(owner, accounts, frozenset(one.number for one in accounts))
    yield from record.get(XATTR) or ()
    yield from record.get(ALL) or ()
    if parts := record.get(ANY):
        yield any_of(parts)
    if part := record.get(NOT):
        yield negated(part)
