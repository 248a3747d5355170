"""What a rule matches: a file's facts, and the tree of conditions that they are tested with.

A fact may not be known (when was this file last read?). The answer of a condition is then None,
"open", and so is that of its negation; a rule applies only to files that surely match (Kleene's
three-valued logic). A rule's conditions are a tree, a `Match`: all of these, any of those, not
that one. The single conditions are declared in `tierfs.policy.conditions`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


class FileRow(Protocol):
    """A file's row of the index, as far as policies ask for it; bytes, nanoseconds, numbers."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def mtime(self) -> int:
        """When its bytes were last changed, since the epoch."""

    @property
    def uid(self) -> int:
        """The number of its owner."""

    @property
    def gid(self) -> int:
        """The number of its group."""


@dataclass(slots=True)
class Facts:
    """A regular file as it is at the time ``now``; times and lengths of time in nanoseconds.

    Args:
        now: the time, since the epoch.
        row: its row of the index, or what stands in for it.
        last_read: when it was last read, since the epoch; None when that is not known.
        find_paths: its names, each from the root of the filesystem and beginning with a slash;
            several for a file with hard links, none for one that is unlinked.
        find_xattr: an extended attribute's value by its full name, None when it has none.
        count_reads: how often it was read within so long before now; None when not known.
        find_fact: what its header says, by the name of the fact; None when not known.
    """

    now: int
    row: FileRow
    last_read: int | None
    find_paths: Callable[[], Sequence[bytes]]
    find_xattr: Callable[[bytes], bytes | None]
    count_reads: Callable[[int], int | None]
    find_fact: Callable[[str], float | str | None] = lambda _name: None
    _paths: list[str] | None = field(default=None, init=False)
    _xattrs: dict[str, str | None] = field(default_factory=dict, init=False)

    @property
    def age(self) -> int:
        """How long ago its bytes were changed; 0 for a time in the future."""
        return max(0, self.now - self.row.mtime)

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

    def header_fact(self, name: str) -> float | str | None:
        """What its header says, such as the width of an image; None when not known."""
        return self.find_fact(name)

    def reads(self, within: int) -> int | None:
        """How often it was read in the last ``within`` nanoseconds; None when not known."""
        return self.count_reads(within)


class Condition(ABC):
    """One condition."""

    __slots__ = ()

    @property
    @abstractmethod
    def key(self) -> str:
        """What the fact is called."""

    @property
    @abstractmethod
    def cost(self) -> int:
        """Conditions of a lower cost are tried before those of a higher one."""

    @property
    def certain(self) -> bool | None:
        """True when every file passes, False when none does, None when it depends on the file."""
        return None

    @property
    def limits(self) -> tuple[int, int] | None:
        """The least and the largest value that passes, of a single number; None of other facts."""
        return None

    @property
    def changes_with_time(self) -> bool:
        """Whether a file that is not changed may pass now and not later, or the other way round."""
        return False

    @property
    def needs_paths(self) -> bool:
        """Whether it tests the names of a file, which are found for many files at a time."""
        return False

    @property
    def path_prefixes(self) -> Sequence[str] | None:
        """A file passes only if a path of it begins with one of them; None: paths do not tell."""
        return None

    @abstractmethod
    def test(self, facts: Facts) -> bool | None:
        """Whether ``facts`` pass; None when that is open."""

    @abstractmethod
    def wanted(self) -> str:
        """What passes, for people."""

    @abstractmethod
    def found(self, facts: Facts) -> str:
        """The fact, for people."""


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

    @property
    def path_prefixes(self) -> Sequence[str] | None:
        """As `Condition`."""
        return next((found for part in self.parts if (found := part.path_prefixes)), None)

    def _contradictory(self) -> bool:
        """Whether two parts ask for sizes or times that no file has both of."""
        seen: dict[str, tuple[int, int]] = {}
        for part in _conjuncts(self):
            if isinstance(part, Condition) and part.limits is not None:
                low, high = part.limits
                least, most = seen.get(part.key, part.limits)
                seen[part.key] = max(low, least), min(high, most)
        return any(low > high for low, high in seen.values())


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

    @property
    def path_prefixes(self) -> Sequence[str] | None:
        """As `Condition`."""
        found = [part.path_prefixes for part in self.parts]
        return None if None in found else [prefix for one in found for prefix in one or ()]


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

    @property
    def path_prefixes(self) -> None:
        """As `Condition`."""
        return None


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


def conditions_of(match: Match) -> Iterator[Condition]:
    """Every condition in a tree."""
    if isinstance(match, AllOf | AnyOf):
        for part in match.parts:
            yield from conditions_of(part)
    elif isinstance(match, Not):
        yield from conditions_of(match.part)
    else:
        yield match


def _conjuncts(match: Match) -> Iterator[Match]:
    """What must hold for ``match`` to hold, ``all`` inside ``all`` taken apart."""
    for part in match.parts if isinstance(match, AllOf) else ():
        yield from _conjuncts(part) if isinstance(part, AllOf) else (part,)


def _joined(kind: type[AllOf | AnyOf], parts: Iterable[Match]) -> Match:
    ordered = tuple(sorted(parts, key=attrgetter("cost")))
    return ordered[0] if len(ordered) == 1 else kind(ordered, ordered[-1].cost)
