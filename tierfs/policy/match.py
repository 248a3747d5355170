"""The conditions of a rule as a tree: all of these, any of those, not that one.

Where a fact is not known, a condition is open, and so is its negation; a rule applies only to
files that surely pass (Kleene's three-valued logic, with None for open).
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

from tierfs.policy.conditions import Condition, Measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tierfs.policy.conditions import MeasureKey
    from tierfs.policy.facts import Facts
    from tierfs.policy.quantities import Interval


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part passes."""

    parts: tuple[Match, ...]
    cost: int

    @property
    def certain(self) -> bool | None:
        """True when every file passes, False when none does."""
        sure = [part.certain for part in self.parts]
        if False in sure or self._contradictory():
            return False
        return True if all(sure) else None

    def test(self, facts: Facts) -> bool | None:
        """Whether ``facts`` pass."""
        result: bool | None = True
        for part in self.parts:
            passed = part.test(facts)
            if passed is False:
                return False
            if passed is None:
                result = None
        return result

    def _contradictory(self) -> bool:
        """Whether two parts ask for sizes or times that no file has both of."""
        seen: dict[MeasureKey, Interval] = {}
        for part in _conjuncts(self):
            if isinstance(part, Measured):
                earlier = seen.get(part.key)
                seen[part.key] = earlier.both(part.interval) if earlier else part.interval
        return any(interval.empty for interval in seen.values())


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part passes."""

    parts: tuple[Match, ...]
    cost: int

    @property
    def certain(self) -> bool | None:
        """True when every file passes, False when none does."""
        sure = [part.certain for part in self.parts]
        if True in sure:
            return True
        return False if all(one is False for one in sure) else None

    def test(self, facts: Facts) -> bool | None:
        """Whether ``facts`` pass."""
        result: bool | None = False
        for part in self.parts:
            passed = part.test(facts)
            if passed:
                return True
            if passed is None:
                result = None
        return result


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not pass."""

    part: Match
    cost: int

    @property
    def certain(self) -> bool | None:
        """True when every file passes, False when none does."""
        sure = self.part.certain
        return None if sure is None else not sure

    def test(self, facts: Facts) -> bool | None:
        """Whether ``facts`` pass."""
        passed = self.part.test(facts)
        return None if passed is None else not passed


Match: TypeAlias = AllOf | AnyOf | Not | Condition
"""A tree of conditions."""


def all_of(parts: Iterable[Match]) -> Match:
    """``parts`` together, the cheapest first; a single one is itself."""
    ordered = _ordered(parts)
    return ordered[0] if len(ordered) == 1 else AllOf(ordered, ordered[-1].cost)


def any_of(parts: Iterable[Match]) -> Match:
    """Any of ``parts``, the cheapest first; a single one is itself."""
    ordered = _ordered(parts)
    return ordered[0] if len(ordered) == 1 else AnyOf(ordered, ordered[-1].cost)


def negated(part: Match) -> Match:
    """What ``part`` is not."""
    return Not(part, part.cost)


def _conjuncts(match: Match) -> Iterator[Match]:
    """What must hold for ``match`` to hold, ``all`` inside ``all`` taken apart."""
    for part in match.parts if isinstance(match, AllOf) else ():
        yield from _conjuncts(part) if isinstance(part, AllOf) else (part,)


def _ordered(parts: Iterable[Match]) -> tuple[Match, ...]:
    return tuple(sorted(parts, key=attrgetter("cost")))
