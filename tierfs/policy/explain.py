"""Why a policy decides as it does: for each rule the conditions that settled it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from tierfs.policy.decide import Decision, decide
from tierfs.policy.match import AllOf, AnyOf, Match, Not

if TYPE_CHECKING:
    from tierfs.policy.facts import Facts
    from tierfs.policy.tier_policy import Policy, Rule

Verdict: TypeAlias = Literal["matches", "does not match", "open", "not asked"]
"""``open``: a fact is not known, so the rule does not hold; ``not asked``: one before it did."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition and the fact that it is about; ``passed`` is None when the fact is not known."""

    key: str
    wanted: str
    negated: bool
    found: str
    passed: bool | None

    def told(self) -> str:
        """In a few words."""
        sign = "not " if self.negated else ""
        return f"{self.key} is {self.found}, wanted {sign}{self.wanted}"


@dataclass(frozen=True, slots=True)
class RuleReport:
    """What became of a rule, and the findings that settled it."""

    rule: str
    verdict: Verdict
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A report for each rule in order, and what holds in the end."""

    rules: tuple[RuleReport, ...]
    decision: Decision


def explain(policy: Policy, facts: Facts) -> Explanation:
    """Why `decide` says what it does."""
    decision = decide(policy, facts)
    reports: list[RuleReport] = []
    settled = False
    for rule in policy.rules:
        reports.append(RuleReport(rule.name, "not asked", ()) if settled else _report(rule, facts))
        settled = settled or rule.name == decision.rule
    return Explanation(tuple(reports), decision)


def _report(rule: Rule, facts: Facts) -> RuleReport:
    passed = rule.match.test(facts)
    verdict: Verdict = "open" if passed is None else "matches" if passed else "does not match"
    return RuleReport(rule.name, verdict, tuple(_deciding(rule.match, facts, negated=False)))


def _deciding(match: Match, facts: Facts, *, negated: bool) -> list[Finding]:
    """The conditions that made ``match`` come out as it did."""
    if isinstance(match, Not):
        return _deciding(match.part, facts, negated=not negated)
    passed = match.test(facts)
    if isinstance(match, AllOf | AnyOf):
        # All that failed settle "all of"; when none failed, all that passed did.
        parts = [part for part in match.parts if part.test(facts) is passed]
        return [one for part in parts for one in _deciding(part, facts, negated=negated)]
    outcome = passed if passed is None or not negated else not passed
    return [Finding(match.key, match.wanted(), negated, match.found(facts), outcome)]
