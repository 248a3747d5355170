"""What is wished for files: the policy's decision on the facts of each, and pins by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import fsdecode
from typing import TypeAlias

from tierfs.base.durations import SECOND
from tierfs.index.inodes import Inode
from tierfs.policy.conditions import PathFits
from tierfs.policy.decide import Decider
from tierfs.policy.facts import Facts
from tierfs.policy.match import AllOf, AnyOf, Match, Not
from tierfs.policy.tier_policy import Policy
from tierfs.tiering.heat import REMEMBERED, Heat
from tierfs.tiering.ports import Listed
from tierfs.tiering.wish import LEFT_ALONE, Wish, by_hand, wish_of

Judged: TypeAlias = tuple[Inode, Wish]


class RowFacts(Facts):
    """A file's facts out of its row of the index; what is costly is found when it is asked for."""

    __slots__ = ("_catalog", "_heat", "_names", "_row")

    def __init__(
        self, row: Inode, names: Sequence[bytes], now: int, catalog: Listed, heat: Heat
    ) -> None:
        # Not by the constructor of `Facts`: this is done for every file that is looked at.
        self.now = now
        self.size = row.size
        self.modified = row.mtime
        self.uid = row.uid
        self.gid = row.gid
        self._row = row
        self._names = names
        self._catalog = catalog
        self._heat = heat
        self._paths = None

    @property
    def idle(self) -> int | None:
        """As `Facts`."""
        read = last_read(self._heat, self._row, self.now)
        return None if read is None else max(0, self.now - read)

    @property
    def paths(self) -> list[str]:
        """As `Facts`."""
        if self._paths is None:
            # As os.fsdecode() does, which is slower: this is most of what a rule about paths costs.
            self._paths = [name.decode("utf-8", "surrogateescape") for name in self._names]
        return self._paths

    def xattr(self, name: str) -> str | None:
        """As `Facts`; asked for anew each time, which is seldom more than once."""
        value = self._catalog.xattr(self._row.ino, name.encode())
        return None if value is None else fsdecode(value)

    def reads(self, within: int) -> int | None:
        """As `Facts`."""
        return reads_within(self._heat, self._row.ino, within, self.now)


class Judge:
    """Tells wishes; ``policy`` None: nothing is wished for but what is pinned by hand."""

    def __init__(self, catalog: Listed, heat: Heat, policy: Policy | None) -> None:
        self._catalog = catalog
        self._heat = heat
        self._decider = None if policy is None else Decider(policy)
        self._by_path = policy is not None and any(_asks_path(rule.match) for rule in policy.rules)
        self._wishes: dict[str | None, Wish] = {}

    @property
    def evicts(self) -> bool:
        """Whether anything may go from flash by itself: without a policy nothing may."""
        return self._decider is not None

    def judged(self, rows: Sequence[Inode], now: int) -> Iterator[Judged]:
        """Each file, in ascending order of numbers, with the wish for it."""
        if not rows:
            return
        pinned = self._catalog.pinned(rows, now)
        paths = self._catalog.paths(rows) if self._by_path else {}
        for row in rows:
            wish = self._wish(row, paths, now)
            yield row, by_hand(wish) if row.ino in pinned else wish

    def _wish(self, row: Inode, paths: Mapping[int, Sequence[bytes]], now: int) -> Wish:
        if self._decider is None:
            return LEFT_ALONE
        facts = self.facts(row, paths, now)
        decision = self._decider.decide(facts)
        wish = self._wishes.get(decision.rule)
        if wish is not None:
            return wish
        wish = wish_of(decision, facts.reads)
        if decision.settings.promote is None:  # the same for every file that the rule holds for
            self._wishes[decision.rule] = wish
        return wish

    def facts(self, row: Inode, paths: Mapping[int, Sequence[bytes]], now: int) -> Facts:
        """What the policy decides by."""
        return RowFacts(row, paths.get(row.ino, ()), now, self._catalog, self._heat)


def last_read(heat: Heat, row: Inode, now: int) -> int | None:
    """When a file was last read, at the latest; None when that is not known.

    A file that heat would know if it had been read was not, for as long as heat is kept.
    """
    visits = heat.visits(row.ino, now)
    if visits is not None:
        return now - int(visits.age * SECOND)
    if heat.since is None or not heat.has_room(row.ino):
        return None
    return min(now, max(heat.since, row.ctime))


def reads_within(heat: Heat, ino: int, within: int, now: int) -> int | None:
    """About how many times a file was read in the last ``within`` nanoseconds.

    Reads in pieces count once. Of more than 16 intervals only the mean is known.
    """
    visits = heat.visits(ino, now)
    if visits is None:
        return 0 if heat.has_room(ino) else None
    intervals, mean, age = visits
    left = within / SECOND - age
    if left < 0:
        return 0
    fitting = 1 + (int(left / mean) if intervals and mean > 0 else 0)
    return fitting if intervals == REMEMBERED else min(fitting, intervals + 1)


def _asks_path(match: Match) -> bool:
    if isinstance(match, AllOf | AnyOf):
        return any(_asks_path(part) for part in match.parts)
    return _asks_path(match.part) if isinstance(match, Not) else isinstance(match, PathFits)
