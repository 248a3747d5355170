"""The decider: what a policy says about a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierfs.policy.facts import Facts
    from tierfs.policy.settings import Settings
    from tierfs.policy.tier_policy import Policy


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
