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
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from tierfs.policy.match import Facts

Mirror: TypeAlias = Literal["async", "sync", "never"]
Evict: TypeAlias = Literal["heat", "lru", "never"]

Verdict: TypeAlias = Literal["matches", "does not match", "open", "not asked"]
"""``open``: a fact is not known, so the rule does not hold; ``not asked``: one before it did."""


MANY_RULES: Final = 32
"""The least number of rules about paths for which they are found by the beginning of a path."""

AT_A_TIME: Final = 4
"""Rules that are tried without a rest: the first time their patterns are compiled, 0.3 ms each."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""In the order of `datetime.weekday`."""

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
class Mark:
    """How full something is: ``percent`` of its capacity, or ``size`` bytes; the other is None."""

    percent: float | None = None
    size: int | None = None

    def of(self, capacity: int) -> int:
        """The bytes in use that it stands for; never more than ``capacity``."""
        if self.size is not None:
            return min(self.size, capacity)
        return int(capacity * (self.percent or 0.0) / 100)

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.size is None else format_size(self.size)


@dataclass(frozen=True, slots=True)
class Window:
    """From ``start`` to ``end``, minutes of the day, on the ``days`` (0 is Monday).

    One that ends before it starts runs past midnight, and belongs to the day on which it starts.
    """

    days: frozenset[int]
    start: int
    end: int
    text: str

    def holds(self, when: datetime) -> bool:
        """Whether ``when``, a local time, is inside."""
        minute, day = when.hour * 60 + when.minute, when.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        evening = day in self.days and minute >= self.start
        return evening or ((day - 1) % len(DAYS) in self.days and minute < self.end)


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

    def __init__(self, policy: Policy, rest: Callable[[], object] | None = None) -> None:
        """``rest``: called now and then while many rules are tried for a file."""
        self._rules = tuple(
            (rule.match.test, Decision(rule.name, rule.settings)) for rule in policy.rules
        )
        self._otherwise = Decision(None, policy.defaults)
        self._rest = rest
        prefixes = [rule.match.path_prefixes for rule in policy.rules]
        if sum(one is not None for one in prefixes) < MANY_RULES:
            prefixes = [None] * len(prefixes)
        self._others = {number for number, some in enumerate(prefixes) if some is None}
        """Rules that are tried for each file."""
        self._by_prefix: dict[str, list[int]] = {}
        """Rules that are tried only where a path begins with the key."""
        for number, some in enumerate(prefixes):
            for prefix in some or ():
                self._by_prefix.setdefault(prefix, []).append(number)
        self._lengths = sorted({len(prefix) for prefix in self._by_prefix})

    def decide(self, facts: Facts) -> Decision:
        """The settings of the first rule that the file certainly matches, else the defaults."""
        rules = self._rules
        for test, decision in rules if len(rules) < MANY_RULES else self._candidates(facts):
            if test(facts):
                return decision
        return self._otherwise

    def _candidates(
        self, facts: Facts
    ) -> Iterator[tuple[Callable[[Facts], bool | None], Decision]]:
        """The rules that the file's paths do not rule out, in their order."""
        found = self._others
        if self._by_prefix:
            found = found.copy()
            for path in facts.paths:
                for length in self._lengths:
                    found.update(self._by_prefix.get(path[:length], ()))
        for count, number in enumerate(sorted(found)):
            if self._rest and count % AT_A_TIME == 0:
                self._rest()
            yield self._rules[number]


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
