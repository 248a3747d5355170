"""Reading a tier policy from its file: what it says, or every mistake in it.

First each key by itself, by the declarations of `tierfs.policy.policy_keys`; then the mistakes
that no single key shows: contradictions, and rules that do nothing; then the `Policy`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from tierfs.common.units import KIB
from tierfs.policy.conditions import MATCH_SCHEMA, WRONG
from tierfs.policy.diagnostics import did_you_mean, quote
from tierfs.policy.model import STANDARD, Flash, Mark, Mover, Policy, Rule, Settings, show_prefix
from tierfs.policy.policy_keys import (
    CAPACITY,
    CLASS,
    CONCURRENCY,
    EVICT,
    EVICT_ORDER,
    FLASH,
    FORMAT,
    HEAD,
    HIGH,
    LOW,
    MATCH,
    MIRROR,
    MOVER,
    NAME,
    OPERATIONS,
    PIN,
    POLICY,
    PROMOTE,
    RATE,
    RESERVE,
    RULES,
    SUSPEND,
    VERSION,
    WINDOW,
)
from tierfs.policy.schema import EMPTY, read_document
from tierfs.policy.yaml import load_document, parse_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tierfs.policy.diagnostics import Diagnostics
    from tierfs.policy.match import Match
    from tierfs.policy.schema import Field, Record
    from tierfs.policy.yaml import Document

T = TypeVar("T")

DEFAULT_HEAD = 64 * KIB
"""Bytes of the head when neither the policy nor a volume file says otherwise."""

DIALECT = "http://json-schema.org/draft-07/schema#"


def load_policy(path: Path, *, head: int = DEFAULT_HEAD) -> Policy:
    """Read the policy file ``path``; ``head`` is that of the volume, in bytes.

    Users and groups are looked up now, on this machine.

    Raises:
        ConfigError: it cannot be read, or is wrong; the message has a line for every mistake.
    """
    hint = "check the name; for the keys of one: tierfs policy schema"
    return _read(path, load_document(path, if_missing=hint), head)


def parse_policy(path: Path, text: str, *, head: int = DEFAULT_HEAD) -> Policy:
    """As `load_policy`, of the text that ``path`` would have.

    Raises:
        ConfigError: it is wrong.
    """
    return _read(path, parse_document(path, text), head)


def _read(path: Path, document: Document, head: int) -> Policy:
    FORMAT.require_not_newer(document, VERSION.name)
    record = read_document(POLICY, document)
    _check(record, document.diagnostics)
    document.diagnostics.raise_if_any()
    return _policy(path, record, head)


def policy_schema() -> dict[str, Any]:
    """The JSON Schema of a policy file."""
    return {
        "$schema": DIALECT,
        "title": "tierfs tier policy",
        **POLICY.json_schema(),
        "definitions": {"match": {**MATCH_SCHEMA.json_schema(), "minProperties": 1}},
    }


# ------------------------------------------------------------------ from keys to the model


def _policy(path: Path, record: Record, head: int) -> Policy:
    flash = _flash(record[FLASH])
    ranks = {name: rank for rank, name in enumerate(flash.evict_order)}
    first = Settings(
        head, record[PIN], record[MIRROR], record[PROMOTE], record[EVICT], record[CLASS], 0
    )
    defaults = _settings(record, first, ranks)
    rules = (
        Rule(rule[NAME], rule[MATCH], _settings(rule, defaults, ranks)) for rule in record[RULES]
    )
    return Policy(path, defaults, flash, _mover(record[MOVER]), tuple(rules))


def _settings(record: Record, inherited: Settings, ranks: Mapping[str, int]) -> Settings:
    """The settings that a mapping gives, and those it inherits; ``ranks`` are those of classes."""

    def chosen(field: Field[T], otherwise: T) -> T:
        return record[field] if record.given(field) else otherwise

    name = chosen(CLASS, inherited.eviction_class)
    given_head = record.get(HEAD)
    head = inherited.head if given_head is None else given_head
    promote = inherited.promote
    # A promotion to what the head brings already does nothing; "head: none" asks for nothing.
    if promote and (promote.to <= head or given_head == 0):
        promote = None
    return Settings(
        head=head,
        pin=chosen(PIN, inherited.pin),
        mirror=chosen(MIRROR, inherited.mirror),
        promote=chosen(PROMOTE, promote),
        evict=chosen(EVICT, inherited.evict),
        eviction_class=name,
        eviction_rank=ranks[name],
    )


def _flash(record: Record) -> Flash:
    return Flash(
        high_watermark=record[HIGH],
        low_watermark=record[LOW],
        reserve=record[RESERVE],
        evict_order=record[EVICT_ORDER],
        capacity=record[CAPACITY],
    )


def _mover(record: Record) -> Mover:
    return Mover(
        rate=record[RATE],
        operations=record[OPERATIONS],
        concurrency=record[CONCURRENCY],
        windows=record[WINDOW],
        suspend_on_errors=record[SUSPEND],
    )


DEFAULT_FLASH = _flash(EMPTY)
"""What holds where a policy has no key ``flash``, and without a policy."""

DEFAULT_MOVER = _mover(EMPTY)
"""Likewise for ``mover``."""


# ------------------------------------------------------------------ mistakes of more than one key


def _check(policy: Record, diagnostics: Diagnostics) -> None:
    """The rules that concern more than one key, as far as the keys themselves are right."""
    rules = policy.get(RULES) or ()
    if flash := policy.get(FLASH):
        _check_watermarks(flash, diagnostics)
    _check_classes(policy, rules, diagnostics)
    for record in (policy, *rules):
        _check_settings(record, policy, diagnostics)
    _check_rules(rules, diagnostics)


def _check_watermarks(flash: Record, diagnostics: Diagnostics) -> None:
    """The low watermark is below the high one."""
    high = flash.get(HIGH) or (None if flash.given(HIGH) else HIGH.default)
    low = flash.get(LOW) or (None if flash.given(LOW) else LOW.default)
    if not isinstance(high, Mark) or not isinstance(low, Mark):
        return
    if (high.size is None) == (low.size is None):
        wrong = (low.size or low.percent or 0) >= (high.size or high.percent or 0)
    else:  # what a share of a filesystem comes to is not known here
        capacity = flash.get(CAPACITY)
        wrong = capacity is not None and low.of(capacity) >= high.of(capacity)
    if wrong:
        what = f'"low_watermark" ({low}) is not below "high_watermark" ({high})'
        position = flash.position_of(LOW if flash.given(LOW) else HIGH)
        diagnostics.add(position, what, "leave some room between the two")


def _check_classes(policy: Record, rules: Sequence[Record], diagnostics: Diagnostics) -> None:
    """Every class that is used has its place in the order of eviction, and only one."""
    flash = policy.get(FLASH)
    order = flash.get(EVICT_ORDER) if flash else None
    if order is None and flash is not None and flash.given(EVICT_ORDER):
        return
    known = order or (STANDARD,)
    position = flash.position_of(EVICT_ORDER) if flash else policy.position
    for name in (name for name, times in Counter(known).items() if times > 1):
        what = f'"evict_order" holds {quote(name)} twice'
        diagnostics.add(position, what, "keep one of the two")
    if STANDARD not in known and not policy.given(CLASS):
        what = f'"evict_order" does not hold {quote(STANDARD)}, the class of all other files'
        diagnostics.add(position, what, f'add "{STANDARD}"')
    # A dict: a list of classes as long as that of rules would make this quadratic.
    distinct = dict.fromkeys(known)
    for record in (policy, *rules):
        used = record.get(CLASS)
        if used is not None and used not in distinct:
            meant = None if diagnostics.too_many else did_you_mean(used, distinct)
            hint = f'did you mean "{meant}"?' if meant else f'add "{used}" to it'
            what = f'"class" {quote(used)} is not in "evict_order" of "flash"'
            diagnostics.add(record.position_of(CLASS), what, hint)


def _check_settings(record: Record, policy: Record, diagnostics: Diagnostics) -> None:
    """No setting of a mapping contradicts another of it, or the head that it inherits."""
    head, promote, evict = record.get(HEAD), record.get(PROMOTE), record.get(EVICT)
    if record.get(PIN):
        if (head if record.given(HEAD) else policy.get(HEAD)) == 0:
            what = '"pin: true" has no use with "head: none": there is nothing to keep on flash'
            hint = 'write "head: all", or remove one of the two'
            diagnostics.add(record.position_of(PIN), what, hint)
        if evict in {"heat", "lru"}:
            what = f'"evict: {evict}" has no use with "pin: true", which keeps it on flash'
            diagnostics.add(record.position_of(EVICT), what, "remove one of the two")
    if promote is not None and head is not None and promote.to <= head:
        to, now = show_prefix(promote.to), show_prefix(head)
        what = f'"promote" to {to} brings nothing that "head: {now}" has not brought already'
        diagnostics.add(record.position_of(PROMOTE), what, "make it longer, or remove it")


def _check_rules(rules: Sequence[Record], diagnostics: Diagnostics) -> None:
    """Names are distinct, and every rule has files that it can match."""
    names: dict[str, Record] = {}
    matches: dict[Match, Record] = {}
    shadow: Record | None = None  # the first rule that matches every file
    for rule in rules:
        name, match = rule.get(NAME), rule.get(MATCH)
        if name and (first := names.setdefault(name, rule)) is not rule:
            what = f"{_label(rule)} has the name of the rule on line {_line(first)}"
            diagnostics.add(rule.position_of(NAME), what, "give each its own name")
        if match is None or match is WRONG:
            continue
        never = f"{_label(rule)} can never match"
        position = rule.position_of(MATCH)
        twin = matches.setdefault(match, rule)
        certain = match.certain
        if certain is False:
            diagnostics.add(position, f"{never}: no file meets its conditions", "change them")
        elif shadow is not None:
            what = f"{never}: {_label(shadow)} before it matches every file"
            diagnostics.add(position, what, "move it up, or remove it")
        elif twin is not rule:
            what = f"{never}: {_label(twin)} before it has the same conditions"
            diagnostics.add(position, what, "remove one of the two")
        if shadow is None and certain is True:
            shadow = rule


def _label(rule: Record) -> str:
    """How messages call a rule."""
    name = rule.get(NAME)
    return f"rule {quote(name)}" if name else f"the rule on line {_line(rule)}"


def _line(rule: Record) -> int:
    return rule.position_of(NAME).line
