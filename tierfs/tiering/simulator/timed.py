"""Whether what a policy says of a file changes by the passing of time alone."""

from __future__ import annotations

from tierfs.policy.match import AllOf, AnyOf, Match, Not
from tierfs.policy.tier_policy import Policy


def depends_on_time(policy: Policy) -> bool:
    """Whether another rule may hold for a file without a change of the file."""
    return any(_keys(rule.match) & {"age", "idle", "reads"} for rule in policy.rules)


def _keys(match: Match) -> set[str]:
    if isinstance(match, Not):
        return _keys(match.part)
    if isinstance(match, AllOf | AnyOf):
        return set().union(*(_keys(part) for part in match.parts))
    return {match.key}
