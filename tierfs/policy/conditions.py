"""The facts of a file, and the conditions that a rule tests them with.

A fact may not be known (when was this file last read?). The answer of a condition is then None,
"open", and so is that of its negation; a rule applies only to files that surely match (Kleene's
three-valued logic). A rule's conditions are a tree, a `Match`: all of these, any of those, not
that one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from tierfs.common.text import printable
from tierfs.common.units import format_duration, format_size
from tierfs.policy.diagnostics import quote
from tierfs.policy.values import account_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tierfs.policy.glob import Glob
    from tierfs.policy.units import Interval
    from tierfs.policy.values import Account, AccountKind

UNKNOWN: Final = "unknown"
"""How a fact that is not known is shown."""


@dataclass(slots=True)
class Facts:
    """A regular file as it is at the time ``now``; times and lengths of time in nanoseconds.

    Args:
        now: the time, since the epoch.
        size: in bytes.
        modified: when its bytes were last changed, since the epoch.
        last_read: when it was last read, since the epoch; None when that is not known.
        uid: the number of its owner.
        gid: the number of its group.
        find_paths: its names, each from the root of the filesystem and beginning with a slash;
            several for a file with hard links, none for one that is unlinked.
        find_xattr: an extended attribute's value by its full name, None when it has none.
        count_reads: how often it was read within so long before now; None when not known.
    """

    now: int
    size: int
    modified: int
    last_read: int | None
    uid: int
    gid: int
    find_paths: Callable[[], Sequence[bytes]]
    find_xattr: Callable[[bytes], bytes | None]
    count_reads: Callable[[int], int | None]
    _paths: list[str] | None = field(default=None, init=False)
    _xattrs: dict[str, str | None] = field(default_factory=dict, init=False)

    @property
    def age(self) -> int:
        """How long ago its bytes were changed; 0 for a time in the future."""
        return max(0, self.now - self.modified)

    @property
    def idle(self) -> int | None:
        """How long it has not been read; None when that is not known."""
        return None if self.last_read is None else max(0, self.now - self.last_read)

    @property
    def paths(self) -> list[str]:
        """Its names; bytes that are not UTF-8 as surrogates, as `os.fsdecode` makes them."""
        if self._paths is None:
            self._paths = [os.fsdecode(path) for path in self.find_paths()]
        return self._paths

    def xattr(self, name: str) -> str | None:
        """The value of an extended attribute, decoded likewise."""
        if name not in self._xattrs:
            value = self.find_xattr(name.encode())
            self._xattrs[name] = None if value is None else os.fsdecode(value)
        return self._xattrs[name]

    def reads(self, within: int) -> int | None:
        """How often it was read in the last ``within`` nanoseconds; None when not known."""
        return self.count_reads(within)


# ------------------------------------------------------------------ single conditions

MeasureKey: TypeAlias = Literal["size", "age", "idle"]
OwnerKey: TypeAlias = Literal["owner", "group"]

_MEASURES: Mapping[MeasureKey, Callable[[Facts], int | None]] = {
    "size": attrgetter("size"),
    "age": attrgetter("age"),
    "idle": attrgetter("idle"),
}
_COSTS: Mapping[str, int] = {"size": 0, "owner": 0, "group": 0, "age": 1, "idle": 2}


class Condition(Protocol):
    """One condition."""

    @property
    def key(self) -> str:
        """What the fact is called."""

    @property
    def cost(self) -> int:
        """Conditions of a lower cost are tried before those of a higher one."""

    @property
    def certain(self) -> bool | None:
        """True when every file passes, False when none does, None when it depends on the file."""

    def test(self, facts: Facts) -> bool | None:
        """Whether ``facts`` pass; None when that is open."""

    def wanted(self) -> str:
        """What passes, for people."""

    def found(self, facts: Facts) -> str:
        """The fact, for people."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The size in bytes, or the nanoseconds since a write or a read, are in an interval."""

    key: MeasureKey
    interval: Interval

    @property
    def cost(self) -> int:
        """Less than a path or an attribute."""
        return _COSTS[self.key]

    @property
    def certain(self) -> bool | None:
        """An idle time may not be known, so it never is."""
        return True if self.interval.everything and self.key != "idle" else None

    def test(self, facts: Facts) -> bool | None:
        """As `Condition`."""
        value = _MEASURES[self.key](facts)
        return None if value is None else self.interval.low <= value <= self.interval.high

    def wanted(self) -> str:
        """As `Condition`."""
        return self.interval.text

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        value = _MEASURES[self.key](facts)
        if value is None:
            return UNKNOWN
        return format_size(value) if self.key == "size" else format_duration(value)


