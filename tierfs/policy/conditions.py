"""The conditions that a rule sets, each about one fact of a file.

A fact may not be known (when was this file last read?). The answer is then None, "open".
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from tierfs.base.durations import format_duration
from tierfs.base.text import printable
from tierfs.base.units import format_size
from tierfs.policy.accounts import account_name
from tierfs.policy.problems import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tierfs.policy.accounts import Account
    from tierfs.policy.facts import Facts
    from tierfs.policy.globs import Glob
    from tierfs.policy.quantities import Interval

UNKNOWN: Final = "unknown"
"""How a fact that is not known is shown."""

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
        return _either(account.text for account in self.accounts)

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        kind: Literal["user", "group"] = "user" if self.key == "owner" else "group"
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
        return _either(quote(glob.text) for glob in self.globs)

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
        return _either(quote(glob.text) for glob in self.globs)

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        value = facts.xattr(self.name)
        return "not set" if value is None else quote(value)


def _either(words: Iterable[str]) -> str:
    return " or ".join(words)
