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


def decide(policy: Policy, facts: Facts) -> Decision:
    """What holds for a file: the first rule that it surely matches, else the defaults."""
    for rule in policy.rules:
        if rule.match.test(facts):
            return Decision(rule.name, rule.settings)
    return Decision(None, policy.defaults)