@dataclass(frozen=True, slots=True)
class OwnedBy:
    """The file's user, or group, is one of some."""

    key: OwnerKey
    accounts: tuple[Account, ...]
    numbers: frozenset[int]
    certain: None = None

    @property
    def cost(self) -> int:
        """The least."""
        return _COSTS[self.key]

    def test(self, facts: Facts) -> bool:
        """As `Condition`."""
        return self._number(facts) in self.numbers

    def wanted(self) -> str:
        """As `Condition`."""
        return " or ".join(account.text for account in self.accounts)

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        kind: AccountKind = "user" if self.key == "owner" else "group"
        return account_name(kind, self._number(facts))

    def _number(self, facts: Facts) -> int:
        return facts.uid if self.key == "owner" else facts.gid


@dataclass(frozen=True, slots=True)
class ReadsAre:
    """The number of reads in the last ``within`` nanoseconds is in an interval."""

    interval: Interval
    within: int
    key: str = "reads"
    cost: int = 3
    certain: None = None

    def test(self, facts: Facts) -> bool | None:
        """As `Condition`."""
        reads = facts.reads(self.within)
        return None if reads is None else self.interval.low <= reads <= self.interval.high

    def wanted(self) -> str:
        """As `Condition`."""
        return f"{self.interval.text} within {format_duration(self.within)}"

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        reads = facts.reads(self.within)
        return UNKNOWN if reads is None else f"{reads:,}"


@dataclass(frozen=True, slots=True)
class PathFits:
    """One of the file's names fits one of some patterns."""

    globs: tuple[Glob, ...]
    key: str = "path"
    cost: int = 4

    @property
    def certain(self) -> bool | None:
        """Such as ``**``."""
        return any(glob.everything for glob in self.globs) or None

    def test(self, facts: Facts) -> bool:
        """As `Condition`; a file without a name, unlinked but open, fits only what all do."""
        paths = facts.paths
        if not paths:
            return self.certain is True
        # Loops, not any(): this is most of what deciding costs.
        for glob in self.globs:
            fullmatch = glob.pattern.fullmatch
            for path in paths:
                if fullmatch(path):
                    return True
        return False

    def wanted(self) -> str:
        """As `Condition`."""
        return " or ".join(quote(glob.text) for glob in self.globs)

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        return ", ".join(printable(path) for path in facts.paths) or "no name"


@dataclass(frozen=True, slots=True)
class XattrFits:
    """The value of the extended attribute ``name`` fits one of some patterns."""

    name: str
    globs: tuple[Glob, ...]
    cost: int = 5
    certain: None = None

    @property
    def key(self) -> str:
        """With the attribute's name."""
        return f"xattr {self.name}"

    def test(self, facts: Facts) -> bool:
        """As `Condition`."""
        value = facts.xattr(self.name)
        return value is not None and any(glob.matches(value) for glob in self.globs)

    def wanted(self) -> str:
        """As `Condition`."""
        return " or ".join(quote(glob.text) for glob in self.globs)

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        value = facts.xattr(self.name)
        return "not set" if value is None else quote(value)


# ------------------------------------------------------------------ trees


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
    return _joined(AllOf, parts)


def any_of(parts: Iterable[Match]) -> Match:
    """Any of ``parts``, the cheapest first; a single one is itself."""
    return _joined(AnyOf, parts)


def negated(part: Match) -> Match:
    """What ``part`` is not."""
    return Not(part, part.cost)


def _conjuncts(match: Match) -> Iterator[Match]:
    """What must hold for ``match`` to hold, ``all`` inside ``all`` taken apart."""
    for part in match.parts if isinstance(match, AllOf) else ():
        yield from _conjuncts(part) if isinstance(part, AllOf) else (part,)


def _joined(kind: type[AllOf | AnyOf], parts: Iterable[Match]) -> Match:
    ordered = tuple(sorted(parts, key=attrgetter("cost")))
    return ordered[0] if len(ordered) == 1 else kind(ordered, ordered[-1].cost)
