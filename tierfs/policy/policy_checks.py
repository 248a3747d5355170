"""Mistakes of a policy that no single key shows: contradictions, and rules that do nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierfs.policy.limits import EVICT_ORDER, FLASH, HIGH, LOW
from tierfs.policy.problems import Place, did_you_mean, quote
from tierfs.policy.settings import CLASS, EVICT, HEAD, PIN, PROMOTE, STANDARD, show_prefix

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tierfs.policy.fields import Record
    from tierfs.policy.match import Match
    from tierfs.policy.problems import Problems


@dataclass(frozen=True, slots=True)
class RuleHead:
    """A rule's name and conditions, None where they are wrong, and their places."""

    name: str | None
    name_place: Place
    match: Match | None
    match_place: Place

    @property
    def label(self) -> str:
        """How messages call it."""
        return (
            f"rule {quote(self.name)}" if self.name else f"the rule on line {self.name_place.line}"
        )


def check_flash(flash: Record | None, problems: Problems) -> None:
    """The low watermark is below the high one."""
    if flash is None:
        return
    high = flash.good(HIGH) or (None if flash.given(HIGH) else HIGH.default)
    low = flash.good(LOW) or (None if flash.given(LOW) else LOW.default)
    if not isinstance(high, float) or not isinstance(low, float) or low < high:
        return
    what = f'"low_watermark" ({low:g}%) is not below "high_watermark" ({high:g}%)'
    place = flash.place_of(LOW if flash.given(LOW) else HIGH)
    problems.add(place, what, "leave some room between the two")


def check_classes(policy: Record, rules: Sequence[Record], problems: Problems) -> None:
    """Every class that is used has its place in the order of eviction, and only one."""
    flash = policy.good(FLASH)
    order = flash.good(EVICT_ORDER) if flash else None
    if order is None and flash is not None and flash.given(EVICT_ORDER):
        return
    known = order or (STANDARD,)
    place = flash.place_of(EVICT_ORDER) if flash else policy.place
    for name in (name for name, times in Counter(known).items() if times > 1):
        problems.add(place, f'"evict_order" holds {quote(name)} twice', "keep one of the two")
    if STANDARD not in known and not policy.given(CLASS):
        what = f'"evict_order" does not hold {quote(STANDARD)}, the class of all other files'
        problems.add(place, what, f'add "{STANDARD}"')
    distinct = dict.fromkeys(known)
    for record in (policy, *rules):
        _check_class(record, distinct, problems)


def _check_class(record: Record, known: Collection[str], problems: Problems) -> None:
    name = record.good(CLASS)
    if name is None or name in known:
        return
    meant = None if problems.too_many else did_you_mean(name, known)
    hint = f'did you mean "{meant}"?' if meant else f'add "{name}" to it'
    what = f'"class" {quote(name)} is not in "evict_order" of "flash"'
    problems.add(record.place_of(CLASS), what, hint)


def check_settings(record: Record, policy: Record, problems: Problems) -> None:
    """No setting of a mapping contradicts another of it, or the head that it inherits."""
    head, promote = record.good(HEAD), record.good(PROMOTE)
    if record.good(PIN):
        _check_pinned(record, head if record.given(HEAD) else policy.good(HEAD), problems)
    if promote is not None and head is not None and promote.to <= head:
        to, now = show_prefix(promote.to), show_prefix(head)
        what = f'"promote" to {to} brings nothing that "head: {now}" has not brought already'
        problems.add(record.place_of(PROMOTE), what, "make it longer, or remove it")


def _check_pinned(record: Record, head: int | None, problems: Problems) -> None:
    if head == 0:
        what = '"pin: true" has no use with "head: none": there is nothing to keep on flash'
        problems.add(record.place_of(PIN), what, 'write "head: all", or remove one of the two')
    if record.good(EVICT) in {"heat", "lru"}:
        what = f'"evict: {record.good(EVICT)}" has no use with "pin: true", which keeps it on flash'
        problems.add(record.place_of(EVICT), what, "remove one of the two")


def check_rules(rules: Sequence[RuleHead], problems: Problems) -> None:
    """Names are distinct, and every rule has files that it can match."""
    names: dict[str, RuleHead] = {}
    matches: dict[Match, RuleHead] = {}
    shadow: RuleHead | None = None
    for rule in rules:
        if rule.name and (first := names.setdefault(rule.name, rule)) is not rule:
            what = f"{rule.label} has the name of the rule on line {first.name_place.line}"
            problems.add(rule.name_place, what, "give each its own name")
        if rule.match is not None:
            twin = matches.setdefault(rule.match, rule)
            shadow = _check_reachable(rule, rule.match, shadow, twin, problems)


def _check_reachable(
    rule: RuleHead,
    match: Match,
    shadow: RuleHead | None,
    twin: RuleHead,
    problems: Problems,
) -> RuleHead | None:
    """Report a rule that no file gets to; returns the rule that matches everything, if any.

    ``twin`` is the first rule with the same conditions, perhaps ``rule`` itself.
    """
    never = f"{rule.label} can never match"
    certain = match.certain
    if certain is False:
        problems.add(rule.match_place, f"{never}: no file meets its conditions", "change them")
    elif shadow is not None:
        what = f"{never}: {shadow.label} before it matches every file"
        problems.add(rule.match_place, what, "move it up, or remove it")
    elif twin is not rule:
        what = f"{never}: {twin.label} before it has the same conditions"
        problems.add(rule.match_place, what, "remove one of the two")
    return rule if shadow is None and certain is True else shadow
