"""The tier policy: what belongs on flash, as an administrator writes it.

The keys are documented in docs/reference/tier-policy.md and shown in configs/policy.example.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tierfs.base.units import KIB
from tierfs.policy.document import Document, Mapping, load_document
from tierfs.policy.fields import REQUIRED, Field, Record, Table, read_document
from tierfs.policy.limits import FLASH, MOVER, Flash, Mover, flash_of, mover_of
from tierfs.policy.match import Match
from tierfs.policy.match_reader import MATCH_TABLE, WRONG, MatchReader
from tierfs.policy.policy_checks import (
    RuleHead,
    check_classes,
    check_flash,
    check_rules,
    check_settings,
)
from tierfs.policy.readers import FormatVersion
from tierfs.policy.schema import document_schema, table_schema
from tierfs.policy.settings import (
    CLASS,
    EVICT,
    MIRROR,
    PIN,
    PROMOTE,
    SETTINGS,
    Settings,
    settings_of,
)
from tierfs.policy.values import ListOf, Word

if TYPE_CHECKING:
    from pathlib import Path

    from tierfs.policy.document import Value
    from tierfs.policy.problems import Problems

DEFAULT_HEAD = 64 * KIB
"""Bytes of the head when neither the policy nor a volume file says otherwise."""

_FORMAT = FormatVersion(readable=1)
_HINT_IF_MISSING = "check the name; for the keys of one: tierfs policy schema"


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


NAME = Field("name", Word(), "archive", REQUIRED, "How reports and metrics call the rule.")
MATCH = Field(
    "match",
    MatchReader(),
    '{path: "/archive/**"}',
    REQUIRED,
    "The files that it is about: conditions, of which all must hold.",
)
RULE_TABLE = Table("a rule", (NAME, MATCH, *SETTINGS))


@dataclass(frozen=True, slots=True)
class RuleReader:
    """One rule; what it says is made of it when the whole file is right."""

    def read(self, value: Value, problems: Problems) -> Record:
        """Its record."""
        return RULE_TABLE.read(value, problems)

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return table_schema(RULE_TABLE)


VERSION = Field("version", _FORMAT, "1", REQUIRED, "The version of the file's format: `1`.")
RULES: Field[tuple[Record, ...]] = Field(
    "rules",
    ListOf(RuleReader(), "a rule"),
    '[{name: archive, match: {path: "/archive/**"}, head: none}]',
    (),
    "Rules in order: the first that a file matches holds for it.",
    "none",
)

POLICY = Table("the policy", (VERSION, *SETTINGS, FLASH, MOVER, RULES))


def load_policy(path: Path, *, head: int = DEFAULT_HEAD) -> Policy:
    """Read the policy file ``path``; ``head`` is that of the volume, in bytes.

    Users and groups are looked up now, on this machine.

    Raises:
        ConfigError: it cannot be read, or is wrong; the message has a line for every mistake.
    """
    document = load_document(path, if_missing=_HINT_IF_MISSING)
    problems = document.problems
    _require_readable_version(document)
    record = read_document(POLICY, document)
    _check(record, problems)
    problems.raise_if_any()
    return _policy(path, record, head)


def policy_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file."""
    definitions = {"match": {**table_schema(MATCH_TABLE), "minProperties": 1}}
    return document_schema(POLICY, "tierfs tier policy", definitions)


def _require_readable_version(document: Document) -> None:
    if isinstance(document.root, Mapping):
        for entry in document.root.entries:
            if entry.key == VERSION.name:
                _FORMAT.require_not_newer(entry, document.problems)


def _check(record: Record, problems: Problems) -> None:
    """The rules that concern more than one key, as far as the keys themselves are right."""
    rules = record.good(RULES) or ()
    check_flash(record.good(FLASH), problems)
    check_classes(record, rules, problems)
    for settings in (record, *rules):
        check_settings(settings, record, problems)
    check_rules([_head_of(rule) for rule in rules], problems)


def _head_of(rule: Record) -> RuleHead:
    match = rule.good(MATCH)
    right = None if match is WRONG else match
    return RuleHead(rule.good(NAME), rule.place_of(NAME), right, rule.place_of(MATCH))


def _policy(path: Path, record: Record, head: int) -> Policy:
    flash = flash_of(record[FLASH])
    ranks = {name: rank for rank, name in enumerate(flash.evict_order)}
    first = Settings(
        head, record[PIN], record[MIRROR], record[PROMOTE], record[EVICT], record[CLASS], 0
    )
    defaults = settings_of(record, first, ranks)
    rules = (
        Rule(rule[NAME], rule[MATCH], settings_of(rule, defaults, ranks)) for rule in record[RULES]
    )
    return Policy(path, defaults, flash, mover_of(record[MOVER]), tuple(rules))
