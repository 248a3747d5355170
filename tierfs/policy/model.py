"""What a tier policy says once it is read, what it decides for a file, and why.

Values that know nothing of YAML; `tierfs.policy.tier_policy` reads them from a file. The policy
evaluator of the tiering engine, `tierfs.tiering.target`, asks a `Decider` for each file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import SECOND, format_duration, format_size
from tierfs.policy.match import AllOf, AnyOf, Match, Not

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from tierfs.policy.match import Facts
    from tierfs.policy.schedule import Window
    from tierfs.policy.units import Mark

Mirror: TypeAlias = Literal["async", "sync", "never"]
Evict: TypeAlias = Literal["heat", "lru", "never"]

Verdict: TypeAlias = Literal["matches", "does not match", "open", "not asked"]
"""``open``: a fact is not known, so the rule does not hold; ``not asked``: one before it did."""


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


# ------------------------------------------------------------------ decisions


@dataclass(frozen=True, slots=True)
class Decision:
    """The rule that holds for a file, None for the defaults, and what it sets."""

    rule: str | None
    settings: Settings


class Decider:
    """Decides by one policy for many files; a rule has one `Decision`, however many it is for."""

    def __init__(self, policy: Policy) -> None:
        self._rules = tuple(
            (rule.match.test, Decision(rule.name, rule.settings)) for rule in policy.rules
        )
        self._otherwise = Decision(None, policy.defaults)

    def decide(self, facts: Facts) -> Decision:
        """What holds for a file: the first rule that it surely matches, else the defaults."""
        for test, decision in self._rules:
            if test(facts):
                return decision
        return self._otherwise


def decide(policy: Policy, facts: Facts) -> Decision:
    """What holds for one file, as `Decider.decide`."""
    return Decider(policy).decide(facts)


# ------------------------------------------------------------------ explanations


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """A condition and the fact that it is about; ``passed`` is None when the fact is not known."""

    key: str
    wanted: str
    negated: bool
    found: str
    passed: bool | None

    def summary(self) -> str:
        """In a few words."""
        sign = "not " if self.negated else ""
        return f"{self.key} is {self.found}, wanted {sign}{self.wanted}"


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What became of a rule, and the conditions that settled it."""

    rule: str
    verdict: Verdict
    findings: tuple[ConditionResult, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A result for each rule in order, and what holds in the end."""

    rules: tuple[RuleResult, ...]
    decision: Decision


def explain(policy: Policy, facts: Facts) -> Explanation:
    """Why `decide` says what it does."""
    decision = decide(policy, facts)
    results: list[RuleResult] = []
    settled = False
    for rule in policy.rules:
        if settled:
            results.append(RuleResult(rule.name, "not asked", ()))
            continue
        passed = rule.match.test(facts)
        verdict: Verdict = "open" if passed is None else "matches" if passed else "does not match"
        findings = tuple(_deciding(rule.match, facts, negated=False))
        results.append(RuleResult(rule.name, verdict, findings))
        settled = rule.name == decision.rule
    return Explanation(tuple(results), decision)


def _deciding(match: Match, facts: Facts, *, negated: bool) -> list[ConditionResult]:
    """The conditions that made ``match`` come out as it did."""
    if isinstance(match, Not):
        return _deciding(match.part, facts, negated=not negated)
    passed = match.test(facts)
    if isinstance(match, AllOf | AnyOf):
        # All that failed settle "all of"; when none failed, all that passed did.
        parts = [part for part in match.parts if part.test(facts) is passed]
        return [one for part in parts for one in _deciding(part, facts, negated=negated)]
    outcome = passed if passed is None or not negated else not passed
    return [ConditionResult(match.key, match.wanted(), negated, match.found(facts), outcome)]


def explanation_record(explanation: Explanation) -> dict[str, Any]:
    """What `tierfs policy explain --json` prints; bytes and seconds. ``lines`` is for people."""
    decision = explanation.decision
    settings = decision.settings
    promote = settings.promote
    return {
        "rule": decision.rule,
        "settings": {
            "head": prefix_record(settings.head),
            "pin": settings.pin,
            "mirror": settings.mirror,
            "promote": promote
            and {
                "reads": promote.reads,
                "within_s": promote.within / SECOND,
                "to": prefix_record(promote.to),
            },
            "evict": settings.evict,
            "class": settings.eviction_class,
        },
        "rules": [asdict(result) for result in explanation.rules],
        "lines": explanation_lines(explanation),
    }


def explanation_lines(explanation: Explanation) -> list[tuple[str, str]]:
    """Name and verdict of each rule, and the one that holds with what it sets."""
    rows = []
    for result in explanation.rules:
        reasons = "; ".join(finding.summary() for finding in result.findings)
        rows.append((result.rule, f"{result.verdict}: {reasons}" if reasons else result.verdict))
    decision = explanation.decision
    return [*rows, (f"=> {decision.rule or 'the defaults'}", decision.settings.summary())]


def prefix_record(prefix: int) -> int | str:
    """A number of bytes from the start, or ``all``."""
    return "all" if prefix == WHOLE_FILE else prefix
